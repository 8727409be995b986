//! What operators are told of a script that fails.

use super::*;

fn load_error(text: &str) -> String {
    match Script::load(text.as_bytes(), PLENTY) {
        (_, Outcome::Failed(e)) => e,
        (_, other) => panic!("{text}: {other:?}"),
    }
}

#[test]
fn compile_errors_say_where() {
    let e = load_error("function f() {\n  local x = ;\n}");
    assert!(e.starts_with("t.nut:2:"), "{e}");
    assert!(e.contains("expression expected"), "{e}");
    let e = load_error("function f( {");
    assert!(e.starts_with("t.nut:1:"), "{e}");
}

#[test]
fn errors_have_a_traceback() {
    let s = Script::new(
        "function inner(x) {\n  return x.nothing\n}\nfunction outer() {\n  inner({})\n}\nfunction f() { outer() }",
    );
    assert_eq!(
        s.failed("f"),
        "t.nut:2: the index 'nothing' does not exist\nstack traceback:\
         \n\tt.nut:2: in function 'inner'\n\tt.nut:5: in function 'outer'\n\tt.nut:7: in function 'f'"
    );
}

#[test]
fn errors_in_callbacks_have_their_own_line() {
    let s = Script::new("function f() {\n  [1].map(function(x) {\n    return x.nothing\n  })\n}");
    let e = s.failed("f");
    assert!(e.starts_with("t.nut:3: the index 'nothing'"), "{e}");
    assert!(e.contains("[native]: in function 'map'"), "{e}");
}

#[test]
fn an_error_that_was_caught_leaves_no_trace() {
    let s = Script::new(
        "function f() {\n  try { [1].map(function(x) { throw \"first\" }) } catch(e) {}\n  throw \"second\"\n}\n\
         function g() { try { throw \"x\" } catch(e) { throw e } }",
    );
    assert!(s.failed("f").starts_with("t.nut:3: second"));
    assert!(s.failed("g").starts_with("t.nut:5: x"));
}

#[test]
fn anything_can_be_thrown() {
    let s = Script::new(
        "function i() { throw 42 } function t() { throw { a = 1 } } function n() { throw null } function x() { throw 1.5 }",
    );
    assert!(s.failed("i").starts_with("t.nut:1: 42"));
    assert!(s.failed("t").starts_with("t.nut:1: a table was thrown"));
    assert!(s.failed("n").starts_with("t.nut:1: a null was thrown"));
    assert!(s.failed("x").starts_with("t.nut:1: 1.5"));
}

#[test]
fn wrong_calls_name_the_signature() {
    let s = Script::new(
        "function few() { KSR.test.add(1) }
         function many() { KSR.test.add(1, 2, 3) }
         function seven() { KSR.test.six(1, 2, 3, 4, 5, 6, 7) }
         function kind() { KSR.test.add(\"x\", 1) }
         function func() { KSR.test.add(1, few) }
         function list() { KSR.test.same([1]) }
         function panics() { KSR.test.panics() }
         function unknown() { KSR.test.nothing() }
         function caught() { try { KSR.test.add(1) } catch(e) { return e.find(\"KSR.test.add(\") == null ? -5 : 5 } }",
    );
    for (f, want) in [
        ("few", "1 argument to KSR.test.add("),
        ("many", "3 arguments to KSR.test.add("),
        ("seven", "7 arguments to KSR.test.six("),
        ("kind", "KSR.test.add("),
        (
            "func",
            "argument 2: a function can't be given to KSR.test.add(",
        ),
        (
            "list",
            "argument 1: a array can't be given to KSR.test.same(",
        ),
        ("panics", "KSR.test.panics failed inside"),
        ("unknown", "the index 'nothing' does not exist"),
    ] {
        let e = s.failed(f);
        assert!(e.contains(want) && e.starts_with("t.nut:"), "{f}: {e}");
    }
    assert_eq!(s.call("caught"), Outcome::Return(5));
}

#[test]
fn arithmetic_never_ends_the_process() {
    let s = Script::new(
        "least <- 1 << 63;
         function a() { return least / -1 }
         function b() { return least % -1 }
         function c() { return 1 / 0 }
         function d() { return 1 % 0 }
         function e() { local x = least; x /= -1; return x }
         function g() { return format(\"%.50f %99d %s\", 1e308, 1, \"x\").len() }
         function h() { return regexp(\"\").match(\"\") ? 1 : 2 }",
    );
    assert_eq!(s.call("b"), Outcome::Return(0));
    for f in ["a", "c", "d", "e"] {
        assert!(s.failed(f).starts_with("t.nut:"), "{f}");
    }
    assert!(matches!(s.call("g"), Outcome::Return(n) if n > 400));
    assert!(s.failed("h").contains("letter expected"));
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{", "}"),
        ("-", ""),
        ("if(1)", ";"),
    ] {
        let text = format!(
            "local x = 1\n{}1{}",
            open.repeat(100_000),
            close.repeat(100_000)
        );
        let e = load_error(&text);
        assert!(e.starts_with("t.nut:2:"), "{open}: {e}");
    }
}

#[test]
fn a_route_that_is_missing_is_told() {
    let s = Script::new("number <- 5; function f() {}");
    assert_eq!(s.call("g"), Outcome::Missing);
    assert_eq!(s.call("number"), Outcome::Missing);
    assert!(s.machine.has("f") && !s.machine.has("number") && !s.machine.has("g"));
}

#[test]
fn imports_are_read_by_the_server() {
    let s = Script::new(
        "function f() { return dofile(\"good.nut\", true) + imported }
         function g() { return loadfile(\"good.nut\")() }
         function bad() { dofile(\"bad.nut\") }
         function none() { dofile(\"none.nut\") }
         function caught() { try { dofile(\"bad.nut\") } catch(e) { return e.find(\"bad.nut:1:\") == 0 ? 3 : 4 } }",
    );
    assert_eq!(s.call("f"), Outcome::Return(15));
    assert_eq!(s.call("g"), Outcome::Return(8));
    assert!(
        s.failed("bad").contains("bad.nut:1:"),
        "{}",
        s.failed("bad")
    );
    assert!(s.failed("none").contains("can't read none.nut"));
    assert_eq!(s.call("caught"), Outcome::Return(3));
}
