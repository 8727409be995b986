//! No input makes the parser panic, hang, or print something it reads differently.

use olelo_cfg::{
    Diagnostic, Env, MemoryFiles, Options, Parsed, SubstKind, parse_file, parse_str, print,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const SAMPLE: &str = include_str!("sample.cfg");

fn memory(files: &[(&str, &str)]) -> Options {
    let files: MemoryFiles = files
        .iter()
        .map(|(p, t)| ((*p).into(), t.as_bytes().to_vec()))
        .collect();
    Options {
        files: Arc::new(files),
        env: Env::Map(BTreeMap::new()),
        ..Options::default()
    }
}

fn parse(text: &str) -> Parsed {
    parse_str("t.cfg", text, &memory(&[]))
}

/// Renders everything, and checks that what has no fault survives printing.
fn probe(text: &str) {
    let parsed = parse(text);
    let _ = (parsed.render(true), parsed.to_json());
    if !parsed.diagnostics.is_empty() {
        return;
    }
    let printed = print::config(&parsed.config);
    let again = parse(&printed);
    assert!(
        again.diagnostics.is_empty(),
        "{printed}\n{}",
        again.render(false)
    );
    assert_eq!(print::config(&again.config), printed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let files: MemoryFiles = [("x.cfg".into(), bytes)].into_iter().collect();
        let parsed = parse_file("x.cfg", &Options { files: Arc::new(files), ..memory(&[]) });
        let _ = parsed.render(false);
    }

    #[test]
    fn random_tokens(words in proptest::collection::vec(prop_oneof![
        Just("route"), Just("["), Just("]"), Just("{"), Just("}"), Just("("), Just(")"), Just(";"), Just("if"), Just("else"),
        Just("switch"), Just("case"), Just(":"), Just("1"), Just("\"s\""), Just("$var(a)"), Just("="), Just("=="), Just("!"),
        Just("x"), Just("listen"), Just("alias"), Just("."), Just(","), Just("\n"), Just("#!ifdef x\n"), Just("\n#!endif\n"),
        Just("#!define x x y\n"), Just("return"), Just("-"), Just("/"), Just("uri"), Just("src_ip"), Just("while"), Just("::1"),
    ], 0..120)) {
        probe(&words.join(" "));
    }

    #[test]
    fn a_configuration_with_a_piece_cut_out(at in 0..SAMPLE.len(), len in 0usize..40) {
        let end = (at + len).min(SAMPLE.len());
        if let (Some(head), Some(tail)) = (SAMPLE.get(..at), SAMPLE.get(end..)) {
            probe(&format!("{head}{tail}"));
        }
    }

    #[test]
    fn a_configuration_with_a_piece_put_in(at in 0..SAMPLE.len(), piece in "[\\x20-\\x7e\n]{1,12}") {
        if let (Some(head), Some(tail)) = (SAMPLE.get(..at), SAMPLE.get(at..)) {
            probe(&format!("{head}{piece}{tail}"));
        }
    }

    #[test]
    fn any_expression_prints_to_itself(words in proptest::collection::vec((
        prop_oneof![Just("1"), Just("$var(a)"), Just("\"s\""), Just("-2"), Just("!f()"), Just("(1 + 2)"), Just("~$rm"), Just("defined $ru")],
        prop_oneof![Just("+"), Just("-"), Just("*"), Just("|"), Just("&"), Just("=="), Just("<"), Just("&&"), Just("||"), Just("<<"), Just("mod")],
    ), 1..12)) {
        let text: String = words.iter().map(|(a, b)| format!("{a} {b} ")).collect();
        probe(&format!("request_route {{ $var(x) = {text} 1; }}"));
    }
}

#[test]
fn nesting_is_bounded() {
    let n = 20_000;
    let deep = [
        format!(
            "request_route {{ $var(x) = {}1{}; }}",
            "(".repeat(n),
            ")".repeat(n)
        ),
        format!("request_route {{ $var(x) = {}1; }}", "!".repeat(n)),
        format!(
            "request_route {{ {} exit; {} }}",
            "if (1) {".repeat(n),
            "}".repeat(n)
        ),
        format!("request_route {{ {} exit; }}", "if (1) ".repeat(n)),
        format!("request_route {}", "{".repeat(n)),
        format!("request_route {{ {} }}", "if (1) exit; else ".repeat(n)),
        format!("request_route {{ {} }}", "f(".repeat(n)),
        format!("{} 1\n#!endif", "#!ifexp (".to_owned() + &"(".repeat(n)),
    ];
    for text in deep {
        let parsed = parse(&text);
        assert!(!parsed.ok());
        assert!(
            parsed.diagnostics.len() <= 3,
            "{}",
            parsed.diagnostics.len()
        );
    }
}

#[test]
fn long_chains_are_fine() {
    let sum = |n| {
        format!(
            "request_route {{ $var(x) = {}; }}",
            vec!["1"; n].join(" + ")
        )
    };
    assert!(parse(&sum(2000)).ok());
    assert!(!parse(&sum(500_000)).ok());
    let branches = "if (1) exit; else ".repeat(150);
    assert!(parse(&format!("request_route {{ {branches} exit; }}")).ok());
    let stmts = "xlog(\"x\");\n".repeat(20_000);
    assert!(parse(&format!("request_route {{ {stmts} }}")).ok());
}

#[test]
fn defines_cannot_blow_up() {
    let doubling: String = (0..60)
        .map(|i| format!("#!define D{} D{i} D{i}\n", i + 1))
        .collect();
    let parsed = parse(&format!("#!define D0 1\n{doubling}debug = D60\n"));
    assert!(
        parsed.diagnostics.iter().any(|d| d.code == "too-large"),
        "{}",
        parsed.diagnostics.len()
    );
    // Nothing is made here, and a text twice as long at each line there.
    let to_nothing = parse(&format!("#!define D0\n{doubling}debug = D60\n"));
    let growing = "#!subst \"/x/xxxxxxxx/g\"\n".repeat(40);
    let text = "#!define X \"abcdefgh\"\n#!defexp Y X+X\n".to_owned();
    let text = text + &"#!defexp Y Y+Y\n".repeat(60);
    for (parsed, code) in [
        (to_nothing, "too-large"),
        (parse(&format!("{growing}debug = \"x\"\n")), "too-large"),
        (parse(&"#!subst \"/x/y/\"\n".repeat(1000)), "too-large"),
        (parse(&text), "bad-ifexp"),
    ] {
        let found = parsed.diagnostics.iter().any(|d| d.code == code);
        assert!(found, "{}", parsed.render(false));
    }
    let looped = parse("#!define A B\n#!define B A\ndebug = A\n");
    assert!(
        looped
            .diagnostics
            .iter()
            .any(|d| d.code == "endless-define")
    );
}

#[test]
fn includes_are_bounded_and_leave_a_trail() {
    let options = memory(&[
        (
            "/e/k.cfg",
            "include_file \"sub/a.cfg\"\nrequest_route { exit; }\n",
        ),
        (
            "/e/sub/a.cfg",
            "import_file \"missing.cfg\"\n#!include_file \"b.cfg\"\n",
        ),
        ("/e/sub/b.cfg", "debgu = 3\n"),
        ("/e/loop.cfg", "include_file \"loop.cfg\"\n"),
        ("/e/glob.cfg", "include_file \"sub/*.cfg\"\n"),
    ]);
    let parsed = parse_file("/e/k.cfg", &options);
    assert_eq!(parsed.diagnostics.len(), 1);
    assert_eq!(parsed.files.len(), 3);
    let drawn = parsed.render(false);
    assert!(
        drawn.contains("/e/sub/b.cfg:1:1: error: no core parameter is named `debgu`"),
        "{drawn}"
    );
    assert!(drawn.contains("did you mean `debug`?"), "{drawn}");
    assert!(drawn.contains("included from /e/sub/a.cfg:2:1"), "{drawn}");
    assert!(drawn.contains("included from /e/k.cfg:1:1"), "{drawn}");
    assert!(
        parse_file("/e/loop.cfg", &options)
            .diagnostics
            .iter()
            .any(|d| d.code == "deep-include")
    );
    assert_eq!(parse_file("/e/glob.cfg", &options).files.len(), 4);
    // More files than are read, brought in by one pattern: an error, not silence.
    let many: MemoryFiles = (0..1500)
        .map(|i| (format!("/m/{i}.inc").into(), Vec::new()))
        .chain([("/m/k.cfg".into(), b"include_file \"*.inc\"\n".to_vec())])
        .collect();
    let many = Options {
        files: std::sync::Arc::new(many),
        ..Options::default()
    };
    assert!(!parse_file("/m/k.cfg", &many).ok());
    // The record of what was read is enough to read it again.
    let record: MemoryFiles = parsed.files.iter().cloned().collect();
    let again = parse_file(
        "/e/k.cfg",
        &Options {
            files: Arc::new(record),
            ..memory(&[])
        },
    );
    assert_eq!(again.diagnostics, parsed.diagnostics);
}

#[test]
fn the_preprocessor_as_kamailio_documents_it() {
    let options = Options {
        defines: vec![
            ("PORT".into(), Some("5070".into())),
            ("WITH_X".into(), None),
        ],
        predefined: vec![("MOD_tm".into(), None)],
        substs: vec![(SubstKind::SubstDefs, "/NAME/olelo/".into())],
        env: Env::Map(
            [("HOST_IP".to_owned(), "192.0.2.7".to_owned())]
                .into_iter()
                .collect(),
        ),
        ..memory(&[])
    };
    let text = r#"
#!defenv IP=HOST_IP
#!defenvs HOST_IP
#!define TWO 1 + \
 1
#!redefine TWO 2
#!trydef TWO 3
#!define PORT 5060
#!subst "/v([0-9])/version \1/"
#!defexp SUM TWO + 3
listen = udp:IP:PORT
log_name = NAME
log_prefix = "NAME v2 TWO"
user = HOST_IP
children = SUM
#!ifdef MOD_tm
memlog = 1
#!else
memlog = 2
#!endif
#!ifexp WITH_X && SUM >= 5 && !NOPE
memdbg = 1
#!endif
#!undef WITH_X
#!ifndef WITH_X
mem_join = 0
#!endif
request_route { $var(x) = $var(TWO); }
"#;
    let parsed = parse_str("t.cfg", text, &options);
    assert!(parsed.diagnostics.is_empty(), "{}", parsed.render(false));
    let c = &parsed.config;
    assert_eq!(
        (c.listens[0].hosts[0].as_str(), c.listens[0].port),
        ("192.0.2.7", Some(5070))
    );
    let text_of = |name: &str| c.param(name).and_then(|p| p.value.as_str()).unwrap_or("-");
    let int_of = |name: &str| c.param(name).and_then(|p| p.value.as_int());
    assert_eq!(text_of("log_name"), "olelo");
    assert_eq!(text_of("log_prefix"), "olelo version 2 TWO");
    assert_eq!(text_of("user"), "192.0.2.7");
    assert_eq!(
        ["children", "memlog", "memdbg", "mem_join"].map(int_of),
        [Some(5), Some(1), Some(1), Some(0)]
    );
    assert!(print::config(c).contains("$var(TWO)"));
    assert_eq!(parsed.defines.get("TWO"), Some(&Some("2".to_owned())));
}

#[test]
fn several_faults_are_told_apart() {
    let text = "childern = 4\nlisten=udp:127.0.0.1:99999\nloadmodule tm.so\nmodparam(\"tm\", \"x\" 1)\nrequest_route {\n\t$var(a) = 1\n\tif ($var(a) = 2) {\n\t\txlog(\"x\";\n\t}\n\tretrun;\n}\nroute[X] {\n\texit;\n";
    let parsed = parse(text);
    let found: Vec<(u32, &str)> = parsed
        .diagnostics
        .iter()
        .map(|d: &Diagnostic| (parsed.sources.locate(d.span).line, d.code))
        .collect();
    let want = [
        (1, "unknown-parameter"),
        (2, "bad-port"),
        (3, "syntax"),
        (4, "syntax"),
        (6, "missing-semicolon"),
        (7, "assign-in-condition"),
        (8, "syntax"),
        (10, "syntax"),
        (12, "open-block"),
    ];
    assert_eq!(found, want, "{}", parsed.render(false));
    assert!(parsed.render(false).contains("did you mean `return`?"));
}

/// Kamailio's own order of operators, found by running it: `|` `&` `^` `<<` `>>` bind weaker than `==`.
#[test]
fn operators_bind_as_kamailio_s() {
    let cases = [
        ("1|2==2", "1 | 2 == 2", "1 | (2 == 2)"),
        ("2<<1==4", "2 << 1 == 4", "2 << (1 == 4)"),
        ("6&3^1", "6 & 3 ^ 1", "6 & (3 ^ 1)"),
        ("1<<4>>1", "1 << 4 >> 1", "1 << (4 >> 1)"),
        ("16>>1<<1", "16 >> 1 << 1", "(16 >> 1) << 1"),
        ("3<2==0", "3 < 2 == 0", "(3 < 2) == 0"),
        ("(1|2)==2", "(1 | 2) == 2", "(1 | 2) == 2"),
        ("7-2-1", "7 - 2 - 1", "(7 - 2) - 1"),
        (
            "!method==INVITE",
            "!(method == \"INVITE\")",
            "!(method == \"INVITE\")",
        ),
        ("7-(2-1)", "7 - (2 - 1)", "7 - (2 - 1)"),
    ];
    for (text, printed, explicit) in cases {
        let tree = |text: &str| {
            print::config(&parse(&format!("request_route {{ $var(x) = {text}; }}")).config)
        };
        assert!(
            tree(text).contains(&format!("= {printed};")),
            "{text}: {}",
            tree(text)
        );
        assert_eq!(tree(text), tree(explicit), "{text}");
    }
}
