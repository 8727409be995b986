//! What the original answers to the same calls on the same message (5.6.3), blanks aside.

use super::*;
use crate::tests::{ctx_of, sent};
use olelo_core::route::value::Val;

const LINES: [&str; 6] = [
    "foo: one;p=1, two;bar=2;q",
    "Foo: three",
    "X-Single: \"a,b\" <sip:q@w>;z=1",
    "Supported: path,100rel",
    "Supported: timer",
    "Authorization: Digest username=\"a\", realm=\"r,r\", opaque=x",
];

/// Calls a function and gives its code and the lines that went and came.
fn after(name: &str, args: &[&str]) -> (Val<'static>, Vec<String>, Vec<String>) {
    let text = format!("INVITE sip:a@h SIP/2.0\r\n{}\r\n\r\n", LINES.join("\r\n"));
    let mut c = ctx_of(&text);
    let f = functions()
        .into_iter()
        .find(|f| f.name == name || f.cfg.contains(&name))
        .unwrap();
    let args: Vec<Val<'_>> = args.iter().map(|a| Val::text(a)).collect();
    let rc = f.call(&mut c, &args).unwrap();
    let out = sent(&c);
    let lines = |t: &str| -> Vec<String> { t.lines().skip(1).map(str::to_string).collect() };
    let (before, after) = (lines(&text), lines(&out));
    let gone = before
        .iter()
        .filter(|l| !after.contains(l))
        .cloned()
        .collect();
    let come = after
        .iter()
        .filter(|l| !before.contains(l))
        .cloned()
        .collect();
    (rc, gone, come)
}

#[test]
fn values_are_added_where_the_original_adds_them() {
    for (f, place, come) in [
        ("append_hf_value", "foo", "foo: gogo"),
        (
            "append_hf_value",
            "foo[1]",
            "foo: one;p=1,gogo, two;bar=2;q",
        ),
        (
            "append_hf_value",
            "foo[2]",
            "foo: one;p=1, two;bar=2;q,gogo",
        ),
        ("append_hf_value", "foo[-1]", "Foo: three,gogo"),
        ("append_hf_value", "foo[9]", "foo: gogo"),
        ("append_hf_value", "nope[1]", "nope: gogo"),
        ("insert_hf_value", "foo", "foo: gogo"),
        (
            "insert_hf_value",
            "foo[1]",
            "foo: gogo,one;p=1, two;bar=2;q",
        ),
        (
            "insert_hf_value",
            "foo[2]",
            "foo: one;p=1, gogo,two;bar=2;q",
        ),
        ("insert_hf_value", "foo[3]", "Foo: gogo,three"),
        ("insert_hf_value", "foo[-1]", "Foo: gogo,three"),
        ("insert_hf_value", "nope", "nope: gogo"),
        ("insert_hf_value", "nope[1]", "nope: gogo"),
    ] {
        let (rc, _, came) = after(f, &[place, "gogo"]);
        assert_eq!(
            (rc, came.join("|")),
            (Val::Int(1), come.into()),
            "{f} {place}"
        );
    }
    assert_eq!(after("insert_hf_value", &["foo[9]", "x"]).0, Val::Int(-1));
}

