//! textopsx, cfgutils, ipops, mqueue, regex, mtree and tmrec in the real server: the main path of
//! each, from the script and by control commands, over more than one process.

use olelo_ipc::Value;
use olelo_tests::{Phone, Server, Setup, field};

const MODULES: &str = r#"
loadmodule "textopsx.so"
loadmodule "cfgutils.so"
loadmodule "ipops.so"
loadmodule "mqueue.so"
loadmodule "regex.so"
loadmodule "mtree.so"
loadmodule "tmrec.so"
modparam("cfgutils", "lock_set_size", 4)
modparam("cfgutils", "initial_gflags", 5)
modparam("mqueue", "mqueue", "name=q;size=3")
modparam("mqueue", "mqueue", "name=uniq;addmode=2")
modparam("mtree", "mtree", "name=pstn")
modparam("mtree", "item", "name=pstn;prefix=49;value=germany")
modparam("mtree", "item", "name=pstn;prefix=4930;value=berlin")
modparam("regex", "file", "GROUPS")
"#;

/// Runs the Lua function that the user of the request URI names; its result is the reason.
const SCRIPT: &str = r#"
function ksr_request_route()
  local f = _G["t_" .. KSR.pv.get("$rU")]
  KSR.sl.sl_send_reply(200, tostring(f()))
end

function t_textopsx()
  KSR.hdr.append("X-New: 1\r\n")
  KSR.textopsx.include_hf_value("Supported", "path")
  KSR.textopsx.remove_hf_value("Allow[2]")
  local before = tostring(KSR.pv.get("$hdr(X-New)"))
  KSR.textopsx.msg_apply_changes()
  local n = 0
  KSR.textopsx.hf_iterator_start("i")
  while KSR.textopsx.hf_iterator_next("i") > 0 do
    if KSR.textopsx.hf_iterator_hname("i") == "X-New" then n = n + 1 end
  end
  KSR.textopsx.hf_iterator_end("i")
  return table.concat({ before, KSR.pv.get("$hdr(X-New)"), KSR.pv.get("$hdr(Supported)"),
    KSR.pv.get("$hdr(Allow)"), n, KSR.textopsx.fnmatch("49301234", "4930*"),
    KSR.textopsx.hf_value_exists("Supported", "PATH") }, " ")
end

function t_flags()
  return table.concat({ KSR.cfgutils.rand_get_prob(), KSR.cfgutils.rand_event(),
    KSR.cfgutils.check_route_exists("t_flags"), KSR.cfgutils.check_route_exists("nope"),
    KSR.cfgutils.route_if_exists("t_inner"), KSR.pv.get("$RANDOM") >= 0 and 1 or 0 }, " ")
end
function t_inner() return 7 end

-- Leaves the lock held: the end of the message gives it back.
function t_lock()
  return KSR.cfgutils.lock("k") .. " " .. KSR.cfgutils.trylock("k")
end

-- Two processes count with a lock around; usleep between reading and writing makes losses sure.
function t_count()
  KSR.cfgutils.lock("count")
  local n = KSR.htable.sht_get("c", "n") or 0
  KSR.cfgutils.usleep(2000)
  KSR.htable.sht_seti("c", "n", n + 1)
  KSR.cfgutils.unlock("count")
  return "counted"
end

function t_ipops()
  KSR.ipops.dns_query("localhost", "d")
  KSR.ipops.detailed_ip_type("192.168.1.2", "$var(kind)")
  return table.concat({ KSR.ipops.is_ip4(KSR.pv.get("$si")), KSR.ipops.is_in_subnet(KSR.pv.get("$si"), "10.0.0.0/8,127.0.0.0/8"),
    KSR.pv.get("$var(kind)"), KSR.pv.get("$dns(d=>addr[0])"), KSR.ipops.compare_ips("[::1]", "0::1") }, " ")
end

function t_add()
  local n = KSR.pv.get("$hdr(X-N)")
  KSR.mqueue.mq_add("uniq", "same", n)
  return KSR.mqueue.mq_add("q", "key" .. n, "value" .. n)
end
function t_fetch()
  local rc = KSR.mqueue.mq_fetch("q")
  return rc .. " " .. KSR.mqueue.mqk_gete("q") .. " " .. KSR.pv.getw("$mqv(q)") .. " " .. KSR.mqueue.mq_size("q")
end

function t_regex()
  return table.concat({ KSR.regex.pcre_match("ABC", "(?i)^a(?=b)"), KSR.regex.pcre_match("x", "("),
    KSR.regex.pcre_match_group(KSR.pv.get("$ua"), 0), KSR.regex.pcre_match_group("555", 1) }, " ")
end

function t_mtree()
  local rc = KSR.mtree.mt_match("pstn", "4930123", 0)
  KSR.mtree.mt_match("pstn", "4930123", 2)
  return table.concat({ rc, KSR.pv.get("$avp(s:tvalue)"), KSR.pv.get("$(avp(s:tvalues)[*])"),
    KSR.mtree.mt_match("pstn", "33", 0) }, " ")
