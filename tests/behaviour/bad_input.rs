//! What the network may send: RFC 4475's messages, whole and cut at every byte, and noise. Every
//! worker is the one it was.

use crate::shipped;
use olelo_tests::{Phone, Server, Transport, field};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

/// RFC 4475, shortened to what makes each of them hard; then some of our own.
fn messages() -> Vec<Vec<u8>> {
    let m = |s: &str| s.replace('\n', "\r\n").into_bytes();
    vec![
        // 3.1.1.1 a short tortuous INVITE
        m(
            "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\nTO :\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\nfrom   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\n  ;\n  tag = 98asjd8\nMaX-fOrWaRdS: 0068\nCall-ID: wsinv.ndaksdj@192.0.2.1\nContent-Length   : 10\ncseq: 0009\n  INVITE\nVia  : SIP  /   2.0\n /UDP\n    192.0.2.2;branch=390skdjuw\ns :\nNewFangledHeader:   newfangled value\n continued newfangled value\nUnknownHeaderWithUnusualValue: ;;,,;;,;\nContent-Type: application/sdp\nRoute:\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\nv:  SIP  / 2.0  / TCP     spindle.example.com   ;\n  branch  =   z9hG4bK9ikj8  ,\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\n z9hG4bK30239\nm:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\n      newvalue ;\n  secondparam ; q = 0.33\n\nv=0\r\no=1\n",
        ),
        // 3.1.1.2 wide range of characters
        m(
            "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\nVia: SIP/2.0/UDP host1.example.com;rport;branch=z9hG4bK-.!%66*_+`'~\nTo: \"BEL:\\\x07 NUL:\\\0 DEL:\\\x7f\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>\nFrom: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"x\";tag=_token~1'+`*%!-.\nCall-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\nCSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\nMax-Forwards: 255\nextensionHeader-!.%*+_`'~:\u{fe}\u{43}\nContent-Length: 0\n\n",
        ),
        // 3.1.2.1 extraneous separators, 3.1.2.2 and 3.1.2.3 lengths that lie
        m(
            "INVITE sip:user@example.com SIP/2.0\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=134161461246\nMax-Forwards: 7\nCall-ID: badinv01.0ha0isndaksdjasdf3234nas\nCSeq: 8 INVITE\nVia: SIP/2.0/UDP 192.0.2.15;;,;,,\nContact: \"Joe\" <sip:joe@example.org>;;;;\nContent-Length: 152\nContent-Type: application/sdp\n\nv=0\n",
        ),
        m(
            "INVITE sip:user@example.com SIP/2.0\nMax-Forwards: 80\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=93942939o2\nContact: <sip:caller@hungry.example.net>\nCall-ID: clerr.0ha0isndaksdjweiafasdk3\nCSeq: 8 INVITE\nVia: SIP/2.0/UDP host5.example.com;branch=z9hG4bK-39234-23523\nContent-Type: application/sdp\nContent-Length: 9999\n\nv=0\n",
        ),
        m(
            "INVITE sip:user@example.com SIP/2.0\nMax-Forwards: 254\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=32394234\nCall-ID: ncl.0ha0isndaksdj2193423r542w35\nCSeq: 0 INVITE\nVia: SIP/2.0/UDP 192.0.2.53;branch=z9hG4bKkdjuw\nContact: <sip:caller@example53.example.net>\nContent-Type: application/sdp\nContent-Length: -999\n\nv=0\n",
        ),
        // 3.1.2.4 scalars that overflow
        m(
            "REGISTER sip:test.local SIP/2.0\nVia: SIP/2.0/TCP host129.example.com;branch=z9hG4bK342sdfoi3\nTo: <sip:user@test.local>\nFrom: <sip:user@test.local>;tag=239232jh3\nCSeq: 36893488147419103232 REGISTER\nCall-ID: scalar02.23o0pd9vanlq3wnrlnewofjas9ui32\nMax-Forwards: 300\nExpires: 10000000000000000000000000000000\nContact: <sip:user@host129.example.com>\n  ;expires=280297596632815\nContent-Length: 0\n\n",
        ),
        // 3.1.2.5 a reply with scalars that overflow
        m(
            "SIP/2.0 503 Service Unavailable\nVia: SIP/2.0/TCP host129.example.com;branch=z9hG4bKzzxdiwo34sw;received=192.0.2.129\nTo: <sip:user@example.com>\nFrom: <sip:other@example.net>;tag=2easdjfejw\nCSeq: 9292394834772304023312 OPTIONS\nCall-ID: scalarlg.noase0of0234hn2qofoaf0232aewf2394r\nRetry-After: 949302838503028349304023988\nWarning: 1812 overture \"In Progress\"\nContent-Length: 0\n\n",
        ),
        // 3.1.2.6 no end of a quoted string, 3.1.2.7 angles round the URI, 3.1.2.8 … 10 spaces
        m(
            "INVITE sip:user@example.com SIP/2.0\nTo: \"Mr. J. User <sip:j.user@example.com>\nFrom: sip:caller@example.net;tag=93334\nMax-Forwards: 10\nCall-ID: quotbal.aksdj\nContact: <sip:caller@host59.example.net>\nCSeq: 8 INVITE\nVia: SIP/2.0/UDP 192.0.2.59:5050;branch=z9hG4bKkdjuw39234\nContent-Length: 0\n\n",
        ),
        m(
            "INVITE <sip:user@example.com> SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=39291\nMax-Forwards: 23\nCall-ID: ltgtruri.1@192.0.2.5\nCSeq: 1 INVITE\nVia: SIP/2.0/UDP 192.0.2.5\nContent-Length: 0\n\n",
        ),
        m(
            "INVITE sip:user@example.com; lr SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=3xfe-9921883-z9f\nMax-Forwards: 231\nCall-ID: lwsruri.asdfasdoeoi2323-asdfwrn23-asd834rk423\nCSeq: 2130706432 INVITE\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKkdjuw2395\nContent-Length: 0\n\n",
        ),
        m(
            "INVITE  sip:user@example.com  SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=1\nMax-Forwards: 8\nCall-ID: lwsstart\nCSeq: 893884 INVITE\nVia: SIP/2.0/UDP host1.example.com;branch=z9hG4bKkdjuw3923\nContent-Length: 0\n\n",
        ),
        // 3.1.2.17 methods that differ, 3.1.2.18 an unknown one
        m(
            "OPTIONS sip:user@example.com SIP/2.0\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=34525\nMax-Forwards: 6\nCall-ID: mismatch01.dj0234sxdfl3\nCSeq: 8 INVITE\nVia: SIP/2.0/UDP host.example.com;branch=z9hG4bKkdjuw\nContent-Length: 0\n\n",
        ),
        // 3.1.2.16 a version from the future, 3.1.2.19 a status of too many digits
        m(
            "OPTIONS sip:t.watson@example.org SIP/7.0\nVia:     SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw\nMax-Forwards:     70\nFrom:    A. Bell <sip:a.g.bell@example.com>;tag=qweoiqpe\nTo:      T. Watson <sip:t.watson@example.org>\nCall-ID: badvers.31417@c.example.com\nCSeq:    1 OPTIONS\nContent-Length: 0\n\n",
        ),
        m(
            "SIP/2.0 4294967301 better not break the receiver\nVia: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe\nCall-ID: bigcode.asdof3uj203asdnf3429uasdhfas3ehjasdfas9i\nCSeq: 353494 INVITE\nFrom: <sip:user@example.com>;tag=39ansfi3\nTo: <sip:user@example.edu>;tag=902jndnke3\nContent-Length: 0\nContact: <sip:user@host105.example.com>\n\n",
        ),
        // 3.3.1 hardly any header, 3.3.2 … 5 unknown schemes
        m(
            "INVITE sip:user@example.com SIP/2.0\nCSeq: 193942 INVITE\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf\nContent-Type: application/sdp\nl: 0\n\n",
        ),
        m(
            "OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=384\nMax-Forwards: 3\nCall-ID: unkscm.nasdfasser0q239nwsdfasdkl34\nCSeq: 3923423 OPTIONS\nVia: SIP/2.0/TCP host9.example.com;branch=z9hG4bKkdjuw39234\nContent-Length: 0\n\n",
        ),
        // 3.3.8 headers twice
        m(
            "INVITE sip:user@company.com SIP/2.0\nContact: <sip:caller@host25.example.net>\nVia: SIP/2.0/UDP 192.0.2.25;branch=z9hG4bKkdjuw\nMax-Forwards: 70\nCSeq: 5 INVITE\nCall-ID: multi01.98asdh@192.0.2.1\nCSeq: 59 INVITE\nCall-ID: multi01.98asdh@192.0.2.2\nFrom: sip:caller@example.com;tag=3413415\nTo: sip:user@example.com\nTo: sip:other@example.net\nFrom: sip:caller@example.net;tag=2923420123\nContent-Type: application/sdp\nl: 0\nMax-Forwards: 5\n\n",
        ),
        m(
            "REGISTER sip:test.local SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKx\nFrom: <sip:x@test.local>;tag=1\nTo: <sip:x@test.local>\nCall-ID: star\nCSeq: 1 REGISTER\nContact: *\nContact: <sip:x@127.0.0.1>\nExpires: 0\nMax-Forwards: 70\nContent-Length: 0\n\n",
        ),
        m(
            "INVITE sip:a@test.local SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKy\nFrom: <sip:x@test.local>;tag=1\nTo: <sip:a@test.local>;tag=2\nRoute: <sip:test.local;lr>,<sip:[::1;lr>,,,<\nCall-ID: routes\nCSeq: 1 INVITE\nMax-Forwards: 70\nContent-Length: 0\n\n",
        ),
    ]
}

