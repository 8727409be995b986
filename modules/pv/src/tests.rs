//! Pseudo-variables and transformations by tables: a text, and what it reads.

use olelo_core::pv::Spec;
use olelo_core::pv::format::expand;
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;

const INVITE: &[u8] = b"INVITE sip:bob;x=1@127.0.0.1:17060;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP 127.0.0.1:17999;rport;branch=z9hG4bKabc;i=7\r\n\
Via: SIP/2.0/TCP 10.0.0.9:5099;branch=z9hG4bKdef\r\n\
From: \"Alice A\" <sip:alice@ex.com>;tag=ft1\r\n\
To: <sip:bob@ex.com>\r\n\
Call-ID: cid1\r\n\
CSeq: 7 INVITE\r\n\
X-A: one\r\n\
X-A: two\r\n\
X-A: three\r\n\
Contact: <sip:alice@127.0.0.1:17999>;expires=60, \"B\" <sip:b2@127.0.0.1>;expires=30\r\n\
Content-Type: text/plain\r\n\
Content-Length: 4\r\n\
\r\n\
body";

fn ctx() -> Ctx {
    olelo_core::server::for_tests(vec![crate::module()]);
    let mut c = Ctx::new();
    c.msg.buf_mut().extend_from_slice(INVITE);
    c.msg.parse().unwrap();
    c.rcv.src = "127.0.0.1:17999".parse().unwrap();
    c.rcv.dst = "127.0.0.1:17060".parse().unwrap();
    c
}