end

function t_tmrec()
  return table.concat({ KSR.tmrec.match("20120101T000000|P1D|daily"), KSR.tmrec.match("nonsense"),
    KSR.tmrec.match_timestamp("20120101T083000Z|PT10H|weekly|||MO,TU,WE,TH,FR", 1795435200),
    KSR.tmrec.is_leap_year(2012), KSR.tmrec.time_period_match("yr{1990}"),
    KSR.tmrec.time_period_match("yr{2020-2199}") }, " ")
end
"#;

fn start() -> (Server, std::path::PathBuf) {
    let groups = std::env::temp_dir().join(format!("olelo-groups-{}", olelo_tests::unique()));
    std::fs::write(&groups, "[0]\n^phone/1\n^other\n\n[1]\n^5+$\n").expect("the groups");
    let cfg = MODULES.replace("GROUPS", &groups.display().to_string());
    let server = Setup::lua(SCRIPT)
        .cfg(&cfg)
        .cfg("modparam(\"htable\", \"htable\", \"c=>size=4\")")
        .start();
    (server, groups)
}

const HEADERS: &str = "Supported: 100rel\r\nAllow: INVITE, BYE, ACK\r\nUser-Agent: phone/1.0\r\n";

fn run(phone: &mut Phone, test: &str, extra: &str) -> String {
    let request = phone.request("OPTIONS", &format!("sip:{test}@test.local"), extra, "");
    let reply = phone.ask(&request);
    String::from_utf8_lossy(reply.reason()).into_owned()
}

#[test]
fn scripts_use_the_smaller_modules() {
    let (server, groups) = start();
    let mut phone = Phone::udp("a", server.addr);
    for (test, want) in [
        ("textopsx", "nil 1 100rel,path INVITE, ACK 1 1 1"),
        ("lock", "1 -1"),
        ("lock", "1 -1"),
        ("ipops", "1 1 PRIVATE 127.0.0.1 1"),
        ("regex", "1 -4 1 1"),
        ("mtree", "1 berlin berlin, germany -1"),
        ("tmrec", "1 -1 1 1 -1 1"),
    ] {
        assert_eq!(
            run(&mut phone, test, HEADERS),
            want,
            "{test}\n{}",
            server.logged()
        );
    }
    server.call("cfgutils.rand_set_prob", &["100"]);
    assert_eq!(run(&mut phone, "flags", ""), "100 1 1 -1 7 1");
    assert_eq!(
        server.call("cfgutils.get_gflags", &[]),
        [Value::Str("0x5 (5)".into())]
    );

    std::fs::write(&groups, "[0]\n(\n").expect("the groups");
    let refused = server.ctl().call("regex.reload", &[]).expect_err("a fault");
    assert!(refused.contains("group 0"), "{refused}");
    assert_eq!(run(&mut phone, "regex", HEADERS), "1 -4 1 1", "as before");
    std::fs::write(&groups, "[0]\n^none\n[1]\n^5\n").expect("the groups");
    server.call("regex.reload", &[]);
    assert_eq!(run(&mut phone, "regex", HEADERS), "1 -4 -1 1");
    let _ = std::fs::remove_file(&groups);

    let found = server.call("mtree.match", &["pstn", "4930", "0"]);
    assert_eq!(
        field(&found[1], "TVALUE"),
        Some(&Value::Str("berlin".into()))
    );
    server.call("mtree.reload", &["pstn"]);
    let summary = server.call("mtree.summary", &[]);
    let item = field(&summary[0], "item").expect("an item");
    assert_eq!(field(item, "reload_count"), Some(&Value::Int(2)));
    assert_eq!(field(item, "nritems"), Some(&Value::Int(2)));
}

#[test]
fn queues_go_from_process_to_process() {
    let (server, groups) = start();
    let _ = std::fs::remove_file(groups);
    let mut phone = Phone::udp("a", server.addr);
    for n in 1..=5 {
        assert_eq!(run(&mut phone, "add", &format!("X-N: {n}\r\n")), "1");
    }
    let sizes = server.call("mqueue.get_sizes", &[]);
    let of = |v: &Value| (field(v, "name").cloned(), field(v, "size").cloned());
    let want = [("uniq", 1), ("q", 3)];
    let want = want.map(|(n, s)| (Some(Value::Str(n.into())), Some(Value::Int(s))));
    assert_eq!(sizes.iter().map(of).collect::<Vec<_>>(), want);
    assert_eq!(run(&mut phone, "fetch", ""), "1 key3 value3 2");
    let fetched = server.call("mqueue.fetch", &["q"]);
    assert_eq!(
        field(&fetched[0], "val"),
        Some(&Value::Str("value4".into()))
    );
    let newest = server.call("mqueue.fetch", &["uniq"]);
    assert_eq!(field(&newest[0], "val"), Some(&Value::Str("5".into())));
    assert_eq!(run(&mut phone, "fetch", ""), "1 key5 value5 -1");
    assert_eq!(run(&mut phone, "fetch", ""), "-2  <null> -1");
    let empty = server
        .ctl()
        .call("mqueue.fetch", &["q"])
        .expect_err("a fault");
    assert!(empty.contains("404"), "{empty}");
}

