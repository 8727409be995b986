//! Every exported function can be called from every language, and no argument can harm the server.

use olelo_tests::{Phone, Server, Setup, Transport, program};
use std::process::Command;

/// Calls everything under KSR with arguments that don't fit, and tells how many functions there are
/// and how many calls raised an error.
const SCRIPT: &str = r#"
local skip = { exit = true, drop = true, set_drop = true }
local sets = {
  {}, { 1 }, { -1 }, { "x" }, { "" }, { "$ru" }, { "$(ru{s.len" }, { true }, { {} }, { nil, 1 },
  { "x", "y" }, { 1, 2 }, { "x", 2 }, { 1, "y" }, { "location", "sip:a@b" }, { "x", "y", "z" }, { 1, 2, 3 },
  { "a", 1, "b" }, { "a", "b", 1 }, { "a", "b", "c", "d" }, { 1, 2, 3, 4 }, { "a", "b", "c", 1 }, { "a", "b", "c", "d", "e" },
  { "a", "b", "c", "d", "e", "f" }, { 1, 2, 3, 4, 5, 6, 7 }, { string.rep("x", 70000) }, { "\0\255\r\n", "\0", "\255" },
  { "/[/", "/(/" }, { 99999999999, -99999999999 }, { "[", "(", "*" },
}

local function each(t, f, prefix)
  for name, v in pairs(t) do
    if type(v) == "table" then each(v, f, prefix .. name .. ".")
    elseif not skip[name] then f(prefix .. name, v) end
  end
end

local names = {}
each(KSR, function(name, f) names[#names + 1] = { name, f } end, "KSR.")
table.sort(names, function(a, b) return a[1] < b[1] end)

local function abuse(from, to)
  local errors = 0
  for i = from, math.min(to, #names) do
    for _, args in ipairs(sets) do
      local ok = pcall(names[i][2], unpack(args, 1, table.maxn(args)))
      if not ok then errors = errors + 1 end
    end
  end
  return errors
end

function ksr_request_route()
  local user = KSR.pv.gete("$rU")
  if user == "count" then KSR.sl.sl_send_reply(200, #names .. " functions") return 1 end
  if KSR.is_OPTIONS() then KSR.sl.sl_send_reply(200, "OK") return 1 end
  if KSR.is_INFO() then
    local from = tonumber(user)
    local errors = abuse(from, from)
    KSR.sl.sl_send_reply(200, names[from][1] .. " " .. errors)
  end
end
"#;

#[test]
fn no_argument_of_any_function_harms_the_server() {
    let server = Setup::lua(SCRIPT).cfg("modparam(\"htable\", \"htable\", \"x=>size=4\")\nmodparam(\"app_lua\", \"time_limit\", 5000)").children(1).start();
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    let reply = phone.ask(&phone.request("OPTIONS", "sip:count@test.local", "", ""));
    let reason = String::from_utf8_lossy(reply.reason()).into_owned();
    let count: usize = reason
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    assert!(count > 300, "{reason}");
    abuse(&server, count);
}

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
    abuse(&server, count);
}

/// Sends a message for each function and sees that the server is as before. The only UDP worker
/// takes one message after the other: what is answered last was routed last.
fn abuse(server: &Server, count: usize) {
    let before = server.processes();
    let mut phone = Phone::udp("c", server.addr);
    // Each function is abused in a message of its own: one may well end the message (t_relay, replies).
    let mut probe = Phone::udp("b", server.addr);
    for i in 1..=count {
        phone.send(phone.request("INFO", &format!("sip:{i}@test.local"), "", "v=0\r\n"));
        if i % 25 == 0 {
            assert_eq!(
                probe
                    .ask(&probe.request("OPTIONS", "sip:test.local", "", ""))
                    .status(),
                200,
                "after function {i}"
            );
        }
    }
    assert_eq!(
        probe
            .ask(&probe.request("OPTIONS", "sip:test.local", "", ""))
            .status(),
        200
    );
    let after = server.processes();
    assert_eq!(
        after,
        before,
        "{}",
        server
            .logged()
            .lines()
            .filter(|l| l.contains("ended by") || l.contains("CRITICAL"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert_eq!(server.stat("core.panics"), 0);
}