fn still_well(server: &Server, before: &[(i64, String)], what: &str) {
    let mut phone = Phone::udp("probe", server.addr);
    let reply = phone.ask(&phone.request("OPTIONS", "sip:test.local", "", ""));
    assert_eq!(reply.status(), 200, "after {what}");
    assert_eq!(
        server.processes(),
        before,
        "after {what}: a worker was replaced"
    );
    assert_eq!(server.stat("core.panics"), 0, "after {what}");
    let check = server.call("mem.check", &[]);
    assert_eq!(
        field(&check[0], "faults"),
        Some(&olelo_ipc::Value::Int(0)),
        "after {what}: {check:?}"
    );
}

#[test]
fn torture_messages_whole_and_cut_at_every_byte() {
    let server = shipped().start();
    let before = server.processes();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut sent = 0;
    for m in messages() {
        for n in (1..=m.len()).rev() {
            udp.send_to(&m[..n], server.addr).expect("sent");
            sent += 1;
            // Now and then wait for the server, or the kernel drops what it has no time for.
            if sent % 200 == 0 {
                let mut phone = Phone::udp("pace", server.addr);
                assert_eq!(
                    phone
                        .ask(&phone.request("OPTIONS", "sip:test.local", "", ""))
                        .status(),
                    200
                );
            }
        }
    }
    still_well(&server, &before, "torture over UDP");
    for m in messages() {
        for n in (1..=m.len()).rev().step_by(7) {
            let mut tcp = TcpStream::connect(server.addr).expect("a connection");
            let _ = tcp.write_all(&m[..n]);
        }
    }
    still_well(&server, &before, "torture over TCP");
}

