//! The command line: Kamailio's options under their names, and a few of Olelo's own.
//!
//! One table declares them all; help and parsing come from it. Options that Kamailio has and that
//! mean nothing here are accepted, and a note says so at start.

use clap::{Arg, ArgAction, Command};
use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, Default)]
pub struct Options {
    /// `-f`: the configuration.
    pub file: PathBuf,
    /// `-c`: check and end.
    pub check: bool,
    /// `--json`: diagnostics for an editor.
    pub json: bool,
    /// `-D`, `-DD`: stay in the foreground.
    pub foreground: bool,
    /// `-E`: log to standard error.
    pub log_stderr: bool,
    /// `-e`: colours.
    pub colour: bool,
    /// `-d` times or `--debug`: level of the log.
    pub debug: Option<i64>,
    /// `-A`: defines.
    pub defines: Vec<(String, Option<String>)>,
    /// `--subst`, `--substdef`, `--substdefs`.
    pub substs: Vec<(olelo_cfg::SubstKind, String)>,
    /// Lines of configuration that options stand for: listen, alias, loadmodule, modparam …
    pub lines: Vec<String>,
    /// `-m`: shared memory in MB.
    pub shm_mb: Option<usize>,
    /// `-P`: pid file.
    pub pid_file: Option<PathBuf>,
    /// `-w`: working directory.
    pub workdir: Option<PathBuf>,
    /// `-Y`: directory for sockets and pipes given without a path.
    pub rundir: Option<PathBuf>,
    /// `-u`, `-g`: user and group.
    pub user: Option<String>,
    /// See `user`.
    pub group: Option<String>,
    /// `-t`: new root.
    pub chroot: Option<PathBuf>,
    /// Print something and end.
    pub print: Option<Print>,
    /// Options given that mean nothing here.
    pub without_meaning: Vec<String>,
}

/// What to print.
#[derive(Debug, Clone, PartialEq)]
pub enum Print {
    /// `-v`.
    Version,
    /// `-I`.
    Internals,
    /// `--exports`.
    Exports,
    /// `--stubs LANGUAGE`.
    Stubs(String),
    /// `--docs DIRECTORY`.
    Docs(PathBuf),
}

/// An option with a value that stands for a line of configuration: long name, short name, the
/// value's name, how the line is made, help.
type LineOption = (
    &'static str,
    Option<char>,
    &'static str,
    fn(&str) -> String,
    &'static str,
);

const LINES: &[LineOption] = &[
    (
        "listen",
        Some('l'),
        "ADDRESS",
        |v| format!("listen={v}"),
        "Listen here: [udp:|tcp:]host[:port], may be repeated",
    ),
    (
        "children",
        Some('n'),
        "N",
        |v| format!("children={v}"),
        "UDP workers per socket",
    ),
    (
        "tcp-children",
        Some('N'),
        "N",
        |v| format!("tcp_children={v}"),
        "TCP workers",
    ),
    (
        "alias",
        None,
        "NAME",
        |v| format!("alias=\"{v}\""),
        "A name that is this server",
    ),
    (
        "domain",
        None,
        "NAME",
        |v| format!("alias=\"{v}\""),
        "The same as --alias",
    ),
    (
        "auto-aliases",
        Some('a'),
        "MODE",
        |v| {
            format!(
                "auto_aliases={}",
                if v == "no" || v == "off" { "no" } else { "yes" }
            )
        },
        "Whether names of listening addresses are own names",
    ),
    (
        "loadmodule",
        None,
        "NAME",
        |v| format!("loadmodule \"{v}\""),
        "Load a module",
    ),
    (
        "server-id",
        None,
        "NUMBER",
        |v| format!("server_id={v}"),
        "The server's number",
    ),
    (
        "max-branches",
        Some('B'),
        "N",
        |v| format!("max_branches={v}"),
        "Most branches of a request",
    ),
];

/// Options of Kamailio that mean nothing here: name, takes a value, why.
const WITHOUT_MEANING: &[(char, bool, &str)] = &[
    ('M', true, "memory per process isn't preallocated"),
    ('x', true, "there is one shared-memory manager"),
    ('X', true, "there is one allocator of process memory"),
    ('W', true, "the poll method is chosen by itself"),
    (
        'L',
        true,
        "modules are linked in; loadmodule takes any path",
    ),
    ('b', true, "receive buffers are chosen by itself"),
    ('O', true, "no SCTP"),
    ('Q', true, "no SCTP"),
    ('S', false, "no SCTP"),
    ('K', false, "Via of replies is checked by the script"),
    ('r', false, "names in Via aren't resolved"),
    ('R', false, "names in Via aren't resolved"),
    ('V', false, "this is the only version of it"),
    ('G', true, "no process groups"),
];

/// Names with their values, if they have any.
type Defines = Vec<(String, Option<String>)>;
/// Substitutions, by kind.
type Substs = Vec<(olelo_cfg::SubstKind, String)>;

