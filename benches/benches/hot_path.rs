//! What happens for every message: index it, look a record up in shared memory, build a reply.

use criterion::{Criterion, criterion_group, criterion_main};
use olelo_mem::heap::Tag;
use olelo_mem::table::Table;
use olelo_sip::Message;
use olelo_sip::build::{ReplyOptions, reply};
use std::hint::black_box;

const REGISTER: &[u8] = b"REGISTER sip:bench.local SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bKabc;rport\r\nFrom: <sip:u1@bench.local>;tag=1\r\nTo: <sip:u1@bench.local>\r\nCall-ID: 1@bench\r\nCSeq: 1 REGISTER\r\nContact: <sip:u1@127.0.0.1:5062>\r\nMax-Forwards: 70\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n";

fn messages(c: &mut Criterion) {
    let mut m = Message::new();
    c.bench_function("index a REGISTER", |b| {
        b.iter(|| {
            m.buf_mut().clear();
            m.buf_mut().extend_from_slice(black_box(REGISTER));
            m.parse()
        })
    });
    let m = Message::from_bytes(REGISTER).expect("a message");
    let mut out = Vec::new();
    c.bench_function("build its 200", |b| {
        b.iter(|| {
            out.clear();
            reply(&m, 200, b"OK", &ReplyOptions::default(), &mut out);
            out.len()
        })
    });
}

fn shared(c: &mut Criterion) {
    olelo_mem::arena::init_for_tests();
    let table = Table::create("bench", 1024, Tag::register("bench")).expect("a table");
    c.bench_function("insert and remove a record of 300 bytes", |b| {
        b.iter(|| {
            let mut bucket = table.lock(black_box(7));
            let id = bucket
                .insert(&[&[0u8; 300]], Vec::new(), &[])
                .expect("room");
            bucket.remove(id)
        })
    });
}

criterion_group!(benches, messages, shared);
criterion_main!(benches);
