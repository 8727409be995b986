//! `olload`: calls at a steady rate against a SIP server, and what became of them.
#![forbid(unsafe_code)]

use clap::Parser;
use olload::{Load, Plan};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Makes calls at a steady rate: the callee registers, the caller calls, they talk and hang up.
/// Everything that is lost is sent again as RFC 3261 says. Exit code 1: some calls failed.
///
/// Example: olload 127.0.0.1:5060 --rate 500 --seconds 30
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The server's UDP address; loopback only.
    server: SocketAddr,
    /// Calls begun per second.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// How long calls are begun.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Users that take turns at being called.
    #[arg(long, default_value_t = 1000)]
    users: u32,
    /// Domain of the users; the server's address unless given.
    #[arg(long)]
    domain: Option<String>,
    /// Milliseconds from 180 to 200.
    #[arg(long, default_value_t = 20)]
    ring: u64,
    /// Milliseconds from 200 to BYE.
    #[arg(long, default_value_t = 0)]
    talk: u64,
    /// Leave the registrations.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut plan = Plan::new(args.server);
    plan.rate = args.rate;
    plan.lasting = Duration::from_secs_f64(args.seconds.max(0.0));
    plan.users = args.users;
    plan.ring = Duration::from_millis(args.ring);
    plan.talk = Duration::from_millis(args.talk);
    plan.unregister = !args.keep;
    if let Some(d) = args.domain {
        plan.domain = d;
    }
    let report = match Load::new(plan) {
        Ok(l) => l.run(),
        Err(e) => {
            eprintln!("olload: can't begin: {e}");
            return ExitCode::from(2);
        }
    };
    println!("{report}");
    ExitCode::from(u8::from(report.failures() > 0))
}
