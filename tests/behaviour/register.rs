//! Phones register, refresh, expire and leave (RFC 3261 §10), with the shipped script.

use crate::shipped;
use olelo_ipc::Value;
use olelo_sip::HeaderName;
use olelo_tests::{Phone, Transport, header, text};

#[test]
fn a_phone_registers_refreshes_and_leaves() {
    let server = shipped().start();
    for how in [Transport::Udp, Transport::Tcp] {
        let mut phone = Phone::new("alice", server.addr, how);
        let reply = phone.register(600);
        assert_eq!(reply.status(), 200, "{}", text(&reply));
        let contact = header(&reply, HeaderName::Contact);
        assert!(
            contact.contains(&phone.contact()) && contact.contains("expires=600"),
            "{contact}"
        );
        let reply = phone.register(0);
        assert_eq!(reply.status(), 200);
        assert!(!text(&reply).contains(&phone.contact()), "{}", text(&reply));
    }
    assert!(
        server
            .ctl()
            .call("ul.lookup", &["location", "alice"])
            .is_err(),
        "nobody is registered"
    );
}

#[test]
fn an_answer_lists_all_contacts_with_their_time() {
    let server = shipped().start();
    let mut phones: Vec<Phone> = (0..3).map(|_| Phone::udp("bob", server.addr)).collect();
    for (i, p) in phones.iter_mut().enumerate() {
        assert_eq!(p.register(100 * (i as u32 + 1)).status(), 200);
    }
    let query = phones[0]
        .request("REGISTER", "sip:test.local", "", "")
        .replace(&format!("Contact: <{}>\r\n", phones[0].contact()), "");
    let reply = phones[0].ask(&query);
    let all = text(&reply);
    for p in &phones {
        assert!(all.contains(&p.contact()), "{all}");
    }
    let found = server.call("ul.lookup", &["location", "bob"]);
    assert!(
        format!("{found:?}").contains(&phones[2].contact()),
        "{found:?}"
    );
}

#[test]
fn control_adds_and_removes_contacts() {
    let server = shipped().start();
    server.call(
        "ul.add",
        &[
            "location",
            "carol",
            "sip:carol@127.0.0.1:9",
            "300",
            "1.0",
            "0",
            "0",
            "0",
            "0",
        ],
    );
    let found = format!("{:?}", server.call("ul.lookup", &["location", "carol"]));
    assert!(found.contains("sip:carol@127.0.0.1:9"), "{found}");
    server.call("ul.rm", &["location", "carol"]);
    assert!(
        server
            .ctl()
            .call("ul.lookup", &["location", "carol"])
            .is_err()
    );
    assert!(!server.call("ul.dump", &[]).is_empty());
}

#[test]
fn too_many_contacts_are_refused_and_a_wildcard_removes_all() {
    let server = shipped()
        .cfg("modparam(\"registrar\", \"max_contacts\", 2)")
        .start();
    let mut phones: Vec<Phone> = (0..3).map(|_| Phone::udp("dave", server.addr)).collect();
    assert_eq!(phones[0].register(300).status(), 200);
    assert_eq!(phones[1].register(300).status(), 200);
    assert_eq!(phones[2].register(300).status(), 503);
    let all = phones[0]
        .request("REGISTER", "sip:test.local", "Expires: 0\r\n", "")
        .replace(&format!("Contact: <{}>", phones[0].contact()), "Contact: *");
    assert_eq!(phones[0].ask(&all).status(), 200);
    assert!(
        server
            .ctl()
            .call("ul.lookup", &["location", "dave"])
            .is_err()
    );
    assert_eq!(phones[2].register(300).status(), 200);
}

#[test]
fn contacts_expire() {
    let server = shipped().cfg("modparam(\"registrar\", \"min_expires\", 1)\nmodparam(\"usrloc\", \"timer_interval\", 1)").start();
    let mut phone = Phone::udp("erin", server.addr);
    assert_eq!(phone.register(1).status(), 200);
    server.eventually("the contact is gone", || {
        server
            .ctl()
            .call("ul.lookup", &["location", "erin"])
            .is_err()
    });
    server.eventually("and counted", || {
        server.stat("usrloc.location-contacts") == 0
    });
}

#[test]
fn digest_lets_the_right_password_in() {
    use olelo_sip::digest;
    let server = shipped().args(&["-A", "WITH_AUTH"]).start();
    let mut phone = Phone::udp("alice", server.addr);
    let request = phone.request("REGISTER", "sip:test.local", "", "");
    let challenge = phone.ask(&request);
    assert_eq!(challenge.status(), 401);
    let www = header(&challenge, HeaderName::WwwAuthenticate);
    let part = |name: &str| {
        www.split(&format!("{name}=\""))
            .nth(1)
            .and_then(|r| r.split('"').next())
            .unwrap_or("")
            .to_string()
    };
    let (realm, nonce) = (part("realm"), part("nonce"));
    assert_eq!(realm, "test.local");
    let credentials = |password: &str, nc: u32| {
        let ha1 = digest::ha1(
            digest::Algorithm::Md5,
            b"alice",
            realm.as_bytes(),
            password.as_bytes(),
        );
        let md5 = |t: String| digest::Algorithm::Md5.hash(&[t.as_bytes()]);
        let ha2 = md5("REGISTER:sip:test.local".into());
        let response = md5(format!("{ha1}:{nonce}:{nc:08x}:abc:auth:{ha2}"));
        format!(
            "Authorization: Digest username=\"alice\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"sip:test.local\", qop=auth, nc={nc:08x}, cnonce=\"abc\", response=\"{response}\", algorithm=MD5\r\n"
        )
    };
    let wrong = phone.request("REGISTER", "sip:test.local", &credentials("guess", 1), "");
    assert_eq!(phone.ask(&wrong).status(), 401);
    let right = phone.request(
        "REGISTER",
        "sip:test.local",
        &credentials("wonderland", 2),
        "",
    );
    let reply = phone.ask(&right);
    assert_eq!(reply.status(), 200, "{}", text(&reply));
    assert_eq!(server.call("core.echo", &["1"]), [Value::Int(1)]);
}
