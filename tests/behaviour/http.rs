//! HTTP requests on the SIP sockets: `xhttp` and JSON-RPC over it.

use olelo_tests::{PATIENCE, Phone, Server, Setup, Transport};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const SCRIPT: &str = r#"
function ksr_request_route() KSR.sl.sl_send_reply(200, 'OK') end
function ksr_xhttp_event(event)
    local target = KSR.pv.get('$hu')
    if target == '/rpc' then return KSR.jsonrpcs.dispatch() end
    if target == '/silent' then return 1 end
    if target == '/close' then KSR.set_reply_close() end
    KSR.hdr.append_to_reply('X-Event: ' .. event .. '\r\n')
    local text = KSR.pv.get('$rm') .. ' ' .. target .. ' ' .. (KSR.pv.get('$rb') or '')
    KSR.xhttp.xhttp_reply(200, 'OK', 'text/plain', text)
    return 1
end
"#;

fn start(more: &str) -> Server {
    Setup::lua(SCRIPT)
        .cfg(
            "loadmodule \"xhttp.so\"\nmodparam(\"xhttp\", \"event_callback\", \"ksr_xhttp_event\")",
        )
        .cfg(more)
        .start()
}

struct Client(BufReader<TcpStream>);

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Client {
    fn new(server: &Server) -> Client {
        let s = TcpStream::connect(server.addr).expect("a connection");
        s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Client(BufReader::new(s))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("sent");
    }

    fn answer(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let n = self.0.read_line(&mut head).expect("a line");
            assert_ne!(n, 0, "the connection ended within: {head}");
        }
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("Content-Length: "))
            .and_then(|l| l.parse().ok())
            .expect("a length");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the body");
        Answer {
            status: head[9..12].parse().expect("a status"),
            head,
            body: String::from_utf8(body).expect("text"),
        }
    }

    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).is_ok() && rest.is_empty()
    }
}

#[test]
fn the_script_answers_and_the_connection_stays() {
    let server = start("");
    let mut c = Client::new(&server);
    for _ in 0..3 {
        c.send("GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n");
        let a = c.answer();
        assert_eq!((a.status, a.body.as_str()), (200, "GET /a?b=c "));
        assert!(a.head.contains("X-Event: xhttp:request\r\n"), "{}", a.head);
        assert!(
            a.head.contains("Content-Type: text/plain\r\n"),
            "{}",
            a.head
        );
    }
    // SIP goes on beside it.
    let mut phone = Phone::new("a", server.addr, Transport::Tcp);
    let options = phone.request("OPTIONS", "sip:test.local", "", "");
    assert_eq!(phone.ask(&options).status(), 200);
}

#[test]
fn requests_may_be_pipelined() {
    let server = start("");
    let mut c = Client::new(&server);
    let all: String = (0..10)
        .map(|i| format!("POST /{i} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nn{i}"))
        .collect();
    c.send(&all);
    for i in 0..10 {
        assert_eq!(c.answer().body, format!("POST /{i} n{i}"));
    }
}

#[test]
fn json_rpc_is_answered() {
    let server = start("");
    let mut c = Client::new(&server);
    let mut post = |body: &str| {
        c.send(&format!(
            "POST /rpc HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        c.answer()
    };
    let a = post(r#"{"jsonrpc":"2.0","method":"core.echo","params":["x"],"id":7}"#);
    assert_eq!(a.status, 200);
    assert!(a.head.contains("Content-Type: application/json\r\n"));
    let json: serde_json::Value = serde_json::from_str(&a.body).expect("JSON");
    assert_eq!(json["id"], 7);
    assert_eq!(json["result"][0], "x");
    let a = post(r#"{"jsonrpc":"2.0","method":"no.such","id":8}"#);
    let json: serde_json::Value = serde_json::from_str(&a.body).expect("JSON");
    assert_eq!(json["error"]["code"], -32601);
    let a = post("{ broken");
    assert_eq!(a.status, 500);
}

#[test]
fn a_connection_ends_when_a_side_wants_it() {
    let server = start("");
    for request in [
        "GET /close HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "GET /x HTTP/1.0\r\n\r\n",
    ] {
        let mut c = Client::new(&server);
        c.send(request);
        let a = c.answer();
        assert_eq!(a.status, 200, "{request}");
        assert!(a.head.contains("Connection: close\r\n"), "{request}");
        assert!(c.is_closed(), "{request}");
    }
}

#[test]
fn what_is_not_for_the_script_is_refused() {
    let server = start("modparam(\"xhttp\", \"url_match\", \"^/ok\")");
    for (request, status) in [
        ("GET /other HTTP/1.1\r\n\r\n", 404),
        (
            "POST /ok HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            501,
        ),
        ("GET /ok HTTP/1.1\r\nno header at all\r\n\r\n", 400),
        ("GET /ok HTTP/1.1\r\n\r\n", 200),
    ] {
        let mut c = Client::new(&server);
        c.send(request);
        assert_eq!(c.answer().status, status, "{request}");
    }
}

#[test]
fn a_body_too_large_ends_the_connection() {
    let server = start("");
    let mut c = Client::new(&server);
    c.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n");
    let mut rest = Vec::new();
    let _ = c.0.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    let mut c = Client::new(&server);
    c.send("GET /still HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(c.answer().status, 200);
}

#[test]
fn the_native_event_route_answers_as_well() {
    let server = Setup::native(
        r#"
request_route { sl_send_reply("200", "OK"); }
event_route[xhttp:request] {
    if ($hu =~ "^/rpc") { jsonrpc_dispatch(); exit; }
    xhttp_reply("200", "OK", "text/plain", "$rm $(hu{url.path}) $(hu{url.querystring}) $si");
}"#,
    )
    .cfg("loadmodule \"xhttp.so\"")
    .start();
    let mut c = Client::new(&server);
    c.send("GET /a/b?c=d HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(c.answer().body, "GET /a/b c=d 127.0.0.1");
    let call = r#"{"jsonrpc":"2.0","method":"core.echo","params":["x"],"id":7}"#;
    c.send(&format!(
        "POST /rpc HTTP/1.1\r\nContent-Length: {}\r\n\r\n{call}",
        call.len()
    ));
    assert!(c.answer().body.contains("\"x\""));
}
