//! What scripts in JavaScript may count on beside what all languages have in common: modules, promises,
//! what Duktape and Node.js gave them.

use olelo_tests::language::JAVASCRIPT;
use olelo_tests::{Phone, Server, Setup};

fn start(script: &str) -> Server {
    Setup::script(JAVASCRIPT, script).start()
}

fn reason(phone: &mut Phone, method: &str) -> String {
    let reply = phone.ask(&phone.request(method, "sip:test.local", "", ""));
    format!(
        "{} {}",
        reply.status(),
        String::from_utf8_lossy(reply.reason())
    )
}

fn asked(server: &Server, method: &str) -> String {
    reason(&mut Phone::udp("a", server.addr), method)
}

#[test]
fn a_script_that_imports_is_a_module_whose_exports_are_routes() {
    let script = r#"
import { greeting } from "./lib/greeting.js";
import data from "./data.json";
import * as late from "late";
let calls = 0;
export const ksr_request_route = () => {
  calls++;
  KSR.sl.sl_send_reply(200, `${greeting(data.name)} ${late.answer} ${typeof ksr_request_route}`);
};
export function ksr_reply_route() {}
"#;
    let server = Setup::script(JAVASCRIPT, script)
        .file("data.json", "{ \"name\": \"bob\" }\n")
        .file(
            "late.mjs",
            "export const answer = await Promise.resolve(42);\n",
        )
        .file(
            "lib/greeting.js",
            "import { hi } from '../words';\nexport const greeting = (n) => `${hi} ${n}`;\n",
        )
        .file("words.js", "export const hi = 'hello';\n")
        .start();
    assert_eq!(asked(&server, "OPTIONS"), "200 hello bob 42 function");
}

#[test]
fn an_error_in_a_module_names_the_file_it_is_in() {
    let server = Setup::script(
        JAVASCRIPT,
        "import { f } from './broken.js';\nexport function ksr_request_route() { f(); }\n",
    )
    .file(
        "broken.js",
        "export function f() {\n  nowhere.to.be.found();\n}\n",
    )
    .start();
    assert!(asked(&server, "OPTIONS").starts_with("500"));
    let line = server.wait_for_log("nowhere is not defined");
    assert!(line.contains("broken.js:2:"), "{line}");
}

#[test]
fn routes_may_be_constants_and_arrows() {
    let server =
        start("const ksr_request_route = () => { KSR.sl.sl_send_reply(200, 'arrow'); };\n");
    assert_eq!(asked(&server, "OPTIONS"), "200 arrow");
}

const ASYNC: &str = r#"
const later = (x) => Promise.resolve(x).then((y) => y + 1);
function* numbers() { try { yield 1; KSR.x.exit(); yield 2; } finally { KSR.err("in finally\n"); } }
async function deep(n) { if (n === 0) { KSR.sl.sl_send_reply(202, "deep"); KSR.x.exit(); } await deep(n - 1); }

async function ksr_request_route() {
  switch (KSR.pv.get("$rm")) {
    case "WAIT": KSR.sl.sl_send_reply(200, "two is " + (await later(1))); return;
    case "THROW": await later(1); throw new RangeError("from a promise");
    case "EXIT": await deep(3); KSR.err("not reached\n"); return;
    case "YIELD": KSR.sl.sl_send_reply(202, "once"); for (const n of numbers()) KSR.dbg("" + n); KSR.err("not reached\n"); return;
    case "NEVER": KSR.sl.sl_send_reply(200, "OK"); await new Promise(() => {}); return;
    case "SPIN": while (true) await later(1);
  }
  KSR.sl.sl_send_reply(200, "OK");
}
"#;

