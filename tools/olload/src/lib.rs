//! A load of calls against a SIP server: phones that register, call, talk and hang up, at a steady
//! rate, whatever becomes of the calls before.
//!
//! | file | what it is |
//! |---|---|
//! | `message` | just enough of a SIP message: its kind, the number in its Call-ID, lines to copy |
//! | `caller` | the UAC: REGISTER, INVITE, ACK, BYE, each sent again as RFC 3261 §17.1 says |
//! | `callee` | the UAS: answers, and repeats its 2xx until the ACK comes (§13.3.1.4) |
//! | `clock` | what is due when |
//!
//! All phones live in one thread on two UDP sockets, one for those that call and one for those that
//! are called. A call counts as completed when its BYE was answered with 200. What makes this a tool
//! for the test of a server that loses processes: nothing is lost silently. Each call ends with a
//! completion or with a reason, and the longest time without any reply is measured.
#![forbid(unsafe_code)]

mod callee;
mod caller;
mod clock;
mod message;

use callee::Callees;
use caller::Callers;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What load to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server. Only loopback addresses are taken.
    pub server: SocketAddr,
    /// The domain of all users: the server must take it for its own.
    pub domain: String,
    /// Calls begun per second.
    pub rate: f64,
    /// How long calls are begun.
    pub lasting: Duration,
    /// How many users take turns at being called.
    pub users: u32,
    /// From 200 to BYE.
    pub talk: Duration,
    /// From 180 to 200.
    pub ring: Duration,
    /// Expires of the registrations, seconds.
    pub expires: u32,
    /// Whether registrations are removed at the end.
    pub unregister: bool,
}

impl Plan {
    /// A plan with usual values.
    pub fn new(server: SocketAddr) -> Plan {
        Plan {
            server,
            domain: server.ip().to_string(),
            rate: 100.0,
            lasting: Duration::from_secs(10),
            users: 1000,
            talk: Duration::ZERO,
            ring: Duration::from_millis(20),
            expires: 600,
            unregister: true,
        }
    }
}

/// What became of the load.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Calls begun.
    pub calls: u64,
    /// Calls whose BYE was answered with 200.
    pub completed: u64,
    /// Registrations answered with 200, renewals and removals included.
    pub registered: u64,
    /// Why the others failed, and how often.
    pub failed: BTreeMap<String, u64>,
    /// Requests and replies that were sent again.
    pub sent_again: u64,
    /// Replies received.
    pub replies: u64,
    /// The longest time without any reply while calls were begun.
    pub longest_gap: Duration,
    /// From the INVITE to its 200, ascending.
    pub set_up: Vec<Duration>,
}

impl Report {
    /// How many calls failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The time within which this share (0 to 1) of the calls was set up.
    pub fn set_up_within(&self, share: f64) -> Duration {
        let at = (self.set_up.len() as f64 * share) as usize;
        let last = self.set_up.len().saturating_sub(1);
        self.set_up.get(at.min(last)).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        writeln!(f, "calls          {:>9}", self.calls)?;
        writeln!(f, "completed      {:>9}", self.completed)?;
        writeln!(f, "failed         {:>9}", self.failures())?;
        for (why, n) in &self.failed {
            writeln!(f, "               {n:>9}  {why}")?;
        }
        writeln!(f, "registrations  {:>9}", self.registered)?;
        writeln!(f, "sent again     {:>9}", self.sent_again)?;
        writeln!(f, "longest gap    {:>9.1} ms", ms(self.longest_gap))?;
        write!(
            f,
            "set-up         {:>9.1} ms median, {:.1} ms p99, {:.1} ms longest",
            ms(self.set_up_within(0.5)),
            ms(self.set_up_within(0.99)),
            ms(self.set_up_within(1.0)),
        )
    }
}

/// A load that runs.
pub struct Load {
    plan: Plan,
    callers: Callers,
    callees: Callees,
    begun: u64,
    start: Instant,
    last_reply: Instant,
    longest_gap: Duration,
}

impl Load {
    /// Opens the sockets.
    pub fn new(plan: Plan) -> std::io::Result<Load> {
        if !plan.server.ip().is_loopback() {
            let text = format!("{} is not a loopback address", plan.server);
            return Err(std::io::Error::other(text));
        }
        let mut own = plan.server;
        own.set_port(0);
        let open = || {
            let s = UdpSocket::bind(own)?;
            s.set_nonblocking(true)?;
            s.connect(plan.server)?;
            Ok::<_, std::io::Error>(s)
        };
        let callees = Callees::new(open()?, plan.ring)?;
        let callers = Callers::new(open()?, &plan, callees.addr())?;
        Ok(Load {
            callers,
            callees,
            begun: 0,
            start: Instant::now(),
            last_reply: Instant::now(),
            longest_gap: Duration::ZERO,
            plan,
        })
    }

    /// Runs the load to its end: until no call is left, and registrations are removed where wanted.
    pub fn run(mut self) -> Report {
        self.start = Instant::now();
        self.last_reply = self.start;
        while self.begun < self.wanted_at_last() || self.callers.active() > 0 {
            self.begin_what_is_due();
            self.turn();
        }
        let longest_gap = self.longest_gap;
        if self.plan.unregister {
            // Users are numbered as calls are, from 1 on. Not all at once: that would be a flood.
            let mut users = 1..self.callers.users_called() + 1;
            while self.callers.active() > 0 || !users.is_empty() {
                for user in users.by_ref().take(4) {
                    self.callers.unregister(user, Instant::now());
                }
                self.turn();
            }
        }
        let mut report = self.callers.report();
        report.sent_again += self.callees.sent_again;
        report.longest_gap = longest_gap;
        report.set_up.sort_unstable();
        report
    }

    fn wanted_at_last(&self) -> u64 {
        (self.plan.rate * self.plan.lasting.as_secs_f64()) as u64
    }

    fn begin_what_is_due(&mut self) {
        let now = Instant::now();
        let passed = now - self.start;
        let due = (self.plan.rate * passed.as_secs_f64()) as u64;
        // A generator that was held up makes up for it, but not all at once.
        for _ in 0..(due.min(self.wanted_at_last()).saturating_sub(self.begun)).min(20) {
            self.callers.begin(now);
            self.begun += 1;
        }
        if passed < self.plan.lasting {
            self.longest_gap = self.longest_gap.max(now - self.last_reply);
        }
    }

    /// Waits a little for what comes, and does what is due.
    fn turn(&mut self) {
        let mut fds = [
            PollFd::new(self.callers.socket().as_fd(), PollFlags::POLLIN),
            PollFd::new(self.callees.socket().as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, PollTimeout::from(1u8));
        let now = Instant::now();
        if self.callers.receive(now) > 0 {
            self.last_reply = now;
        }
        self.callees.receive(now);
        self.callers.tick(now);
        self.callees.tick(now);
    }
}