/// What `-A`, `--subst` and their like define; `texts` gives the values of an option.
pub(crate) fn definitions(texts: impl Fn(&str) -> Vec<String>) -> (Defines, Substs) {
    let define = |d: String| match d.split_once('=') {
        Some((name, value)) => (name.to_string(), Some(value.to_string())),
        None => (d, None),
    };
    let defines = texts("define").into_iter().map(define).collect();
    let kinds = [
        ("subst", olelo_cfg::SubstKind::Subst),
        ("substdef", olelo_cfg::SubstKind::SubstDef),
        ("substdefs", olelo_cfg::SubstKind::SubstDefs),
    ];
    let substs = kinds
        .into_iter()
        .flat_map(|(name, kind)| texts(name).into_iter().map(move |t| (kind, t)));
    (defines, substs.collect())
}

impl Options {
    /// Reads the command line; prints help or a complaint and ends where that is due.
    pub fn read(args: &[String]) -> Options {
        let m = command().get_matches_from(args);
        let texts = |n: &str| {
            m.get_many::<String>(n)
                .map(|v| v.cloned().collect::<Vec<_>>())
                .unwrap_or_default()
        };
        let one = |n: &str| m.get_one::<String>(n).cloned();
        let mut o = Options {
            file: one("file").unwrap_or_else(default_file).into(),
            check: m.get_flag("check"),
            json: m.get_flag("json"),
            foreground: m.get_count("foreground") > 0,
            log_stderr: m.get_flag("stderr"),
            colour: m.get_count("colour") > 0,
            debug: one("debug").and_then(|d| d.parse().ok()),
            shm_mb: one("shm").and_then(|s| s.parse().ok()),
            pid_file: one("pid-file").map(Into::into),
            workdir: one("workdir").map(Into::into),
            rundir: one("rundir").map(Into::into),
            user: one("user"),
            group: one("group"),
            chroot: one("chroot").map(Into::into),
            ..Options::default()
        };
        if m.get_count("verbose") > 0 {
            o.debug = Some(o.debug.unwrap_or(0) + i64::from(m.get_count("verbose")));
        }
        (o.defines, o.substs) = definitions(texts);
        for (name, _, _, line, _) in LINES {
            o.lines.extend(texts(name).iter().map(|v| line(v)));
        }
        if m.get_flag("no-tcp") {
            o.lines.push("disable_tcp=yes".into());
        }
        for p in texts("modparam") {
            o.lines.push(modparam_line(&p));
        }
        for (c, ..) in WITHOUT_MEANING {
            if m.value_source(&c.to_string()) == Some(clap::parser::ValueSource::CommandLine) {
                o.without_meaning.push(format!("-{c}"));
            }
        }
        o.print = if m.get_flag("version") {
            Some(Print::Version)
        } else if m.get_flag("internals") {
            Some(Print::Internals)
        } else if m.get_flag("exports") {
            Some(Print::Exports)
        } else if let Some(l) = one("stubs") {
            Some(Print::Stubs(l))
        } else {
            one("docs").map(|d| Print::Docs(d.into()))
        };
        o
    }
}

fn default_file() -> String {
    let places = [
        "/etc/olelo/olelo.cfg",
        "/usr/local/etc/olelo/olelo.cfg",
        "etc/olelo.cfg",
        // In place of a Kamailio that ran here.
        "/etc/kamailio/kamailio.cfg",
        "/usr/local/etc/kamailio/kamailio.cfg",
    ];
    places
        .iter()
        .find(|p| std::path::Path::new(p).exists())
        .unwrap_or(&places[0])
        .to_string()
}

/// `mod:param:type:value`, type `i` or `s`.
pub fn modparam_line(p: &str) -> String {
    let mut parts = p.splitn(4, ':');
    let mut next = || parts.next().unwrap_or("").to_string();
    let (module, name, kind, value) = (next(), next(), next(), next());
    match kind.as_str() {
        "i" => format!("modparam(\"{module}\", \"{name}\", {value})"),
        _ => format!(
            "modparam(\"{module}\", \"{name}\", \"{}\")",
            value.replace('"', "\\\"")
        ),
    }
}