#[test]
fn values_and_parameters_are_removed() {
    let auth = LINES[5];
    for (f, place, rc, gone, come) in [
        ("remove_hf_value", "foo", 1, LINES[0], "foo: two;bar=2;q"),
        (
            "remove_hf_value",
            "foo[*]",
            1,
            "foo: one;p=1, two;bar=2;q|Foo: three",
            "",
        ),
        ("remove_hf_value", "foo[-1]", 1, "Foo: three", ""),
        ("remove_hf_value", "foo[2]", 1, LINES[0], "foo: one;p=1"),
        ("remove_hf_value", "foo[3]", 1, "Foo: three", ""),
        (
            "remove_hf_value",
            "foo.p",
            1,
            LINES[0],
            "foo: one, two;bar=2;q",
        ),
        (
            "remove_hf_value",
            "foo[*].bar",
            1,
            LINES[0],
            "foo: one;p=1, two;q",
        ),
        (
            "remove_hf_value",
            "foo[2].q",
            1,
            LINES[0],
            "foo: one;p=1, two;bar=2",
        ),
        (
            "remove_hf_value",
            "X-Single.z",
            1,
            LINES[2],
            "X-Single: \"a,b\" <sip:q@w>",
        ),
        ("remove_hf_value", "X_Single", -1, "", ""),
        ("remove_hf_value", "nope", -1, "", ""),
        ("remove_hf_value", "foo[1].zz", -1, "", ""),
        ("remove_hf_value", "foo[9]", -1, "", ""),
        ("remove_hf_value2_native", "Authorization", 1, auth, ""),
        (
            "remove_hf_value2_native",
            "Authorization.realm",
            1,
            auth,
            "Authorization: Digest username=\"a\", opaque=x",
        ),
        (
            "remove_hf_value2_native",
            "Authorization.username",
            1,
            auth,
            "Authorization: Digest realm=\"r,r\", opaque=x",
        ),
        (
            "remove_hf_value2_native",
            "Authorization.opaque",
            1,
            auth,
            "Authorization: Digest username=\"a\", realm=\"r,r\"",
        ),
        ("remove_hf_value2_native", "foo[2]", 1, "Foo: three", ""),
        (
            "remove_hf_value2_native",
            "foo[*]",
            1,
            "foo: one;p=1, two;bar=2;q|Foo: three",
            "",
        ),
        (
            "exclude_hf_value",
            "Supported=100rel",
            1,
            LINES[3],
            "Supported: path",
        ),
        (
            "exclude_hf_value",
            "Supported=PATH",
            1,
            LINES[3],
            "Supported: 100rel",
        ),
        ("exclude_hf_value", "Supported=timer", 1, LINES[4], ""),
        ("exclude_hf_value", "Supported=nope", 1, "", ""),
    ] {
        let args: Vec<&str> = place.split('=').collect();
        let (code, went, came) = after(f, &args);
        assert_eq!(
            (code, went.join("|"), came.join("|")),
            (Val::Int(rc), gone.into(), come.into()),
            "{f} {place}"
        );
    }
    assert_eq!(
        after("remove_hf_value2", &["foo[1]", ""]).0,
        Val::Int(1),
        "KEMI has two arguments"
    );
}

