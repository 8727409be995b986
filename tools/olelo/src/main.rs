//! The `olelo` program: Kamailio's command line, then the boot of `olelo-core`.
//!
//! Reading order: [`cli`] says what can be given, [`start`] reads the configuration and boots,
//! [`test`] plays cases without sockets, [`print`] answers the options that print and end (`--exports`, `--stubs`, `--docs`).

#![forbid(unsafe_code)]

mod cli;
mod daemon;
mod docs;
mod print;
mod start;
mod stubs;
mod test;

/// The interpreters and message buffers allocate small pieces all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|a| a == "test") {
        return std::process::ExitCode::from(test::run(&args[1..]));
    }
    let options = cli::Options::read(&args);
    let code = match &options.print {
        Some(what) => print::run(what),
        None => start::run(&options, args),
    };
    std::process::ExitCode::from(code)
}
