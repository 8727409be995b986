//! `olctl`: steers a running server over its control socket.
//!
//! Any command of the server can be given as it is (`olctl ul.lookup location alice`); its answer is
//! shown as a table, or with `--json` as JSON. `olctl doc` and `olctl completion` know the same
//! registry that the server is built from and need no server; `olctl top` is a live view.

#![forbid(unsafe_code)]

mod client;
mod doc;
mod show;
mod top;

use clap::{Arg, ArgAction, Command};
use client::Client;
use std::process::ExitCode;

fn main() -> ExitCode {
    let m = command().get_matches();
    let socket = m.get_one::<String>("socket").cloned();
    let json = m.get_flag("json");
    let words: Vec<String> = m
        .get_many::<String>("command")
        .map(|v| v.cloned().collect())
        .unwrap_or_default();
    let done = match words.first().map(String::as_str) {
        None => {
            let _ = command().print_help();
            Ok(())
        }
        Some("doc") => doc::print(words.get(1).map_or("", String::as_str)),
        Some("completion") => completion(words.get(1).map_or("bash", String::as_str)),
        Some("commands") => {
            doc::commands();
            Ok(())
        }
        Some("top") => top::run(socket.as_deref()),
        Some(name) => call(socket.as_deref(), name, &words[1..], json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("olctl: {e}");
            ExitCode::FAILURE
        }
    }
}

fn call(socket: Option<&str>, name: &str, args: &[String], json: bool) -> Result<(), String> {
    let mut c = Client::connect(socket)?;
    let args: Vec<_> = args.iter().map(|a| client::value(a)).collect();
    let answer = c.call(name, &args)?;
    if json {
        show::json(&answer)
    } else {
        show::tables(&answer)
    }
    Ok(())
}

fn command() -> Command {
    Command::new("olctl")
        .about("Steers a running Olelo")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(
            "Besides the server's own commands:\n  doc NAME            what a function, parameter, pseudo-variable or command does\n  commands            all commands of the server, with what they do\n  top                 a live view of the server\n  completion SHELL    completion for bash, zsh or fish\n\nExamples:\n  olctl core.psx\n  olctl ul.lookup location alice@example.org\n  olctl --json stats.fetchn all\n  olctl app_lua.reload\n  olctl doc KSR.tm.t_relay\n\nArguments are numbers where they look like numbers; s:5060 is the text \"5060\".",
        )
        .arg(Arg::new("socket").short('s').long("socket").value_name("ADDRESS").env("OLELO_CTL").help("unix:PATH or tcp:HOST:PORT of the server's ctl module"))
        .arg(Arg::new("json").short('j').long("json").action(ArgAction::SetTrue).help("Answers as JSON"))
        .arg(Arg::new("command").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true).help("A command and its arguments"))
}

/// Completion scripts: the options by clap, the commands as words.
fn completion(shell: &str) -> Result<(), String> {
    let names = doc::command_names().join(" ");
    match shell {
        "bash" => println!("complete -W \"doc commands top completion {names}\" olctl"),
        "zsh" => println!(
            "#compdef olctl\n_arguments '-s[server address]:address:' '-j[JSON]' '1:command:(doc commands top completion {names})' '*::argument:_default'"
        ),
        "fish" => println!(
            "complete -c olctl -f -n '__fish_is_first_arg' -a 'doc commands top completion {names}'"
        ),
        other => {
            return Err(format!(
                "no completion for \"{other}\"; one of bash, zsh, fish"
            ));
        }
    }
    Ok(())
}