#[test]
fn values_and_parameters_are_set() {
    for (f, place, value, rc, come) in [
        (
            "assign_hf_value",
            "foo",
            "gogo",
            1,
            "foo: gogo, two;bar=2;q",
        ),
        ("assign_hf_value", "foo[-1]", "gogo", 1, "Foo: gogo"),
        (
            "assign_hf_value",
            "foo.bar",
            "",
            1,
            "foo: one;p=1;bar, two;bar=2;q",
        ),
        (
            "assign_hf_value",
            "foo.bar",
            "5",
            1,
            "foo: one;p=1;bar=5, two;bar=2;q",
        ),
        (
            "assign_hf_value",
            "foo[2].bar",
            "",
            1,
            "foo: one;p=1, two;bar;q",
        ),
        (
            "assign_hf_value",
            "foo[2].bar",
            "9",
            1,
            "foo: one;p=1, two;bar=9;q",
        ),
        (
            "assign_hf_value",
            "foo[2].q",
            "9",
            1,
            "foo: one;p=1, two;bar=2;q=9",
        ),
        ("assign_hf_value", "foo[3].bar", "", 1, "Foo: three;bar"),
        (
            "assign_hf_value",
            "foo[*].bar",
            "7",
            1,
            "foo: one;p=1;bar=7, two;bar=7;q|Foo: three;bar=7",
        ),
        ("assign_hf_value", "nope", "v", -1, ""),
        ("assign_hf_value", "nope.p", "v", -1, ""),
        ("assign_hf_value", "foo[9]", "v", -1, ""),
        (
            "assign_hf_value2",
            "Authorization.integrity-protected",
            "\"yes\"",
            1,
            "Authorization: Digest username=\"a\", realm=\"r,r\", opaque=x,integrity-protected=\"yes\"",
        ),
        (
            "assign_hf_value2",
            "Authorization.realm",
            "\"zz\"",
            1,
            "Authorization: Digest username=\"a\", realm=\"zz\", opaque=x",
        ),
        ("assign_hf_value2", "foo[-1]", "gogo", 1, "Foo: gogo"),
        (
            "assign_hf_value2",
            "Authorization",
            "Digest x",
            1,
            "Authorization: Digest x",
        ),
        ("assign_hf_value2", "nope", "x", -1, ""),
        ("include_hf_value", "Supported", "path", 1, ""),
        ("include_hf_value", "Supported", "PATH", 1, ""),
        ("include_hf_value", "Supported", "timer", 1, ""),
        (
            "include_hf_value",
            "Supported",
            "new",
            1,
            "Supported: path,100rel,new",
        ),
        ("include_hf_value", "Nope", "new", 1, "Nope: new"),
        ("hf_value_exists", "Supported", "TIMER", 1, ""),
        ("hf_value_exists", "Supported", "no", -1, ""),
        ("hf_value_exists", "foo", "two", -1, ""),
        ("hf_value_exists", "foo", "two;bar=2;q", 1, ""),
    ] {
        let (code, _, came) = after(f, &[place, value]);
        assert_eq!(
            (code, came.join("|")),
            (Val::Int(rc), come.into()),
            "{f} {place} {value}"
        );
    }
}

#[test]
fn several_removals_leave_no_separator_behind() {
    for (order, left) in [
        (&["a", "b"][..], "Supported: c"),
        (&["b", "c"], "Supported: a"),
        (&["c", "b"], "Supported: a"),
        (&["a", "c"], "Supported: b"),
        (&["a", "b", "c"], ""),
        (&["c", "a", "b"], ""),
    ] {
        let mut c = ctx_of("INFO sip:a SIP/2.0\r\nSupported: a, b, c\r\n\r\n");
        for v in order {
            exclude(&mut c, b"Supported", v.as_bytes());
        }
        let out = sent(&c);
        assert_eq!(out.lines().nth(1).unwrap_or(""), left, "{order:?}");
    }
}

#[test]
fn what_is_removed_is_no_longer_changed() {
    let text = "INFO sip:a SIP/2.0\r\nX: a;p=1, b\r\nY: c\r\n\r\n";
    type Change = fn(&mut Ctx) -> Done;
    let changes: &[(Change, Change, i64, &str)] = &[
        (
            |c| remove(c, "Y", FIELD_VALUES),
            |c| assign(c, "Y", b"v", FIELD_VALUES),
            -1,
            "X: a;p=1, b",
        ),
        (
            |c| remove(c, "Y", FIELD_VALUES),
            |c| append(c, "Y[1]", b"v"),
            1,
            "X: a;p=1, b|Y: v",
        ),
        (
            |c| remove(c, "Y", FIELD_VALUES),
            |c| Ok(include(c, b"Y", b"c")),
            1,
            "X: a;p=1, b|Y: c",
        ),
        (
            |c| remove(c, "X[2]", FIELD_VALUES),
            |c| Ok(include(c, b"X", b"v")),
            1,
            "X: a;p=1,v|Y: c",
        ),
        (
            |c| remove(c, "X[1]", FIELD_VALUES),
            |c| assign(c, "X[1].p", b"v", FIELD_VALUES),
            -1,
            "X: b|Y: c",
        ),
        (
            |c| remove(c, "X.p", FIELD_VALUES),
            |c| assign(c, "X.p", b"v", FIELD_VALUES),
            1,
            "X: a;p=v, b|Y: c",
        ),
        (
            |c| assign(c, "Y", b"u", FIELD_VALUES),
            |c| assign(c, "Y", b"v", FIELD_VALUES),
            1,
            "X: a;p=1, b|Y: v",
        ),
    ];
    for (n, (first, second, rc, want)) in changes.iter().enumerate() {
        let mut c = ctx_of(text);
        assert_eq!(first(&mut c), Ok(1), "row {n}");
        assert_eq!(second(&mut c), Ok(*rc), "row {n}");
        let out = sent(&c);
        let lines: Vec<&str> = out.lines().skip(1).filter(|l| !l.is_empty()).collect();
        assert_eq!(lines.join("|"), *want, "row {n}");
    }
}

