//! What configurations found in the field count on: oddities of the language that Kamailio takes, and
//! what its public test suite asks of the command line, the logs and the registrar.

use olelo_tests::{Phone, Setup, program, unique};
use std::path::Path;
use std::process::Command;

/// What `olelo -c` says of a text, and whether it found it good.
fn check(text: &str) -> (bool, String) {
    let path = std::env::temp_dir().join(format!("olelo-field-{}.cfg", unique()));
    std::fs::write(&path, text).expect("a file");
    let done = run(&["-c", "-f", &path.display().to_string()], Path::new("/"));
    let _ = std::fs::remove_file(&path);
    done
}

fn run(args: &[&str], dir: &Path) -> (bool, String) {
    let out = Command::new(program("olelo"))
        .args(args)
        .current_dir(dir)
        .output()
        .expect("olelo runs");
    (
        out.status.success(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

#[test]
fn what_kamailio_takes_is_taken() {
    for (text, said) in [
        ("debug=2\n", "no request_route"),
        (
            "route {\n  route(A);\n}\nrequest_route {\n  exit;\n}\nroute[A] {\n  return;\n}\n",
            "request_route is there already",
        ),
        (
            "loadmodule \"pv.so\"\nrequest_route {\n  if ($var(x) = 2) exit;\n}\n",
            "did you mean `==`?",
        ),
    ] {
        let (good, out) = check(text);
        assert!(good, "{text} is refused: {out}");
        assert!(out.contains("warning"), "{text} is not warned of: {out}");
        assert!(out.contains(said), "{text}: {out}");
    }
    let (good, out) = check(
        "request_route {\n  switch (1) {\n    case 1:\n      exit;\n      break;\n    default:\n      drop;\n      break;\n  }\n}\n",
    );
    assert!(good && !out.contains("warning"), "{out}");
}

#[test]
fn an_open_condition_is_told_in_the_words_that_tests_look_for() {
    let (good, out) =
        check("#!define A\nrequest_route { drop; }\n#!ifndef A\nroute[B] { exit; }\n");
    assert!(!good);
    assert!(
        out.contains("different number of preprocessor directives"),
        "{out}"
    );
}

#[test]
fn odd_expressions_do_what_they_do_in_kamailio() {
    // An assignment in brackets is true whatever was assigned; its value is 1.
    let server = Setup::native(
        "request_route {\n  $var(log) = \"a\";\n}\nrequest_route {\n\
         if ($var(x) = 0) { $var(log) = $var(log) + \"b\" + $var(x); }\n\
         if (($var(y) = 3) == 3) { $var(log) = $var(log) + \"never\"; }\n\
         switch ($var(z) = 2) { case 1: $var(log) = $var(log) + \"c\"; exit_not(); break; default: break; }\n\
         $var(d) = \"p$$q$$\";\n\
         $var(log) = $var(log) + $(var(d){s.replace,$$,-});\n\
         $var(json) = $_s({\"ua\" : \"$(ua{s.replace,\\','}{s.replace,$$,})\"});\n\
         sl_send_reply(\"200\", \"$var(log) $var(y) $var(z) $var(json)\");\n}\n"
            .replace(" exit_not();", "")
            .as_str(),
    )
    .start();
    let mut phone = Phone::udp("a", server.addr);
    let asked = phone.request("OPTIONS", "sip:test.local", "User-Agent: it's $5\r\n", "");
    let reply = phone.ask(&asked);
    let reason = String::from_utf8_lossy(reply.reason()).into_owned();
    assert!(reason.starts_with("ab0cp--q-- 3 2 {\"ua\" : "), "{reason}");
    assert!(!reason.contains('$'), "{reason}");
}

#[test]
fn save_leaves_what_is_registered_in_the_xavp() {
    for (mask, wanted) in [(0, "ruid contact expires"), (2, "ruid expires"), (7, "")] {
        let server = Setup::native(
            "request_route {\n  save(\"location\", \"0x02\");\n\
             if ($xavp(rcd[0]=>ruid) != $null) $var(s) = $var(s) + \"ruid \";\n\
             if ($xavp(rcd[0]=>contact) != $null) $var(s) = $var(s) + \"contact \";\n\
             if ($xavp(rcd[0]=>expires) != $null) $var(s) = $var(s) + \"expires \";\n\
             append_to_reply(\"X-Newest: $xavp(rcd[0]=>contact[0])\\r\\nX-Older: $xavp(rcd[0]=>contact[1])\\r\\n\");\n\
             sl_send_reply(\"200\", \"is $var(s)\");\n  $var(s) = \"\";\n}\n",
        )
        .cfg(&format!(
            "modparam(\"registrar\", \"xavp_rcd\", \"rcd\")\nmodparam(\"registrar\", \"xavp_rcd_mask\", {mask})"
        ))
        .children(1)
        .start();
        let mut phone = Phone::udp("a", server.addr);
        let mut reply = None;
        for host in ["one.invalid", "two.invalid"] {
            let contact = format!("Contact: <sip:a@{host}>\r\nExpires: 60\r\n");
            let asked = phone.request("REGISTER", "sip:test.local", &contact, "");
            let own = format!("Contact: {}\r\n", phone.contact());
            reply = Some(phone.ask(&asked.replace(&own, "")));
        }
        let reply = reply.expect("a reply");
        let reason = String::from_utf8_lossy(reply.reason()).into_owned();
        assert_eq!(reason.trim(), format!("is {wanted}").trim());
        if mask == 0 {
            let text = olelo_tests::text(&reply);
            assert!(text.contains("X-Newest: sip:a@two.invalid"), "{text}");
            assert!(text.contains("X-Older: sip:a@one.invalid"), "{text}");
        }
    }
}
