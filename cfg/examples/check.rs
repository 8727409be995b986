//! Checks configuration files: `cargo run -p olelo-cfg --example check -- [-A NAME[=VALUE]]… FILE…`

use olelo_cfg::{Options, parse_file};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut failed = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "-A" {
            let define = args.next().unwrap_or_default();
            options.defines.push(match define.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (define, None),
            });
            continue;
        }
        let parsed = parse_file(&arg, &options);
        eprint!("{}", parsed.render(true));
        println!("{arg}: {} found wrong", parsed.diagnostics.len());
        failed |= !parsed.ok();
    }
    ExitCode::from(u8::from(failed))
}