#[test]
fn a_route_may_wait_for_promises() {
    let server = start(ASYNC);
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(reason(&mut phone, "WAIT"), "200 two is 2");
    assert!(reason(&mut phone, "THROW").starts_with("500"));
    let line = server.wait_for_log("RangeError: from a promise");
    assert!(line.contains("route.js:9:"), "{line}");
    assert_eq!(reason(&mut phone, "EXIT"), "202 deep");
    assert_eq!(reason(&mut phone, "YIELD"), "202 once");
    assert_eq!(reason(&mut phone, "NEVER"), "200 OK");
    assert!(reason(&mut phone, "SPIN").starts_with("500"));
    assert_eq!(reason(&mut phone, "OPTIONS"), "200 OK");
    assert!(!server.has_logged("not reached"));
}

#[test]
fn a_promise_that_fails_unseen_is_logged() {
    let server = start(
        "async function boom() { throw new Error('unseen'); }\nasync function seen() { throw new Error('handled'); }\nfunction ksr_request_route() { boom(); seen().catch(() => {}); KSR.sl.sl_send_reply(200, 'OK'); }\n",
    );
    assert_eq!(asked(&server, "OPTIONS"), "200 OK");
    let line = server.wait_for_log("unseen: ");
    assert!(line.contains("route.js:1:"), "{line}");
    assert!(!server.has_logged("handled"));
}

#[test]
fn a_comment_makes_no_module() {
    let server = start(
        "/* do not\nexport without permission */\nvar x = `\nimport nothing\n`;\nfunction ksr_request_route() { KSR.sl.sl_send_reply(200, 'script'); }\n",
    );
    assert_eq!(asked(&server, "OPTIONS"), "200 script");
}

#[test]
fn a_script_that_catches_everything_and_keeps_more_and_more_is_begun_anew() {
    let server = Setup::script(
        JAVASCRIPT,
        "const kept = [];\nfunction ksr_request_route() {\n  try { kept.push('x'.repeat(4e6) + kept.length); kept[kept.length - 1].charCodeAt(4e6); KSR.sl.sl_send_reply(200, 'OK'); }\n  catch (e) { KSR.sl.sl_send_reply(503, 'oops'); }\n}\n",
    )
    .children(1)
    .cfg("modparam(\"app_jsdt\", \"memory_limit\", 32)")
    .start();
    let mut phone = Phone::udp("a", server.addr);
    let said: Vec<String> = (0..30).map(|_| reason(&mut phone, "OPTIONS")).collect();
    let failed = said.iter().filter(|s| s.starts_with("503")).count();
    assert!((1..10).contains(&failed), "{said:?}");
    server.wait_for_log("more than 32 MB (memory_limit)");
}

#[test]
fn modules_are_required_as_node_and_kamailio_do() {
    let script = r#"
var tools = require("./tools");
var named = require("named");
var json = require("./data.json");
function ksr_request_route() {
  if (KSR.pv.get("$rm") == "MISSING") { try { require("nope"); } catch (e) { KSR.sl.sl_send_reply(404, e.message); } return; }
  if (KSR.pv.get("$rm") == "BROKEN") { require("./broken"); }
  KSR.sl.sl_send_reply(200, tools.twice(4) + named.name + json.x + (require("./tools") === tools) + tools.file);
}
"#;
    let server = Setup::script(JAVASCRIPT, script)
        .file("tools.js", "var half = require('./half.js');\nexports.twice = function (n) { return 4 * half(n); };\nexports.file = __filename.replace(/.*\\//, '');\n")
        .file("half.js", "module.exports = function (n) { return n / 2; };\n")
        .file("data.json", "{ \"x\": [1, 2] }\n")
        .file("broken.js", "var a = 1;\nthrow new Error('while loading');\n")
        .file("mods/named.js", "exports.name = 'named';\n")
        .cfg("modparam(\"app_jsdt\", \"loaddir\", \"mods\")")
        .start();
    assert_eq!(asked(&server, "OPTIONS"), "200 8named1,2truetools.js");
    assert_eq!(
        asked(&server, "MISSING"),
        "404 Could not resolve module 'nope'"
    );
    assert!(asked(&server, "BROKEN").starts_with("500"));
    let line = server.wait_for_log("while loading");
    assert!(line.contains("broken.js:2:"), "{line}");
}