fn shown(c: &Ctx, text: &str) -> String {
    String::from_utf8_lossy(&expand(c, text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}")))
        .into_owned()
}

fn set(c: &mut Ctx, name: &str, v: Val<'_>) {
    Spec::parse(name.as_bytes())
        .and_then(|s| s.set(c, v))
        .unwrap_or_else(|e| panic!("{name}: {e}"));
}

fn check(c: &Ctx, rows: &[(&str, &str)]) {
    for (text, want) in rows {
        assert_eq!(shown(c, text), *want, "{text}");
    }
}

/// The right column is what Kamailio 5.6 prints for this message.
#[test]
fn a_request_reads_as_operators_know_it() {
    check(&ctx(), &[
        ("$ru $rd $rp $rP $rz $rU $rUl", "sip:bob;x=1@127.0.0.1:17060;user=phone 127.0.0.1 17060 UDP tel bob 3"),
        ("$dp $dP $dd $du", "<null> <null> <null> <null>"),
        ("$fn|$tn|$fu|$fU|$fd|$ft|$tt", "\"Alice A\"|<null>|sip:alice@ex.com|alice|ex.com|ft1|<null>"),
        ("$ct", "<sip:alice@127.0.0.1:17999>;expires=60, \"B\" <sip:b2@127.0.0.1>;expires=30"),
        ("$cT $cl $ci $cs $rm $mt $mts $rv $bs $rb", "text/plain 4 cid1 7 INVITE 1 rq SIP/2.0 4 body"),
        ("$hdr(X-A) $(hdr(X-A)[1]) $(hdr(X-A)[-1]) [$(hdr(X-A)[*])] $hdrc(X-A) $hdr(Nope)", "one two three [one,two,three] 3 <null>"),
        ("$(hfl(Contact)[1]) $hflc(Contact) $hflc(X-A)", "\"B\" <sip:b2@127.0.0.1>;expires=30 2 3"),
        ("$si $sp $su $sut $sas $pr $prid", "127.0.0.1 17999 sip:127.0.0.1:17999 sip:127.0.0.1:17999;transport=udp udp:127.0.0.1:17999 udp 1"),
        ("$Ri $Rp $Rut $Ras", "127.0.0.1 17060 sip:127.0.0.1:17060;transport=udp udp:127.0.0.1:17060"),
        ("$via0(host) $via0(port) $via0(proto) $via0(branch) $via0(rport) $via0(i) $via1(host)", "127.0.0.1 17999 UDP z9hG4bKabc <null> 7 10.0.0.9"),
        ("$K(IPv4) $K(IPv6) $K(UDP) $K(TCP) $mf $mF $Mf(1)", "2 10 1 2 0 00000000 0"),
        ("$expires(min) $expires(max)", "30 60"),
        ("$sel(from.uri.user) $sel(via[1].port) $sel(cseq.method) $sel(@to.uri.host) $sel(ruri.user) $sel(received.proto)", "alice 17999 INVITE ex.com bob udp"),
        ("$msg(fline) $msg(len) $msg(body)", "INVITE sip:bob;x=1@127.0.0.1:17060;user=phone SIP/2.0 469 body"),
        ("$_s(a$rU b) $Au $AU $au", "abob b alice@ex.com alice <null>"),
        ("$nh(u) $nh(U) $nh(d) $nh(p) $nh(P)", "sip:bob;x=1@127.0.0.1:17060;user=phone bob 127.0.0.1 17060 UDP"),
        ("$rs $rr $null $true $$", "<null> <null> <null> 1 $"),
    ].map(|(a, b)| (a, b.replace("469", &INVITE.len().to_string()))).iter().map(|(a, b)| (*a, b.as_str())).collect::<Vec<_>>());
}

#[test]
fn what_is_set_is_read_again() {
    let mut c = ctx();
    set(&mut c, "$du", Val::text("sip:1.2.3.4;transport=tcp"));
    check(&c, &[("$dp $dP $dd $nh(d)", "5060 tcp 1.2.3.4 1.2.3.4")]);
    set(&mut c, "$ru", Val::text("sip:x@y.z"));
    set(&mut c, "$rU", Val::text("new"));
    set(&mut c, "$rd", Val::text("host"));
    set(&mut c, "$rp", Val::Int(5070));
    check(
        &c,
        &[(
            "$ru $ou",
            "sip:new@host:5070 sip:bob;x=1@127.0.0.1:17060;user=phone",
        )],
    );
    set(&mut c, "$mf", Val::Int(3));
    set(&mut c, "$Mf(4)", Val::Int(1));
    check(&c, &[("$mf $mF $Mf(0)", "19 00000013 1")]);
    set(&mut c, "$fU", Val::text("carol"));
    set(&mut c, "$fd", Val::text("other"));
    set(&mut c, "$fn", Val::text("\"C\""));
    assert!(
        shown(&c, "$mbu").contains("From: \"C\" <sip:carol@other>;tag=ft1\r\n"),
        "{}",
        shown(&c, "$mbu")
    );
    for bad in ["$ru", "$du"] {
        assert!(
            Spec::parse(bad.as_bytes())
                .unwrap()
                .set(&mut c, Val::text("no uri"))
                .is_err(),
            "{bad}"
        );
    }
    assert!(
        Spec::parse(b"$si")
            .unwrap()
            .set(&mut c, Val::Int(1))
            .is_err()
    );
}

#[test]
fn avps_stack_and_variables_stay() {
    let mut c = ctx();
    for i in 1..=3 {
        set(&mut c, "$avp(q)", Val::Int(i));
    }
    check(
        &c,
        &[(
            "$avp(q) $avp(s:q) $(avp(q)[1]) $(avp(q)[*]) $cnt($avp(q))",
            "3 3 2 3, 2, 1 3",
        )],
    );
    set(&mut c, "$avp(q)", Val::Null);
    check(&c, &[("$(avp(q)[*])", "2, 1")]);
    set(&mut c, "$(avp(q)[*])", Val::text("all"));
    check(&c, &[("$(avp(q)[*]) $avp(none)", "all <null>")]);
    check(&c, &[("$var(n) $vn(n)", "0 <null>")]);
    set(&mut c, "$var(n)", Val::text("x"));
    check(&c, &[("$var(n) $vz(n)", "x x")]);
    set(&mut c, "$var(n)", Val::Null);
    check(&c, &[("$var(n)", "0")]);
}

#[test]
fn xavps_stack_with_fields() {
    let mut c = ctx();
    set(&mut c, "$xavp(a=>x)", Val::Int(1));
    set(&mut c, "$xavp(a[0]=>y)", Val::Int(2));
    set(&mut c, "$xavp(a=>x)", Val::Int(3));
    check(
        &c,
        &[(
            "$xavp(a[0]=>x) $xavp(a[1]=>x) $xavp(a[0]=>y) $xavp(a[1]=>y)",
            "3 1 <null> 2",
        )],
    );
    set(&mut c, "$xavp(b)", Val::text("v1"));
    assert!(
        Spec::parse(b"$xavp(b[0]=>z)")
            .unwrap()
            .set(&mut c, Val::Int(1))
            .is_err()
    );
    set(&mut c, "$xavu(u=>x)", Val::Int(1));
    set(&mut c, "$xavu(u=>y)", Val::Int(2));
    set(&mut c, "$xavu(u=>x)", Val::Int(3));
    set(&mut c, "$xavi(Ab=>Cd)", Val::Int(5));
    check(&c, &[("$xavu(u=>x) $xavu(u=>y) $xavi(aB=>cD)", "3 2 5")]);
    assert_eq!(
        crate::explode::params(&mut c, crate::xavp::Family::P, b"k=1;l=\"2 x\";m", b"p"),
        1
    );
    check(&c, &[("$xavp(p=>k) $xavp(p=>l) [$xavp(p=>m)]", "1 2 x []")]);
    assert_eq!(
        crate::explode::implode(&c, crate::xavp::Family::P, b"p", false).unwrap(),
        b"k=1;l=2 x;m;"
    );
}

/// The right column is what Kamailio 5.6 prints.
#[test]
fn transformations() {
    let mut c = ctx();
    for (n, v) in [
        ("$var(s)", "hello world, abc"),
        ("$var(u)", "sip:alice:pw@ex.com:5070;transport=tcp;lr?H=1"),
        ("$var(w)", "sip:b@h"),
        ("$var(p)", "a=1;b=\"2 x\";c;d=4"),
        ("$var(a)", "\"Bob X\" <sip:b@h;x=1>;tag=9;q=1"),
        ("$var(l)", "l1\nl2\r\nm3"),
        ("$var(z)", "  ab c  "),
        ("$var(y)", "\"qq\""),
        ("$var(x)", "<br>"),
        ("$var(i)", "12abc"),
    ] {
        set(&mut c, n, Val::text(v));
    }
    check(
        &c,
        &[
            (
                "$(var(s){s.len})|$(var(s){s.substr,6,5})|$(var(s){s.substr,-3,0})|$(var(s){s.substr,1,0})",
                "16|world|abc|ello world, abc",
            ),
            (
                "$(var(s){s.select,1,,})|$(var(s){s.select,-1, })|$(var(s){s.strip,3})|$(var(s){s.striptail,3})",
                " abc|abc|lo world, abc|hello world, ",
            ),
            (
                "[$(var(s){s.stripto,w})][$(var(s){s.stripto,Z})]",
                "[world, abc][]",
            ),
            (
                "$(var(s){s.prefixes,3})|$(var(s){s.prefixes.quoted,3})",
                "h,he,hel|'h','he','hel'",
            ),
            (
                "$(var(s){s.replace,o,0})|$(var(s){s.rm,l})|$(var(s){s.count,o})",
                "hell0 w0rld, abc|heo word, abc|2",
            ),
            (
                "$(var(s){s.before,x})|$(var(s){s.before,w})|$(var(s){s.after,x})|$(var(s){s.after,w})",
                "hello world, abc|hello ||orld, abc",
            ),
            (
                "[$(var(u){uri.user})][$(var(u){uri.host})][$(var(u){uri.passwd})][$(var(u){uri.port})][$(var(u){uri.params})]",
                "[alice][ex.com][pw][5070][transport=tcp;lr]",
            ),
            (
                "[$(var(u){uri.param,transport})][$(var(u){uri.param,nope})][$(var(u){uri.headers})][$(var(u){uri.transport})]",
                "[tcp][][H=1][tcp]",
            ),
            (
                "[$(var(u){uri.scheme})][$(var(u){uri.tosocket})][$(var(w){uri.port})][$(var(w){uri.params})]",
                "[sip][tcp:ex.com:5070][0][]",
            ),
            (
                "[$(var(u){uri.saor})][$(var(u){uri.duri})]",
                "[sip:alice@ex.com][sip:ex.com:5070;transport=tcp]",
            ),
            (
                "[$(var(p){param.value,b})][$(var(p){param.value,c})][$(var(p){param.valueat,-1})][$(var(p){param.name,0})][$(var(p){param.name,-1})][$(var(p){param.count})][$(var(p){param.in,c})][$(var(p){param.in,zz})]",
                "[2 x][][4][a][d][4][1][0]",
            ),
            (
                "[$(var(a){nameaddr.uri})][$(var(a){tobody.tag})][$(var(a){tobody.user})][$(var(a){tobody.host})][$(var(a){tobody.params})][$(var(a){tobody.display})]",
                "[sip:b@h;x=1][9][b][h][tag=9;q=1][\"Bob X\"]",
            ),
            (
                "[$(var(l){line.count})][$(var(l){line.at,0})][$(var(l){line.at,1})][$(var(l){line.at,-1})][$(var(l){line.sw,m})][$(var(l){line.sw,zz})]",
                "[3][l1][l2][m3][m3][]",
            ),
            (
                "[$(var(z){s.trim})][$(var(z){s.rmws})][$(var(y){s.unquote})][$(var(x){s.unbracket})][$(var(i){s.numeric})]",
                "[ab c][abc][qq][br][12]",
            ),
            (
                "[$(var(s){s.toupper})][$(var(s){s.md5})]",
                "[HELLO WORLD, ABC][ef3b4b9d6b4151b92ef386de87d24364]",
            ),
            (
                "[$(avp(none){val.n0})][$(avp(none){val.ne})][$(var(y){val.json})]",
                "[0][][\"\\\"qq\\\"\"]",
            ),
        ],
    );
}

#[test]
fn shared_variables() {
    let mut c = ctx();
    crate::shv::init().unwrap();
    check(&c, &[("$shv(none)", "0")]);
    set(&mut c, "$shv(t)", Val::text("text"));
    set(&mut c, "$shv(n)", Val::Int(41));
    check(
        &c,
        &[(
            "$shv(t) $shv(n) $shvinc(n) $shv(n) $shvinc(new)",
            "text 41 42 42 1",
        )],
    );
    set(&mut c, "$shv(t)", Val::Int(7));
    check(&c, &[("$shv(t)", "7")]);
}

#[test]
fn readers_of_kemi_never_fail() {
    let c = ctx();
    assert_eq!(crate::kemi::read(&c, b"$ci"), Some(Val::text("cid1")));
    assert_eq!(crate::kemi::read(&c, b"$nosuch"), None);
    assert_eq!(crate::kemi::read(&c, b"ci"), None);
}

proptest::proptest! {
    /// Whatever the value, no transformation of text panics.
    #[test]
    fn transformations_survive_any_text(text: Vec<u8>, n in -20i64..20) {
        let c = Ctx::new();
        for t in crate::tr::all() {
            let args: Vec<Val<'_>> = (0..t.arity.1).map(|i| if i % 2 == 0 { Val::Int(n) } else { Val::text("x") }).collect();
            let _ = (t.run)(&c, Val::owned(text.clone()), &args);
        }
    }
}

#[test]
fn faults_say_where_they_are() {
    olelo_core::server::for_tests(vec![crate::module()]);
    for (text, at, what) in [
        ("$rx", 1, "no known name $rx"),
        ("a $(ru{s.lenn})", 7, "did you mean {s.len}"),
        (
            "$(ru{s.substr,1})",
            5,
            "gives {s.substr} 1 arguments, it takes 2",
        ),
        ("$(ru", 4, "lacks its closing )"),
        ("$hdr", 4, "needs a name"),
        ("$hdr(X", 4, "lacks a closing )"),
        ("$(hdr(X)[a])", 9, "index"),
        ("$hdr( $nope)", 7, "no known name"),
        ("$(var(x){s.rm,$nope})", 15, "no known name"),
        ("$(avp(a)[ $nope])", 11, "no known name"),
    ] {
        let fault = olelo_core::pv::Format::compile(text.as_bytes()).expect_err(text);
        assert_eq!(fault.at, at, "{text}: {fault}");
        assert!(fault.to_string().contains(what), "{text}: {fault}");
    }
    let fault = Spec::compile(b"$ru$rU").expect_err("two");
    assert_eq!(fault.at, 3);
}

#[test]
fn only_what_can_be_set_is_writable() {
    olelo_core::server::for_tests(vec![crate::module()]);
    for (text, want) in [
        ("$ru", true),
        ("$var(x)", true),
        ("$(avp(x)[0])", true),
        ("$ci", false),
        ("$(ru{s.len})", false),
    ] {
        let spec = Spec::parse(text.as_bytes()).expect(text);
        assert_eq!(spec.is_writable(), want, "{text}");
        let set = spec.set(&mut Ctx::new(), Val::Null);
        assert!(want || set.is_err(), "{text}");
    }
}

#[test]
fn arguments_keep_their_text() {
    let ctx = ctx();
    for (text, want) in [
        ("$(_s(a01b1){s.rm,01})", "ab1"),
        ("$(_s(a b c){s.select,1, })", "b"),
        ("$(_s(abc){s.substr,-2,1})", "b"),
    ] {
        assert_eq!(
            ctx.pv(text).as_bytes().as_deref(),
            Some(want.as_bytes()),
            "{text}"
        );
    }
    let mut out = b"> ".to_vec();
    olelo_core::pv::Format::parse(b"$rm $null $rsi")
        .expect("a format")
        .eval_into(&ctx, &mut out);
    assert_eq!(out, b"> INVITE <null> 0");
}