#[test]
fn locks_of_scripts_keep_processes_apart() {
    let (server, groups) = start();
    let _ = std::fs::remove_file(groups);
    const EACH: usize = 20;
    std::thread::scope(|s| {
        for name in ["a", "b", "c"] {
            let addr = server.addr;
            s.spawn(move || {
                let mut phone = Phone::udp(name, addr);
                for _ in 0..EACH {
                    assert_eq!(run(&mut phone, "count", ""), "counted");
                }
            });
        }
    });
    let got = server.call("htable.get", &["c", "n"]);
    let item = field(&got[0], "item").expect("an item");
    assert_eq!(field(item, "value"), Some(&Value::Int(3 * EACH as i64)));
}

/// The same modules in the native language: arities, evaluated and raw arguments, return codes.
const NATIVE: &str = r#"
request_route {
    if ($rU == "again") { sl_send_reply("200", "native"); exit; }
    $var(o) = "";
    if (keep_hf("^(Supported|Allow|X-.*)$$")) { $var(o) = $var(o) + "k"; }
    append_hf("X-New: 1\r\n");
    if (msg_changed_route("SEES")) { $var(o) = $var(o) + $var(seen); }
    if ($hdr(X-New) == $null) { $var(o) = $var(o) + "b"; }
    assign_hf_value("Supported[1]", "$rU");
    remove_hf_value2("Allow");
    msg_apply_changes();
    $var(o) = $var(o) + " " + $hdr(X-New) + $hdr(Supported) + $hdr(User-Agent) + $hdr(Allow) + " ";
    if (fnmatch("$rU", "N?t*", "i")) { $var(o) = $var(o) + "f"; }
    if (lock("$ci", "x") && !trylock("$ci", "x") && unlock("$ci", "x")) { $var(o) = $var(o) + "l"; }
    if (is_gflag("0") && !is_gflag("1")) { $var(o) = $var(o) + "g"; }
    route_if_exists("SEVEN");
    $var(o) = $var(o) + $rc;
    if (!check_route_exists("EIGHT") && !route_if_exists("EIGHT")) { $var(o) = $var(o) + "e"; }
    if (is_ipv4("$si") && is_ipv6_reference("[::1]")) { $var(o) = $var(o) + "i"; }
    detailed_ipv6_type("[fe80::1]", "$var(kind)");
    $var(o) = $var(o) + " " + $var(kind) + " ";
    mq_add("q", "$rU", "call of $fU");
    while (mq_fetch("q")) { $var(o) = $var(o) + $mqk(q) + "=" + $mqv(q) + ";"; }
    if (pcre_match("$rU", "^na.ive$$") && pcre_match_group("$hdr(X-Phone)") && pcre_match_group("55", "1")) { $var(o) = $var(o) + "p"; }
    if (mt_match("pstn", "$hdr(X-Number)", "0")) { $var(o) = $var(o) + $avp(s:tvalue); }
    if (tmrec_match("20120101T000000|P1D|daily") && tmrec_match("20120101T000000|PT1H", "1325376600")) { $var(o) = $var(o) + "t"; }
    if (is_leap_year("2012") && !is_leap_year("2010") && time_period_match("yr{1985}", "500000000")) { $var(o) = $var(o) + "y"; }
    sl_send_reply("200", "$var(o)");
    if (!msg_set_buffer("no message")) { xlog("L_ERR", "a broken message is false\n"); }
    xlog("L_ERR", "routing went on\n");
}
route[SEES] { $var(seen) = "s" + $hdr(X-New); }
route[SEVEN] { return(7); }
"#;

#[test]
fn native_routes_use_the_smaller_modules() {
    let groups = std::env::temp_dir().join(format!("olelo-groups-{}", olelo_tests::unique()));
    std::fs::write(&groups, "[0]\n^phone/1\n[1]\n^5+$\n").expect("the groups");
    let cfg = MODULES.replace("GROUPS", &groups.display().to_string());
    let server = Setup::native(NATIVE).cfg(&cfg).start();
    let _ = std::fs::remove_file(groups);
    let mut phone = Phone::udp("bob", server.addr);
    let extra = "Supported: 100rel\r\nAllow: INVITE, BYE\r\nUser-Agent: x\r\nX-Phone: phone/1\r\nX-Number: 49301\r\n";
    let request = phone.request("OPTIONS", "sip:native@test.local", extra, "");
    let reply = phone.ask(&request);
    let said = String::from_utf8_lossy(reply.reason()).into_owned();
    assert_eq!(
        said,
        "ks1b 1native flg7ei LINK-LOCAL-UNICAST native=call of bob;pberlinty",
        "{}",
        server.logged()
    );
    // A message that can't be read ends the route, as one from the network would.
    server.wait_for_log("the new message can't be read");
    assert_eq!(run(&mut phone, "again", ""), "native");
    assert!(!server.has_logged("routing went on"));
}
