//! What scripts and operators see.

use super::*;
use olelo_core::rpc::{Params, Value};

fn ready() -> Ctx {
    olelo_core::server::for_tests(vec![module()]);
    WORDS.get_or_init(|| Words::create("cfgutils", 2).unwrap());
    Ctx::new()
}

fn call(c: &mut Ctx, name: &str, args: &[Val<'_>]) -> i64 {
    let m = module();
    let f = m.functions.iter().find(|f| f.name == name).unwrap();
    f.call(c, args).unwrap().as_int().unwrap()
}

fn rpc(name: &str, args: &[&str]) -> olelo_core::rpc::Answer {
    let m = module();
    let r = m.rpcs.iter().find(|r| r.name == name).unwrap();
    (r.run)(&Params(
        args.iter().map(|a| Value::Str(a.to_string())).collect(),
    ))
}

fn said(s: &str) -> olelo_core::rpc::Answer {
    Ok(vec![Value::Str(s.into())])
}

// One test for both: the words are this process's.
#[test]
fn probability_and_flags_are_shared_words() {
    let mut c = ready();
    reset_probability();
    assert_eq!(call(&mut c, "rand_get_prob", &[]), 10);
    assert_eq!(call(&mut c, "rand_set_prob", &[Val::Int(101)]), -1);
    assert_eq!(call(&mut c, "rand_set_prob", &[Val::text("0")]), 1);
    assert!((0..200).all(|_| call(&mut c, "rand_event", &[]) == -1));
    assert_eq!(rpc("cfgutils.rand_set_prob", &["100"]), Ok(vec![]));
    assert!((0..200).all(|_| call(&mut c, "rand_event", &[]) == 1));
    assert_eq!(
        rpc("cfgutils.rand_get_prob", &[]),
        said("actual probability: 100 percent")
    );
    assert_eq!(
        rpc("cfgutils.rand_set_prob", &["200"]).unwrap_err().code,
        500
    );
    assert_eq!(call(&mut c, "rand_reset_prob", &[]), 1);
    assert_eq!(probability(), 10);

    for (flag, rc) in [(4, 1), (0, 1), (31, 1), (32, -1), (-1, -1)] {
        assert_eq!(call(&mut c, "set_gflag", &[Val::Int(flag)]), rc, "{flag}");
        assert_eq!(call(&mut c, "is_gflag", &[Val::Int(flag)]), rc, "{flag}");
    }
    assert_eq!(call(&mut c, "reset_gflag", &[Val::Int(31)]), 1);
    assert_eq!(rpc("cfgutils.get_gflags", &[]), said("0x11 (17)"));
    assert_eq!(rpc("cfgutils.set_gflag", &["0x400"]), Ok(vec![]));
    assert_eq!(rpc("cfgutils.is_gflag", &["1024"]), said("TRUE"));
    assert_eq!(rpc("cfgutils.is_gflag", &["3072"]), said("FALSE"));
    assert_eq!(rpc("cfgutils.reset_gflag", &["1024"]), Ok(vec![]));
    assert_eq!(rpc("cfgutils.is_gflag", &["1024"]), said("FALSE"));
    assert!(rpc("cfgutils.set_gflag", &["x"]).is_err() && rpc("cfgutils.set_gflag", &[]).is_err());
}

#[test]
fn a_changed_file_is_seen() {
    ready();
    assert_eq!(rpc("cfgutils.get_config_hash", &[]).unwrap_err().code, 404);
    assert!(rpc::remember_hash(Some("/nowhere/to/be/found")).is_err());
    let file = std::env::temp_dir().join(format!("olelo-cfgutils-{}", std::process::id()));
    std::fs::write(&file, "hello\n").unwrap();
    rpc::remember_hash(Some(Box::leak(file.display().to_string().into_boxed_str()))).unwrap();
    assert_eq!(
        rpc("cfgutils.get_config_hash", &[]),
        said("b1946ac92492d2347c6235b4d2611184")
    );
    assert_eq!(
        rpc("cfgutils.check_config_hash", &[]),
        said("Identical hash")
    );
    std::fs::write(&file, "hello2\n").unwrap();
    assert_eq!(
        rpc("cfgutils.check_config_hash", &[]),
        said("Different hash")
    );
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        rpc("cfgutils.check_config_hash", &[]).unwrap_err().code,
        500
    );
}

#[test]
fn hashes_are_in_their_range_and_even() {
    for (size, most) in [(0, 1), (1, 2), (4, 16), (10, 1024), (-3, 1)] {
        for i in 0..200 {
            let h = core_hash(format!("call{i}").as_bytes(), b"", size);
            assert!((1..=most).contains(&h), "{size}: {h}");
        }
    }
    let mut counts = [0; 16];
    for i in 0..1600 {
        counts[core_hash(format!("call{i}@host").as_bytes(), b"", 4) as usize - 1] += 1;
    }
    assert!(counts.iter().all(|c| (50..200).contains(c)), "{counts:?}");
    assert_eq!(core_hash(b"ab", b"c", 8), core_hash(b"abc", b"", 8));
}

#[test]
fn the_rest_answers() {
    let mut c = ready();
    for name in ["pkg_status", "pkg_summary", "shm_status", "shm_summary"] {
        assert_eq!(call(&mut c, name, &[]), 1, "{name}");
    }
    assert_eq!(call(&mut c, "abort", &[]), -1);
    assert_eq!(call(&mut c, "usleep", &[Val::Int(10)]), 1);
    assert_eq!(call(&mut c, "sleep", &[Val::Int(-5)]), 1);
    assert_eq!(call(&mut c, "check_route_exists", &[Val::text("X")]), -1);
    assert_eq!(call(&mut c, "route_if_exists", &[Val::text("X")]), -1);
    let n = c.pv("$RANDOM").as_int().unwrap();
    assert!((0..1 << 31).contains(&n));
}