#[test]
fn places_are_read_or_refused() {
    for (text, header, which, param) in [
        ("foo", "foo", Which::Unsaid, None),
        (" foo [ 2 ] . bar ", "foo", Which::At(2), Some("bar")),
        ("foo[*].p", "foo", Which::All, Some("p")),
        ("foo.p", "foo", Which::Unsaid, Some("p")),
    ] {
        let t = Target::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(
            (t.header, t.which, t.param),
            (header.as_bytes(), which, param.map(str::as_bytes)),
            "{text}"
        );
    }
    for bad in [
        "", "[1]", "foo[", "foo[0]", "foo[x]", "foo]", "foo[1]x", "foo.",
    ] {
        assert!(Target::parse(bad).is_err(), "{bad}");
    }
    assert!(Target::parse_no_param("foo.p").is_err());
}

proptest::proptest! {
    /// Whatever stands in a header and whatever is done to it, the message can be read afterwards.
    #[test]
    fn any_header_survives_any_change(
        bodies in proptest::collection::vec("[ab,;=<>\" \\\\]{0,16}", 1..4),
        changes in proptest::collection::vec((0usize..10, "(X|X\\[(-?[1-3]|\\*)\\])(\\.[ab])?", "[ab]{0,2}"), 1..5),
    ) {
        let lines: String = bodies.iter().map(|b| format!("X: {b}\r\n")).collect();
        let mut c = ctx_of(&format!("INFO sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n{lines}\r\n"));
        for (f, place, value) in &changes {
            let all = functions();
            let f = &all[*f % all.len()];
            let args = [Val::text(place), Val::text(value)];
            // Some places are refused.
            let _ = f.call(&mut c, &args[..f.params.len()]);
            let out = sent(&c);
            let read = olelo_sip::Message::from_bytes(out.as_bytes());
            proptest::prop_assert!(read.is_ok_and(|m| m.body().is_empty()), "{:?}", out);
            // As msg_apply_changes() does.
            c = ctx_of(&out);
        }
    }

    #[test]
    fn exclusion_leaves_none_and_inclusion_one(values in proptest::collection::vec("[abc]", 0..6), split in 0usize..6) {
        let (one, other) = values.split_at(split.min(values.len()));
        let line = |v: &[String]| if v.is_empty() { String::new() } else { format!("Supported: {}\r\n", v.join(", ")) };
        let text = format!("INFO sip:a SIP/2.0\r\n{}{}\r\n", line(one), line(other));
        let mut c = ctx_of(&text);
        exclude(&mut c, b"Supported", b"a");
        let after = ctx_of(&sent(&c));
        proptest::prop_assert!(!exists(&after, b"Supported", b"a"));
        for v in ["b", "c"] {
            let was = values.iter().any(|x| x == v);
            proptest::prop_assert_eq!(exists(&after, b"Supported", v.as_bytes()), was);
        }
        let mut c = after;
        include(&mut c, b"Supported", b"a");
        let after = ctx_of(&sent(&c));
        proptest::prop_assert_eq!(equal(&after, b"Supported", b"a").len(), 1);
    }
}
