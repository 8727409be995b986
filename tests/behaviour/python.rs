//! Scripts in Python as operators of Kamailio have them: both styles, what `msg` and `Router` offer,
//! values in both directions, the ends of a route, errors.

use olelo_tests::{PATIENCE, Phone, Server, Setup};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Routes that begin as old scripts do; `body` is the request route's.
fn class_style(body: &str) -> String {
    let body = body.trim().replace('\n', "\n        ");
    format!(
        r#"import sys
import Router.Logger as Logger
import KSR as KSR

def mod_init():
    return kamailio()

class kamailio:
    def ksr_request_route(self, msg):
        {body}
"#
    )
}

pub(crate) fn status(phone: &mut Phone, method: &str) -> u16 {
    phone
        .ask(&phone.request(method, "sip:test.local", "", ""))
        .status()
}

/// The reason phrase of the reply to an OPTIONS.
pub(crate) fn reason(server: &Server) -> String {
    let mut phone = Phone::udp("a", server.addr);
    let reply = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
    String::from_utf8_lossy(reply.reason()).into_owned()
}

/// What a request route whose body sets `r` to a text answers with.
fn answered(body: &str) -> String {
    let body = format!("{}\nKSR.sl.sl_send_reply(200, r)", body.trim());
    reason(&Setup::python(&class_style(&body)).children(1).start())
}

#[test]
fn the_class_style_has_its_routes_in_the_object_of_mod_init() {
    let server = Setup::python(
        r#"
import KSR as KSR

def mod_init():
    KSR.info("mod_init\n")
    return kamailio()

class kamailio:
    def child_init(self, rank):
        self.rank = rank
        KSR.info("child_init of rank %d\n" % rank)
        return 0

    def ksr_request_route(self, msg):
        KSR.tm.t_on_failure("ksr_failure_manage")
        if KSR.is_method("MESSAGE"):
            KSR.setdsturi("sip:127.0.0.1:9")
            return KSR.forward()
        KSR.sl.sl_send_reply(200, "rank %d, %s" % (self.rank, msg.Method))

    def ksr_onsend_route(self, msg):
        KSR.info("onsend %s\n" % KSR.pv.get("$snd(port)"))
        return 1
"#,
    )
    .children(1)
    .start();
    assert_eq!(reason(&server), "rank 1, OPTIONS");
    server.wait_for_log("child_init of rank 1");
    // The timer process routes as well: it sends retransmissions.
    server.wait_for_log("child_init of rank -1");
}

#[test]
fn the_style_of_app_python3s_has_functions() {
    let server = Setup::python(
        r#"
import KSR

seen = []

def begin():
    seen.append("begin")

def child(rank):
    seen.append(rank)

def ksr_request_route(msg):
    KSR.sl.sl_send_reply(200, "%s %s %d" % (seen, KSR.pv.get("$rm"), helper()))

def helper():
    return KSR.app_python3.exec_p1("add", "4") + KSR.app_python3.exec("no_arguments")

def add(msg, text):
    return int(text) + 1

def no_arguments():
    return 2
"#,
    )
    .cfg("modparam(\"app_python3s\", \"script_init\", \"begin\")\nmodparam(\"app_python3s\", \"script_child_init\", \"child\")")
    .children(1)
    .start();
    assert_eq!(reason(&server), "['begin', 1] OPTIONS 7");
}

#[test]
fn msg_and_router_offer_what_old_scripts_use() {
    let text = answered(
        r#"
import Router, Router.Core, Router.Ranks
Logger.LM_ERR("by LM_ERR\n")
Logger.LM_GEN1(Logger.DEFAULT_FACILITY, Logger.L_ERR, "by LM_GEN1\n")
try:
    status = msg.Status
except RuntimeError as e:
    status = "none"
before = msg.RURI
msg.rewrite_ruri("sip:x@y")
msg.set_dst_uri("sip:127.0.0.1:9")
assert msg.copy().RURI == "sip:x@y" and KSR.pv.get("$du") == "sip:127.0.0.1:9"
assert msg.call_function("setflag", "3") == 1 and KSR.isflagset(3)
assert msg.src_address[0] == "127.0.0.1" and msg.dst_address == ("127.0.0.1", KSR.kx.get_rcvport() if hasattr(KSR.kx, "get_rcvport") else KSR.pv.get("$Rp"))
assert Router.Ranks.PROC_MAIN == 0 and Router.Logger.L_DBG == 3
r = " ".join([msg.Type, msg.Method, status, before, msg.getHeader("call-id")[:0] + str(msg.getHeader("X-None"))])
"#,
    );
    assert_eq!(text, "SIP_REQUEST OPTIONS none sip:test.local None");
}

#[test]
fn names_that_are_keywords_are_reached_as_documented() {
    let text = answered(
        r#"
from KSR import pv as p, hdr
import KSR.tm
r = "%s %s %s" % (KSR.__dict__["pv"] is p, callable(getattr(KSR.x, "exit")), callable(hdr.append))
"#,
    );
    assert_eq!(text, "True True True");
}

#[test]
fn values_cross_the_border_both_ways() {
    let text = answered(
        r#"
def back(v):
    KSR.pv.sets("$var(x)", v)
    return KSR.pv.get("$var(x)")
KSR.pv.seti("$var(i)", 2 ** 62)
odd = b"\xff\x80a".decode("utf-8", "surrogateescape")
r = " ".join(map(str, [
    back("h\u00e9") == "h\u00e9",
    back(b"bytes") == "bytes",
    back(odd) == odd,
    KSR.pv.get("$var(i)") == 2 ** 62,
    KSR.pv.get("$avp(none)"),
    KSR.pv.is_null("$avp(none)"),
    KSR.is_OPTIONS(),
]))
"#,
    );
    assert_eq!(text, "True True True True None True True");
}

