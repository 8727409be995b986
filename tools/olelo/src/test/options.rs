//! The command line of `olelo test`.

use clap::{Arg, ArgAction, Command};
use std::io::IsTerminal;
use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// The script: a configuration, or a bare script.
    pub script: PathBuf,
    /// `-f`: the configuration around a bare script.
    pub config: Option<PathBuf>,
    /// Files and folders of cases.
    pub cases: Vec<PathBuf>,
    /// `-A`.
    pub defines: Vec<(String, Option<String>)>,
    /// `--subst` and its like.
    pub substs: Vec<(olelo_cfg::SubstKind, String)>,
    /// Lines of configuration that options stand for.
    pub lines: Vec<String>,
    /// `-w`.
    pub workdir: Option<PathBuf>,
    /// `--filter`.
    pub filter: Option<String>,
    /// `--list`.
    pub list: bool,
    /// `-v`.
    pub verbose: bool,
    /// `--record`.
    pub record: bool,
    /// `--update`.
    pub update: bool,
    /// `--junit`.
    pub junit: Option<PathBuf>,
    /// `--json`.
    pub json: bool,
    /// `--timeout`, seconds.
    pub timeout: u64,
    /// Colours.
    pub colour: bool,
}

const EXAMPLES: &str = "\
Examples:
  olelo test etc/olelo.cfg etc/cases              all cases of a folder
  olelo test route.lua cases -v                   a bare script in the shipped configuration
  olelo test -f kamailio.cfg route.py cases       a bare script in a configuration of yours
  olelo test -A WITH_NAT kamailio.cfg nat.sip     with a define
  olelo test route.js cases --filter cancel       cases whose name has \"cancel\"
  olelo test route.js new.sip --record            show what the script does, as expectations
  olelo test route.js cases --junit report.xml    for a CI

A case:
  == an unknown user
  phone alice sip:alice@olelo.local at udp:192.0.2.10:5060
  receive INVITE sip:nobody@olelo.local from alice
  expect 100
  expect 404 Not Found

doc/testing.md tells all that a case can say.
Exit code: 0 all as expected, 1 something is not, 2 the script or a case can't be read.";

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
            script: one("script").unwrap_or_default().into(),
            config: one("file").map(Into::into),
            cases: texts("cases").into_iter().map(Into::into).collect(),
            workdir: one("workdir").map(Into::into),
            filter: one("filter"),
            list: m.get_flag("list"),
            verbose: m.get_flag("verbose"),
            record: m.get_flag("record"),
            update: m.get_flag("update"),
            junit: one("junit").map(Into::into),
            json: m.get_flag("json"),
            timeout: one("timeout").and_then(|t| t.parse().ok()).unwrap_or(10),
            colour: match one("colour").as_deref() {
                Some("always") => true,
                Some("never") => false,
                _ => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            },
            ..Options::default()
        };
        (o.defines, o.substs) = crate::cli::definitions(texts);
        o.lines.extend(
            texts("loadmodule")
                .iter()
                .map(|v| format!("loadmodule \"{v}\"")),
        );
        o.lines
            .extend(texts("listen").iter().map(|v| format!("listen={v}")));
        o.lines
            .extend(texts("alias").iter().map(|v| format!("alias=\"{v}\"")));
        o.lines.extend(
            texts("modparam")
                .iter()
                .map(|p| crate::cli::modparam_line(p)),
        );
        o
    }
}

fn command() -> Command {
    let value = |long: &'static str, name: &'static str, help: &'static str| {
        Arg::new(long)
            .long(long)
            .value_name(name)
            .help(help)
            .action(ArgAction::Append)
    };
    let flag = |long: &'static str, help: &'static str| {
        Arg::new(long)
            .long(long)
            .help(help)
            .action(ArgAction::SetTrue)
    };
    Command::new("olelo test")
        .about("Feeds SIP messages to a routing script and compares what it does with what cases expect; opens no sockets")
        .after_help(EXAMPLES)
        .arg(Arg::new("script").value_name("SCRIPT").required(true).help("A configuration, or a bare script: .lua .js .py .sq .nut, or .cfg with routes only"))
        .arg(Arg::new("cases").value_name("CASES").required(true).num_args(1..).help("Files of cases, or folders with files that end in .sip"))
        .arg(value("file", "CFG", "The configuration around a bare script; else the shipped one").short('f'))
        .arg(value("define", "NAME[=VALUE]", "Define a name, as #!define does").short('A'))
        .arg(value("subst", "/RE/TEXT/", "As #!subst"))
        .arg(value("substdef", "/NAME/TEXT/", "As #!substdef"))
        .arg(value("substdefs", "/NAME/TEXT/", "As #!substdefs"))
        .arg(value("loadmodule", "NAME", "Load one more module"))
        .arg(value("modparam", "MOD:NAME:i|s:VALUE", "Set a parameter of a module"))
        .arg(value("listen", "ADDRESS", "Messages arrive here, in place of the configuration's addresses").short('l'))
        .arg(value("alias", "NAME", "A name that is this server"))
        .arg(value("workdir", "DIR", "Working directory; else that of the configuration").short('w'))
        .arg(value("filter", "TEXT", "Only cases whose name has TEXT"))
        .arg(flag("list", "List the cases"))
        .arg(flag("verbose", "Show all messages and lines of the log").short('v'))
        .arg(flag("record", "Print the cases with what the script does as expectations"))
        .arg(flag("update", "Write the cases anew with what the script does as expectations"))
        .arg(value("junit", "FILE", "Write a report in JUnit's format"))
        .arg(flag("json", "Print a line of JSON per case"))
        .arg(value("timeout", "SECONDS", "The longest that a case may take (10)"))
        .arg(value("colour", "WHEN", "auto, always or never").alias("color"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_declaration_is_sound() {
        super::command().debug_assert();
    }
}
