//! Values across the border, both ways.

use super::*;

#[test]
fn values_come_back_as_they_went() {
    let s = Script::new(
        "function same(v) { return KSR.test.same(v) }
         function f() {
           if(same(5) != 5 || type(same(5)) != \"integer\") return 1;
           if(same(-9223372036854775807) != -9223372036854775807) return 2;
           if(same(\"a\") != \"a\") return 3;
           if(same(\"a\\x00b\").len() != 3) return 4;
           if(same(\"\\xff\\xfe\") != \"\\xff\\xfe\") return 5;
           if(same(null) != null) return 6;
           if(KSR.test.upper(\"abc\") != \"ABC\") return 7;
           if(KSR.test.six(1, 2, 3, 4, 5, 6) != 21) return 8;
           if(KSR.test.add(2.9, \"40\") != 42) return 9;
           return 0;
         }",
    );
    assert_eq!(s.call("f"), Outcome::Return(0));
}

#[test]
fn arrays_and_tables_come_from_functions() {
    let s = Script::new(
        "function f() {
           local a = KSR.test.list();
           if(a.len() != 4 || a[0] != 1 || a[1] != \"two\" || a[2][0] != true || a[3] != null) return 1;
           local t = KSR.test.dict();
           if(t.len() != 2 || t.one != 1 || t.list[1] != \"two\") return 2;
           return 0;
         }",
    );
    assert_eq!(s.call("f"), Outcome::Return(0));
}

#[test]
fn what_routes_return() {
    let s = Script::new(
        "function i() { return 7 } function t() { return true } function f() { return false }
         function n() {} function s() { return \"x\" } function x() { return 2.7 }",
    );
    for (f, want) in [("i", 7), ("t", 1), ("f", -1), ("n", 1), ("s", 1), ("x", 2)] {
        assert_eq!(s.call(f), Outcome::Return(want), "{f}");
    }
}

#[test]
fn arguments_beyond_the_parameters_are_left_out() {
    let s = Script::new(
        "function none() { return 1 } function one(a) { return a.len() } function any(...) { return vargv.len() }",
    );
    let call = |f: &str, args: &[&str]| s.machine.call(f, args, &mut Ctx::new());
    assert_eq!(call("none", &["x", "y"]), Outcome::Return(1));
    assert_eq!(call("one", &["xyz", "y"]), Outcome::Return(3));
    assert_eq!(call("any", &["x", "y"]), Outcome::Return(2));
    assert!(matches!(call("one", &[]), Outcome::Failed(_)));
}

#[test]
fn globals_live_as_long_as_the_machine() {
    let text = "n <- 0; function f() { return ++n }";
    let s = Script::new(text);
    assert_eq!(s.call("f"), Outcome::Return(1));
    assert_eq!(s.call("f"), Outcome::Return(2));
    drop(s);
    assert_eq!(Script::new(text).call("f"), Outcome::Return(1));
}

#[test]
fn the_libraries_are_there() {
    let s = Script::new(
        "function f() {
           print(\"hello\\n\");
           if(split(\"a,b\", \",\").len() != 2 || strip(\" x \") != \"x\") return 1;
           if(format(\"%05d|%s\", 42, \"x\") != \"00042|x\") return 2;
           if(abs(-3) != 3 || sqrt(16.0) != 4) return 3;
           if(blob(4).len() != 4) return 4;
           if(!(\"a1\".len() == 2 && regexp(\"[a-z][0-9]\").match(\"a1\"))) return 5;
           if(time() < 1 || date().year < 2020) return 6;
           local a = [3, 1, 2]; a.sort(function(x, y) { return x <=> y });
           if(a[0] != 1 || a[2] != 3) return 7;
           return 0;
         }",
    );
    assert_eq!(s.call("f"), Outcome::Return(0));
}

/// Nanoseconds of CPU of a call of an export, printed: `--ignored --no-capture`.
#[test]
#[ignore = "a measurement"]
fn how_long_a_call_takes() {
    let s = Script::new(
        "function empty() {}
         function loop() { for(local i = 0; i < 1000000; i++) {} return 1 }
         function calls() { local f = KSR.test; for(local i = 0; i < 1000000; i++) f.add(i, 1); return 1 }
         function texts() { local f = KSR.test; for(local i = 0; i < 1000000; i++) f.upper(\"abcdef\"); return 1 }",
    );
    let cpu = || {
        let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
        let t = nix::time::clock_gettime(clock).expect("a clock");
        t.tv_sec() * 1_000_000_000 + t.tv_nsec()
    };
    for f in ["loop", "calls", "texts"] {
        let t = cpu();
        assert_eq!(s.call(f), Outcome::Return(1));
        println!("{f}: {} ns", (cpu() - t) / 1_000_000);
    }
    let mut ctx = Ctx::new();
    let t = cpu();
    for _ in 0..1_000_000 {
        s.machine.call("empty", &[], &mut ctx);
    }
    println!("empty route: {} ns", (cpu() - t) / 1_000_000);
}
