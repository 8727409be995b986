//! What an operator gets wrong is told with place, reason and the likely fix; nothing half-starts.

use olelo_tests::program;
use std::process::Command;

/// Checks a configuration and returns (good, what was said).
fn check(text: &str, more: &[&str]) -> (bool, String) {
    let dir = std::env::temp_dir().join(format!("olelo-cfg-{}", olelo_tests::unique()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("x.cfg");
    std::fs::write(&file, text).expect("written");
    std::fs::write(dir.join("good.lua"), "function ksr_request_route() end").expect("written");
    std::fs::write(dir.join("bad.lua"), "function ksr_request_route(\n").expect("written");
    let out = Command::new(program("olelo"))
        .current_dir(&dir)
        .args(["-c", "-f", "x.cfg"])
        .args(more)
        .output()
        .expect("olelo runs");
    let _ = std::fs::remove_dir_all(&dir);
    (
        out.status.success(),
        format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        ),
    )
}

const HEAD: &str = "loadmodule \"sl.so\"\nloadmodule \"app_lua.so\"\ncfgengine \"lua\"\n";

#[test]
fn a_good_configuration_is_good() {
    let (good, said) = check(
        &format!("{HEAD}modparam(\"app_lua\", \"load\", \"good.lua\")\n"),
        &[],
    );
    assert!(good, "{said}");
}

#[test]
fn every_fault_is_told_at_once_with_place_and_fix() {
    let text = "childern=4\nloadmodule \"tmm.so\"\nloadmodule \"sl.so\"\nmodparam(\"sl\", \"bind_tmm\", 1)\nmodparam(\"tm\", \"fr_timer\", 1)\n";
    let (good, said) = check(text, &[]);
    assert!(!good);
    for want in [
        "x.cfg:1:1: error",
        "did you mean `children`?",
        "x.cfg:2:1: error: no module \"tmm\"",
        "did you mean \"tm.so\"?",
        "x.cfg:4:16: error",
        "did you mean \"bind_tm\"?",
        "add loadmodule \"tm.so\" above",
    ] {
        assert!(said.contains(want), "no {want:?} in:\n{said}");
    }
}

#[test]
fn a_value_of_the_wrong_type_names_the_parameter() {
    let (good, said) = check(
        &format!("{HEAD}loadmodule \"tm.so\"\nmodparam(\"tm\", \"fr_timer\", \"soon\")\n"),
        &[],
    );
    assert!(
        !good
            && said.contains("wants an integer, got the string \"soon\"")
            && said.contains("x.cfg:5:28"),
        "{said}"
    );
}

#[test]
fn a_broken_or_missing_script_is_found_by_the_check() {
    let (good, said) = check(
        &format!("{HEAD}modparam(\"app_lua\", \"load\", \"bad.lua\")\n"),
        &[],
    );
    assert!(!good && said.contains("bad.lua:"), "{said}");
    let (good, said) = check(
        &format!("{HEAD}modparam(\"app_lua\", \"load\", \"none.lua\")\n"),
        &[],
    );
    assert!(!good && said.contains("can't read none.lua"), "{said}");
    let (good, said) = check(HEAD, &[]);
    assert!(
        !good && said.contains("modparam(\"app_lua\", \"load\", \"FILE\")"),
        "{said}"
    );
}

#[test]
fn faults_can_be_had_as_json() {
    let (good, said) = check("childern=4\n", &["--json"]);
    let json: serde_json::Value =
        serde_json::from_str(said.lines().next().unwrap_or("")).expect("JSON");
    assert!(
        !good
            && json[0]["message"]
                .as_str()
                .is_some_and(|m| m.contains("childern")),
        "{said}"
    );
}

#[test]
fn defines_of_the_command_line_count() {
    let text = format!(
        "{HEAD}#!ifdef WITH_BAD\nmodparam(\"app_lua\", \"load\", \"bad.lua\")\n#!else\nmodparam(\"app_lua\", \"load\", \"good.lua\")\n#!endif\n"
    );
    assert!(check(&text, &[]).0);
    assert!(!check(&text, &["-A", "WITH_BAD"]).0);
}