#[test]
fn without_mode_there_is_no_require() {
    let server = Setup::script(
        JAVASCRIPT,
        "function ksr_request_route() { KSR.sl.sl_send_reply(200, typeof require); }",
    )
    .cfg("modparam(\"app_jsdt\", \"mode\", 0)")
    .start();
    assert_eq!(asked(&server, "OPTIONS"), "200 undefined");
}

#[test]
fn what_duktape_gave_is_there() {
    let server = start(
        r#"
var log = [];
function check(name, is, want) { if (String(is) !== String(want)) log.push(name + "=" + is); }
check("hex", Duktape.enc("hex", "foo"), "666f6f");
check("base64", Duktape.enc("base64", "föo"), "ZsO2bw==");
check("dec", new TextDecoder().decode(Duktape.dec("base64", "ZsO2bw==")), "föo");
check("hexdec", Duktape.dec("hex", "666F6f").length, 3);
check("version", Duktape.version, 20700);
check("jx", Duktape.enc("jx", { a: 1 }), '{"a":1}');
check("encoder", new TextEncoder().encode("€😀").join(), "226,130,172,240,159,152,128");
check("decoder", new TextDecoder().decode(new Uint8Array([0xe2, 0x82, 0xac, 0xff])), "€\ufffd");
check("atob", atob(btoa("hello")), "hello");
check("global", new Function("return this")() === globalThis, true);
function ksr_request_route() {
  print("printed", 1, { a: [1] });
  console.warn("warned");
  KSR.sl.sl_send_reply(200, log.length ? log.join(" ") : "all");
}
"#,
    );
    assert_eq!(asked(&server, "OPTIONS"), "200 all");
    let line = server.wait_for_log("printed 1 {\"a\":[1]}");
    assert!(line.contains("INFO"), "{line}");
    server.wait_for_log("warned");
}

#[test]
fn what_only_native_code_does_without_end_is_stopped_too() {
    let server = Setup::script(
        JAVASCRIPT,
        r#"
const abuse = {
  REGEXP() { return /^(a+)+$/.test("a".repeat(40) + "b"); },
  SORT() { const t = Array.from({ length: 3e6 }, (_, i) => (i * 7919) % 1000003); t.sort((a, b) => { while (true); }); },
  FILL() { return new Array(1e9).fill(0).length; },
  BUFFER() { return new ArrayBuffer(2 ** 40); },
  REPEAT() { return "x".repeat(2 ** 29); },
  PROXY() { const p = new Proxy({}, { get: () => { while (true); } }); return p.x; },
  GETTER() { return JSON.stringify({ get x() { return JSON.stringify(this); } }); },
  JSON() { let t = "["; return JSON.parse(t.repeat(2e6)); },
  FINAL() { try { while (true); } finally { while (true); } },
  INDEXOF() { return Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1); },
  EVAL() { return eval("while (true);"); },
};
function ksr_request_route() {
  const f = abuse[KSR.pv.get("$rm")];
  if (f) f();
  KSR.sl.sl_send_reply(200, "OK");
}
"#,
    )
    .cfg("modparam(\"app_jsdt\", \"time_limit\", 100)\nmodparam(\"app_jsdt\", \"memory_limit\", 64)")
    .start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    for method in [
        "REGEXP", "SORT", "FILL", "BUFFER", "REPEAT", "PROXY", "GETTER", "JSON", "FINAL",
        "INDEXOF", "EVAL",
    ] {
        let said = reason(&mut phone, method);
        assert!(said.starts_with("500"), "{method}: {said}");
        assert_eq!(reason(&mut phone, "OPTIONS"), "200 OK", "after {method}");
    }
    assert_eq!(server.processes(), before, "no worker was replaced");
}
