//! A worker may die, and the service goes on.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use olelo_ipc::Value;
use olelo_tests::{Phone, Setup, field};

const SCRIPT: &str = "function ksr_request_route() KSR.sl.sl_send_reply(200, 'OK') end";

#[test]
fn a_killed_worker_is_replaced_in_its_slot() {
    let server = Setup::lua(SCRIPT).start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for (pid, description) in before.iter().skip(1) {
        kill(Pid::from_raw(*pid as i32), Signal::SIGKILL).expect("killed");
        // The control process may be the one that was killed.
        server.wait_for_log(&format!("\"{description}\" pid {pid} ended"));
        assert_eq!(
            phone
                .ask(&phone.request("OPTIONS", "sip:test.local", "", ""))
                .status(),
            200
        );
    }
    server.eventually("all run again", || {
        std::os::unix::net::UnixStream::connect(server.dir().join("ctl")).is_ok()
            && server
                .processes()
                .iter()
                .zip(&before)
                .all(|(now, old)| now.1 == old.1 && now.0 != 0)
    });
    let crashes = server.call("core.crashes", &[]);
    assert_eq!(crashes.len(), before.len() - 1);
    assert_eq!(
        field(&crashes[0], "how"),
        Some(&Value::Str("SIGKILL".into()))
    );
    let check = server.call("mem.check", &[]);
    assert_eq!(
        field(&check[0], "faults"),
        Some(&Value::Int(0)),
        "{check:?}"
    );
}

#[test]
fn the_end_leaves_no_process_and_no_socket() {
    let server = Setup::lua(SCRIPT).start();
    let pids: Vec<i64> = server.processes().iter().map(|(p, _)| *p).collect();
    let addr = server.addr;
    assert!(server.stop());
    for pid in pids {
        assert!(
            kill(Pid::from_raw(pid as i32), None).is_err(),
            "{pid} is still there"
        );
    }
    std::net::UdpSocket::bind(addr).expect("the port is free again");
}

#[test]
fn a_killed_main_takes_its_workers_along() {
    let server = Setup::lua(SCRIPT).start();
    let pids: Vec<i64> = server.processes().iter().map(|(p, _)| *p).collect();
    kill(Pid::from_raw(server.pid()), Signal::SIGKILL).expect("killed");
    server.eventually("all workers are gone", || {
        pids.iter()
            .skip(1)
            .all(|p| kill(Pid::from_raw(*p as i32), None).is_err())
    });
}
