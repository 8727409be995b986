//! BINRPC: a packet is read whole or not at all, and what is read can be written and read again.

use olelo_ipc::Value;
use olelo_ipc::binrpc::{self, Body, MAX_REQUEST, Packet};

/// See the file's essay.
pub fn target(bytes: &[u8]) {
    let Ok(Some((packet, used))) = binrpc::decode(bytes, MAX_REQUEST) else {
        return;
    };
    assert!(used <= bytes.len() && used >= 4);
    for cut in [used - 1, used / 2, 3.min(used - 1), 0] {
        assert_eq!(
            binrpc::decode(&bytes[..cut], MAX_REQUEST),
            Ok(None),
            "a part is no packet"
        );
    }
    assert_eq!(
        binrpc::decode(&bytes[..used], MAX_REQUEST).map(|d| d.map(|(_, n)| n)),
        Ok(Some(used)),
        "what follows a packet does not matter"
    );
    // Writing has its own normal form: numbers of 32 bits, texts without NUL.
    let written = binrpc::encode(&packet);
    let normal = read(&written);
    assert_eq!(normal.cookie, packet.cookie);
    assert_eq!(shape(&normal), shape(&packet));
    assert_eq!(
        read(&binrpc::encode(&normal)),
        normal,
        "the normal form stays"
    );
    if let Body::Request(_, args) | Body::Reply(args) = &packet.body {
        for a in args {
            json(a);
        }
    }
}

fn read(bytes: &[u8]) -> Packet {
    let decoded = binrpc::decode(bytes, 1 << 28);
    let (packet, used) = decoded.expect("what we write reads").expect("and is whole");
    assert_eq!(used, bytes.len());
    packet
}

/// Kind and number of values, all levels.
fn shape(p: &Packet) -> (u8, usize) {
    fn count(v: &Value) -> usize {
        match v {
            Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
            Value::Struct(members) => 1 + members.iter().map(|(_, v)| count(v)).sum::<usize>(),
            _ => 1,
        }
    }
    match &p.body {
        Body::Request(_, args) => (0, args.iter().map(count).sum()),
        Body::Reply(values) => (1, values.iter().map(count).sum()),
        Body::Fault(..) => (2, 0),
    }
}

/// The same value for a JSON client: it can be written, and read back to itself.
fn json(v: &Value) {
    let once = Value::from_json(&v.to_json());
    let text = serde_json::to_string(&once.to_json()).expect("JSON is text");
    let back: serde_json::Value = serde_json::from_str(&text).expect("JSON reads");
    assert_eq!(back.to_string(), text);
}
