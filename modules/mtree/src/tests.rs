//! From files to pseudo-variables, with the answers of the original (5.6.3) to the same tables.

use super::*;
use olelo_core::pv::pv_named;
use std::sync::Mutex;

/// What was set, in order: a stand-in for `$avp`.
static SET: Mutex<Vec<(String, Val<'static>)>> = Mutex::new(Vec::new());

fn avps() -> Module {
    let class = pv_named("avp", |_, _| Val::Null).set(|_, k, v| {
        let name = String::from_utf8_lossy(k.name()).into_owned();
        SET.lock().unwrap().push((name, v.into_owned()));
        Ok(())
    });
    Module::new("pv").pv(class)
}

fn set(name: &str, value: &str) -> Result<(), String> {
    let m = module();
    m.params
        .iter()
        .find(|p| p.name == name)
        .unwrap()
        .set(&ParamValue::Str(value.into()))
}

fn ask(name: &str, args: &[&str]) -> Answer {
    let m = module();
    let r = m.rpcs.iter().find(|r| r.name == name).unwrap();
    (r.run)(&Params(args.iter().map(|a| text(*a)).collect()))
}

fn matched(tree: &str, number: &str, mode: i64) -> (i64, String) {
    SET.lock().unwrap().clear();
    let rc = mt_match(&mut Ctx::new(), tree.as_bytes(), number.as_bytes(), mode).unwrap();
    let shown = |(n, v): &(String, Val<'_>)| {
        let v = v
            .as_bytes()
            .map_or("-".into(), |b| String::from_utf8_lossy(&b).into_owned());
        format!("{}={v}", n.trim_start_matches("s:"))
    };
    (
        rc,
        SET.lock()
            .unwrap()
            .iter()
            .map(shown)
            .collect::<Vec<_>>()
            .join(" "),
    )
}

// One test: parameters and trees are this process's.
#[test]
fn tables_become_trees_that_scripts_and_operators_use() {
    olelo_core::server::for_tests(vec![avps(), module()]);
    let dir = std::env::temp_dir().join(format!("olelo-mtree-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let write = |name: &str, t: &str| std::fs::write(dir.join(name), t).unwrap();
    write(
        "mtrees",
        "id(int) tname(string) tprefix(string) tvalue(string)\n1:a:12:v12\n2:a:123:v123\n3:b:99:b99\n5:a:12:dup12\n",
    );
    write(
        "mt1",
        "tprefix(string) tvalue(string)\n49:10\\:5\n491:10\\:7\n4917:20\\:1\n49:30\\:3\n49172:40\\:9\n",
    );
    write("mt2", "tprefix(string) tvalue(string)\n49:10\n491:20\n");
    write(
        "mtc",
        "tprefix(string) a(string) b(int)\n49:xa:7\n491:xb:8\n",
    );
    set("db_url", &format!("text://{}", dir.display())).unwrap();
    set("mt_allow_duplicates", "1").unwrap();
    for d in [
        "name=a;dbtable=mtrees;multi=1",
        "name=b;dbtable=mtrees;multi=1",
        "name=t1;dbtable=mt1;type=1",
        "name=t2;dbtable=mt2;type=2",
        "name=tc;dbtable=mtc;cols='tprefix,a,b'",
        "name=own",
    ] {
        set("mtree", d).unwrap();
    }
    assert!(set("mtree", "name=a").unwrap_err().contains("already"));
    assert!(
        set("mtree", "dbtable=x")
            .unwrap_err()
            .contains("names no tree")
    );
    assert!(set("mtree", "name=x;cols='a'").is_err() && set("mtree", "name=x;type=3").is_err());
    assert!(set("item", "name=own").unwrap_err().contains("is no item"));
    set("item", "name=own;prefix=7;value=seven").unwrap();
    init().unwrap();

    for (tree, number, mode, rc, want) in [
        ("a", "1234567", 0, 1, "tvalue=v123"),
        ("a", "125", 0, 1, "tvalue=dup12"),
        ("a", "99", 0, -1, ""),
        ("a", "12x4", 0, -1, ""),
        ("a", "", 0, -1, ""),
        // On top at last: the longest prefix.
        (
            "a",
            "1234567",
            2,
            1,
            "tvalues=- tvalues=v12 tvalues=dup12 tvalues=v123",
        ),
        ("b", "999", 1, 1, "tvalue=b99"),
        ("nope", "1", 0, -1, ""),
        ("t2", "4915", 0, 1, "tvalue=20"),
        ("t2", "4915", 2, 1, "tvalues=- tvalues=10 tvalues=20"),
        ("tc", "4915", 0, 1, "tvalue=xb,8"),
        (
            "t1",
            "491",
            0,
            1,
            "tdstid=- tdstid=10 tdstid=30 tweight=- tweight=7 tweight=3 tcount=2",
        ),
        (
            "t1",
            "4917255",
            2,
            1,
            "tdstid=- tdstid=40 tdstid=10 tdstid=30 tdstid=20 tweight=- tweight=9 tweight=7 tweight=3 tweight=1 tcount=4",
        ),
        ("own", "777", 0, 1, "tvalue=seven"),
    ] {
        assert_eq!(
            matched(tree, number, mode),
            (rc, want.into()),
            "{tree} {number} {mode}"
        );
    }

    let entry = |t, p, v: &[&str]| {
        let values = v.iter().map(|v| text(*v)).collect();
        fields([
            ("tname", text(t)),
            ("tprefix", text(p)),
            ("tvalue", nameless(values)),
        ])
    };
    assert_eq!(
        ask("mtree.list", &["a"]),
        Ok(vec![
            entry("a", "12", &["dup12", "v12"]),
            entry("a", "123", &["v123"])
        ])
    );
    assert_eq!(ask("mtree.list", &["zz"]), Ok(vec![]));
    assert_eq!(ask("mtree.list", &[]).unwrap().len(), 12);
    assert_eq!(ask("mtree.summary", &[]).unwrap().len(), 6);
    let summary = format!("{:?}", ask("mtree.summary", &["a"]).unwrap());
    for part in [
        "\"nrnodes\", Int(3)",
        "\"nritems\", Int(3)",
        "\"reload_count\", Int(1)",
    ] {
        assert!(summary.contains(part), "{part} in {summary}");
    }
    let hit = |p, v| fields([("PREFIX", text(p)), ("TVALUE", text(v))]);
    assert_eq!(
        ask("mtree.match", &["a", "1234", "0"]),
        Ok(vec![text("a"), hit("123", "v123")])
    );
    assert_eq!(
        ask("mtree.match", &["a", "12", "0"]),
        Ok(vec![text("a"), hit("12", "dup12")])
    );
    assert_eq!(
        ask("mtree.match", &["a", "1234", "2"]),
        Ok(vec![
            text("a"),
            hit("12", "dup12"),
            hit("12", "v12"),
            hit("123", "v123")
        ])
    );
    assert_eq!(ask("mtree.match", &["a", "5", "0"]).unwrap_err().code, 404);
    assert_eq!(ask("mtree.match", &["zz", "5", "0"]).unwrap_err().code, 404);

    // A reload takes what is new, and nothing of what is broken.
    write("mt2", "tprefix(string) tvalue(string)\n49:11\n");
    let ok = Ok(vec![text("Ok. Mtree reloaded.")]);
    assert_eq!(ask("mtree.reload", &["t2"]), ok);
    assert_eq!(matched("t2", "4915", 0), (1, "tvalue=11".into()));
    write("mt2", "tprefix(string) tvalue(string)\n49:x\n");
    assert!(
        ask("mtree.reload", &[])
            .unwrap_err()
            .message
            .contains("\"x\"")
    );
    assert_eq!(matched("t2", "4915", 0), (1, "tvalue=11".into()));
    assert_eq!(
        ask("mtree.reload", &["zz"]).unwrap_err().message,
        "Can not find specified Mtree"
    );
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(ask("mtree.reload", &[]).unwrap_err().code, 500);
    set("db_url", "mysql://x").unwrap();
    assert_eq!(
        ask("mtree.reload", &["own"]),
        ok,
        "without tables only items are loaded"
    );
}