fn command() -> Command {
    let value =
        |long: &'static str, short: Option<char>, name: &'static str, help: &'static str| {
            let a = Arg::new(long)
                .long(long)
                .value_name(name)
                .help(help)
                .action(ArgAction::Append);
            match short {
                Some(s) => a.short(s),
                None => a,
            }
        };
    let flag = |long: &'static str, short: Option<char>, help: &'static str| {
        let a = Arg::new(long)
            .long(long)
            .help(help)
            .action(ArgAction::SetTrue);
        match short {
            Some(s) => a.short(s),
            None => a,
        }
    };
    let count = |long: &'static str, short: char, help: &'static str| {
        Arg::new(long)
            .short(short)
            .help(help)
            .action(ArgAction::Count)
    };
    let mut c = Command::new("olelo")
        .about("Olelo, a SIP server: runs kamailio.cfg and KEMI scripts (KSR.*), reloads without a gap, survives its workers")
        .after_help(
            "Examples:\n  olelo -f etc/olelo.cfg -DD -E          run in the foreground, log to the terminal\n  olelo -c -f kamailio.cfg               check a configuration\n  olelo -f kamailio.cfg -P /run/olelo.pid -m 512 -u olelo -g olelo\n\nTest routing without a network: olelo test --help. Control a running server with olctl or kamcmd.",
        )
        .disable_version_flag(true)
        .arg(value("file", Some('f'), "FILE", "The configuration"))
        .arg(flag("check", Some('c'), "Check the configuration, script included, and end: 0 good, 1 not"))
        .arg(flag("json", None, "With -c: what is wrong, as JSON"))
        .arg(count("foreground", 'D', "Stay in the foreground (-D and -DD alike)"))
        .arg(flag("stderr", Some('E'), "Log to standard error"))
        .arg(count("colour", 'e', "Colours in messages"))
        .arg(count("verbose", 'd', "One level more in the log; may be repeated"))
        .arg(value("debug", None, "LEVEL", "The level of the log: -5 alert … 3 debug"))
        .arg(value("define", Some('A'), "NAME[=VALUE]", "Define a name, as #!define does"))
        .arg(value("subst", None, "/RE/TEXT/", "As #!subst"))
        .arg(value("substdef", None, "/NAME/TEXT/", "As #!substdef"))
        .arg(value("substdefs", None, "/NAME/TEXT/", "As #!substdefs"))
        .arg(value("modparam", None, "MOD:NAME:i|s:VALUE", "Set a parameter of a module"))
        .arg(value("shm", Some('m'), "MB", "Shared memory (64)"))
        .arg(flag("no-tcp", Some('T'), "Without TCP"))
        .arg(value("pid-file", Some('P'), "FILE", "Write main's pid here"))
        .arg(value("workdir", Some('w'), "DIR", "Working directory"))
        .arg(value("rundir", Some('Y'), "DIR", "Where sockets and pipes without a path go"))
        .arg(value("user", Some('u'), "USER", "Run as this user"))
        .arg(value("group", Some('g'), "GROUP", "Run as this group"))
        .arg(value("chroot", Some('t'), "DIR", "Change the root directory"))
        .arg(flag("version", Some('v'), "Print the version"))
        .arg(flag("internals", Some('I'), "Print what the build has"))
        .arg(flag("exports", None, "Print every exported name, tab-separated"))
        .arg(value("stubs", None, "LANGUAGE", "Print declarations of KSR for an editor: lua, js (TypeScript), python (KSR.pyi), squirrel; native: functions of the configuration"))
        .arg(value("docs", None, "DIR", "Write the reference of all modules"));
    for (long, short, name, _, help) in LINES {
        c = c.arg(value(long, *short, name, help));
    }
    for (ch, takes, why) in WITHOUT_MEANING {
        let id: &'static str = Box::leak(ch.to_string().into_boxed_str());
        let a = Arg::new(id)
            .short(*ch)
            .help(format!("No effect: {why}"))
            .hide_short_help(true);
        c = c.arg(if *takes {
            a.value_name("X").action(ArgAction::Append)
        } else {
            a.action(ArgAction::Count)
        });
    }
    // Kamailio's long options that change nothing here.
    for long in ["atexit", "log-engine", "iuid", "cfg-print", "all-errors"] {
        c = c.arg(
            Arg::new(long)
                .long(long)
                .num_args(0..=1)
                .hide(true)
                .action(ArgAction::Append),
        );
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Options {
        Options::read(
            &std::iter::once("olelo")
                .chain(line.split(' '))
                .map(str::to_string)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn kamailios_command_line_is_understood() {
        let o = read(
            "-f x.cfg -P p.pid -w /tmp -Y /tmp -m 512 -M 16 -DD -E -x fm -X fm -A WITH_NAT -A P=1 -l udp:127.0.0.1:5060 -n 4 -N 2 -T",
        );
        assert_eq!(o.file, PathBuf::from("x.cfg"));
        assert_eq!(
            (o.shm_mb, o.foreground, o.log_stderr),
            (Some(512), true, true)
        );
        assert_eq!(
            o.defines,
            [("WITH_NAT".into(), None), ("P".into(), Some("1".into()))]
        );
        assert_eq!(
            o.lines,
            [
                "listen=udp:127.0.0.1:5060",
                "children=4",
                "tcp_children=2",
                "disable_tcp=yes"
            ]
        );
        assert_eq!(o.without_meaning, ["-M", "-x", "-X"]);
    }

    #[test]
    fn a_module_parameter_becomes_its_line() {
        assert_eq!(
            modparam_line("tm:fr_timer:i:5000"),
            "modparam(\"tm\", \"fr_timer\", 5000)"
        );
        assert_eq!(
            modparam_line("ctl:binrpc:s:unix:/tmp/x"),
            "modparam(\"ctl\", \"binrpc\", \"unix:/tmp/x\")"
        );
    }

    #[test]
    fn the_declaration_is_sound() {
        command().debug_assert();
    }
}
