//! Statements and expressions come to what they come to in Kamailio, as recorded by
//! `tests/recorder/native.py`.

use olelo_tests::{Phone, Setup};

const RECORDED: &str = include_str!("../recorded/native.txt");

#[test]
fn statements_and_expressions_come_to_the_recorded_values() {
    let server = Setup::native(include_str!("../recorded/native.cfg"))
        .cfg("loadmodule \"textopsx.so\"\nloadmodule \"cfgutils.so\"")
        .children(1)
        .start();
    let lines = || -> Vec<String> {
        let log = server.logged();
        log.lines()
            .filter_map(|l| l.find("@@").map(|at| l[at..].to_string()))
            .collect()
    };
    let recorded: Vec<&str> = RECORDED.lines().collect();
    let mut phone = Phone::udp("bob", server.addr);
    for user in ["alice", "bob", "carol"] {
        let request = phone.request("OPTIONS", &format!("sip:{user}@test.local"), "", "");
        phone.send(request);
    }
    // The last block answers; those before it are done by then, on the only worker.
    phone.final_reply();
    server.eventually("all lines", || lines().len() >= recorded.len());
    let ours = lines();
    let different: Vec<String> = recorded
        .iter()
        .zip(&ours)
        .filter(|(want, got)| *want != got)
        .map(|(want, got)| format!("recorded {want}\n    ours {got}"))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(ours.len(), recorded.len());
}