#[test]
fn what_does_not_fit_is_an_exception_that_names_the_signature() {
    let text = answered(
        r#"
said = []
for call in [
    lambda: KSR.setflag("many"),
    lambda: KSR.setflag(),
    lambda: KSR.setflag(1, 2, 3, 4, 5, 6, 7, 8),
    lambda: KSR.setflag(2 ** 64),
    lambda: KSR.setflag(1.5),
    lambda: KSR.setflag(object()),
    lambda: KSR.setflag([[1], {"a": 2}]),
]:
    try:
        call()
        said.append("nothing")
    except TypeError as e:
        assert isinstance(e, RuntimeError), e
        said.append("KSR.setflag(flag: int)" in str(e))
r = " ".join(map(str, said))
"#,
    );
    assert_eq!(text, ["True"; 7].join(" "));
}

const ENDS: &str = r#"
import sys
import KSR

def ksr_request_route(msg):
    m = KSR.pv.get("$rm")
    if m == "EXIT": deeper(KSR.x.exit)
    if m == "DROP": deeper(KSR.x.drop)
    if m == "SYSEXIT": sys.exit(3)
    if m == "EXITFN": exit()
    if m == "CAUGHT":
        try:
            KSR.x.exit()
        except Exception:
            KSR.sl.sl_send_reply(200, "not reached")
    if m == "CAUGHTALL":
        try:
            KSR.x.exit()
        except BaseException:
            pass
        KSR.sl.sl_send_reply(200, "not reached")
    KSR.sl.sl_send_reply(200, "OK")

def deeper(f):
    KSR.sl.sl_send_reply(202, "ended")
    f()
"#;

#[test]
fn exit_and_drop_end_the_route_and_nothing_else() {
    let server = Setup::python(ENDS).children(1).start();
    let before = server.processes();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "EXIT"), 202);
    assert_eq!(status(&mut phone, "DROP"), 202);
    for method in ["SYSEXIT", "EXITFN", "CAUGHT", "CAUGHTALL"] {
        phone.send(phone.request(method, "sip:test.local", "", ""));
        assert_eq!(
            status(&mut phone, "OPTIONS"),
            200,
            "{method} is not answered: the first reply is the next request's"
        );
    }
    assert!(!server.has_logged("not reached"));
    assert!(!server.has_logged("ERROR"), "{}", server.logged());
    assert_eq!(server.processes(), before);
}

#[test]
fn errors_have_file_line_and_traceback() {
    let server = Setup::python(
        r#"
import KSR

def ksr_request_route(msg):
    inner(KSR.pv.get("$rm"))

def inner(m):
    if m == "WRONG": KSR.setflag("many")
    if m == "CHAIN":
        try:
            {}["x"]
        except KeyError as e:
            raise ValueError("instead") from e
    1 / 0
"#,
    )
    .children(1)
    .start();
    let mut phone = Phone::udp("a", server.addr);
    assert_eq!(status(&mut phone, "OPTIONS"), 500);
    let line = server.wait_for_log("route.py:14: ZeroDivisionError: division by zero");
    assert!(line.contains("ERROR"), "{line}");
    server.wait_for_log("route.py\", line 5, in ksr_request_route");
    server.wait_for_log("    inner(KSR.pv.get(\"$rm\"))");
    assert_eq!(status(&mut phone, "WRONG"), 500);
    server.wait_for_log("route.py:8: Router.Error: KSR.setflag(flag: int)");
    assert_eq!(status(&mut phone, "CHAIN"), 500);
    server.wait_for_log("KeyError: 'x'");
    server.wait_for_log("route.py:13: ValueError: instead");
    assert!(!server.has_logged("<olelo>"), "{}", server.logged());
}

#[test]
fn native_routes_call_python() {
    let server = Setup::native(
        r#"
request_route {
  $var(x) = "from cfg";
  if (python_exec("answer", "$var(x)") != 5) { sl_send_reply("500", "not five"); }
}
"#,
    )
    .cfg("loadmodule \"app_python.so\"\n")
    .file(
        "beside.py",
        "import KSR\ndef answer(msg, arg):\n    KSR.sl.sl_send_reply(200, msg.Method + ' ' + arg)\n    return 5\n",
    )
    .cfg("modparam(\"app_python\", \"script_name\", \"{dir}/beside.py\")")
    .children(1)
    .start();
    assert_eq!(reason(&server), "OPTIONS from cfg");
}

#[test]
fn event_callbacks_are_given_the_message_and_the_event() {
    let server = Setup::python(
        r#"
import KSR

def mod_init():
    return Routes()

class Routes:
    def ksr_request_route(self, msg):
        KSR.sl.sl_send_reply(200, "OK")

    def ksr_xhttp_event(self, msg, evname):
        KSR.xhttp.xhttp_reply(200, "OK", "text/plain", msg.Type + " " + evname)
"#,
    )
    .cfg("loadmodule \"xhttp.so\"\nmodparam(\"xhttp\", \"event_callback\", \"ksr_xhttp_event\")")
    .children(1)
    .start();
    let mut s = TcpStream::connect(server.addr).expect("a connection");
    s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    s.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    s.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("SIP_REQUEST xhttp:request"), "{answer}");
}

#[test]
fn a_library_that_is_no_python_is_refused_with_what_to_do() {
    let log = Setup::python(ENDS)
        .cfg("modparam(\"app_python3\", \"library\", \"/nonesuch/libpython3.11.so.1.0\")")
        .refused();
    for part in [
        "no library of Python 3.8 to 3.14 can be used",
        "/nonesuch/libpython3.11.so.1.0",
        "apt-get install",
    ] {
        assert!(log.contains(part), "{log}");
    }
}
