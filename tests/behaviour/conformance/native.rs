//! Every function of the native language can be called, and no argument can harm the server.

use super::abuse;
use olelo_tests::{Setup, program};
use std::process::Command;

/// Functions that wait as long as they are told, or end what the test stands on.
const LEFT_OUT: [&str; 6] = [
    "sleep",
    "usleep",
    "exec",
    "abort",
    "dbg_breakpoint",
    "udp_mtu_try_proto",
];

/// What native functions are called with: assigned to `$var(w0)`, `$var(w1)` … and given from there,
/// since constants that make no sense would not even load.
const WORDS: [&str; 13] = [
    "\"\"",
    "\"x\"",
    "1",
    "-99999999999",
    "$ru",
    "$avp(none)",
    "$var(long)",
    "\"/[/\"",
    "$(avp(list)[*])",
    "\"a=b;c=d,e\"",
    "-1",
    "\"sip:a@b\"",
    "\"$(ru{s.len\"",
];

/// Routes `R1`, `R2` …, each calling one function with everything.
fn natively() -> (String, usize) {
    let out = Command::new(program("olelo"))
        .args(["--stubs", "native"])
        .output()
        .expect("olelo runs");
    let stubs = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut routes = String::new();
    let mut count = 0;
    for line in stubs.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [signature, module, ..] = fields[..] else {
            panic!("{line}")
        };
        let (name, params) = signature.split_once('(').expect("a signature");
        if LEFT_OUT.contains(&name) || !NATIVE_MODULES.contains(&module) {
            continue;
        }
        let params: Vec<&str> = params
            .trim_end_matches(')')
            .split(", ")
            .filter(|p| !p.is_empty())
            .collect();
        let least = params.iter().filter(|p| !p.contains('?')).count();
        count += 1;
        routes.push_str(&format!("route[R{count}] {{\n"));
        for words in 0..WORDS.len() {
            for n in [least, params.len()] {
                let args: Vec<String> = (0..n)
                    .map(|i| {
                        let word = format!("$var(w{})", (words + i * 5) % WORDS.len());
                        if words % 2 == 0 {
                            word
                        } else {
                            format!("\"{word}\"")
                        }
                    })
                    .collect();
                routes.push_str(&format!("  {name}({});\n", args.join(", ")));
            }
        }
        routes.push_str("}\n");
    }
    (routes, count)
}

/// Modules whose functions are called natively: those that need nothing outside of the server.
const NATIVE_MODULES: [&str; 29] = [
    "core",
    "kex",
    "corex",
    "tm",
    "tmx",
    "sl",
    "rr",
    "pv",
    "maxfwd",
    "registrar",
    "textops",
    "textopsx",
    "siputils",
    "xlog",
    "sanity",
    "htable",
    "auth",
    "pike",
    "nathelper",
    "acc",
    "jsonrpcs",
    "xhttp",
    "cfgutils",
    "mqueue",
    "mtree",
    "regex",
    "tmrec",
    "debugger",
    "counters",
];

#[test]
fn no_argument_of_any_native_function_harms_the_server() {
    let (routes, count) = natively();
    assert!(count > 250, "only {count} functions");
    let modules: String = [
        "textopsx", "xhttp", "cfgutils", "mqueue", "mtree", "regex", "tmrec", "debugger",
    ]
    .iter()
    .map(|m| format!("loadmodule \"{m}.so\"\n"))
    .collect();
    let words: String = WORDS
        .iter()
        .enumerate()
        .map(|(i, w)| format!("  $var(w{i}) = {w};\n"))
        .collect();
    let server = Setup::native(&format!(
        r#"
request_route {{
  if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
  $var(long) = "{}";
  $avp(list) = 1;
  $avp(list) = "two";
{words}
  route("R" + $rU);
}}
{routes}"#,
        "x".repeat(5000)
    ))
    .cfg(&format!(
        "{modules}modparam(\"htable\", \"htable\", \"x=>size=4\")\nmodparam(\"mqueue\", \"mqueue\", \"name=x;size=10\")"
    ))
    .children(1)
    .start();
    abuse(&server, count, |_| ());
}