#[test]
fn noise_on_every_socket() {
    let server = shipped().start();
    let before = server.processes();
    let seed = std::env::var("OLELO_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(4475);
    let mut rng = StdRng::seed_from_u64(seed);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let all = messages();
    for i in 0..4000 {
        let bytes: Vec<u8> = if i % 2 == 0 {
            (0..rng.random_range(0..1500))
                .map(|_| rng.random())
                .collect()
        } else {
            let mut m = all[rng.random_range(0..all.len())].clone();
            for _ in 0..rng.random_range(1..8) {
                let at = rng.random_range(0..m.len());
                m[at] = rng.random();
            }
            m
        };
        udp.send_to(&bytes, server.addr).expect("sent");
        if i % 20 == 0 {
            let mut tcp = TcpStream::connect(server.addr).expect("a connection");
            let _ = tcp.write_all(&bytes);
            let mut ctl =
                UnixStream::connect(server.dir().join("ctl")).expect("the control socket");
            let _ = ctl.write_all(&bytes);
            let mut ctl =
                UnixStream::connect(server.dir().join("ctl")).expect("the control socket");
            let mut packet = vec![0xa1, 0x03];
            packet.extend(&bytes);
            let _ = ctl.write_all(&packet);
        }
        if i % 200 == 0 {
            let mut phone = Phone::new("pace", server.addr, Transport::Udp);
            assert_eq!(
                phone
                    .ask(&phone.request("OPTIONS", "sip:test.local", "", ""))
                    .status(),
                200,
                "seed {seed}"
            );
        }
    }
    still_well(&server, &before, &format!("noise of seed {seed}"));
}
