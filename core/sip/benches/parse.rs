//! What a message costs: the index, the usual lazy headers, and writing it out.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use olelo_sip::build::{self, ForwardOptions, ReplyOptions};
use olelo_sip::{Edits, Message, Uri};
use std::hint::black_box;

const REGISTER: &[u8] = b"REGISTER sip:example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.168.1.10:5060;branch=z9hG4bK-524287-1---a1b2c3d4e5f60718;rport\r\n\
Max-Forwards: 70\r\n\
Contact: <sip:alice@192.168.1.10:5060;transport=udp>;+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"\r\n\
To: \"Alice\" <sip:alice@example.com>\r\n\
From: \"Alice\" <sip:alice@example.com>;tag=8f3b2c1d\r\n\
Call-ID: MWY4ZDkyYjI3ZGY0NDY1OGM5YmE1NmE\r\n\
CSeq: 2 REGISTER\r\n\
Expires: 3600\r\n\
Allow: INVITE, ACK, CANCEL, BYE, NOTIFY, REFER, MESSAGE, OPTIONS, INFO, SUBSCRIBE\r\n\
Supported: replaces, norefersub, extended-refer, timer, outbound, path\r\n\
User-Agent: Example Softphone 5.4.2\r\n\
Allow-Events: presence, kpml, talk\r\n\
Content-Length: 0\r\n\r\n";

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("register");
    group.throughput(Throughput::Bytes(REGISTER.len() as u64));
    let mut msg = Message::new();
    group.bench_function("index", |b| {
        b.iter(|| {
            msg.reset();
            msg.buf_mut().extend_from_slice(black_box(REGISTER));
            msg.parse().is_ok()
        });
    });
    group.bench_function("index and usual headers", |b| {
        b.iter(|| {
            msg.reset();
            msg.buf_mut().extend_from_slice(black_box(REGISTER));
            let _ = black_box(msg.parse());
            black_box((msg.via(0), msg.from(), msg.to(), msg.cseq()));
            black_box(msg.contacts().is_ok());
            black_box(Uri::parse(msg.ruri()).is_ok());
        });
    });
    let msg = Message::from_bytes(REGISTER).unwrap_or_default();
    let mut out = Vec::new();
    group.bench_function("reply", |b| {
        let options = ReplyOptions {
            to_tag: Some(b"abcdef"),
            ..ReplyOptions::default()
        };
        b.iter(|| {
            out.clear();
            build::reply(black_box(&msg), 200, b"OK", &options, &mut out);
        });
    });
    group.bench_function("forward", |b| {
        let edits = Edits::new();
        b.iter(|| {
            out.clear();
            build::forward_request(
                black_box(&msg),
                &edits,
                b"sip:10.0.0.1",
                b"SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKabc",
                &ForwardOptions::default(),
                &mut out,
            );
        });
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
