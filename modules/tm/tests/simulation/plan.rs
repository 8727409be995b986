//! What a seed draws before it begins: the faults of its world and the calls made in it.

use crate::dice::Dice;
use olelo_core::net::Proto;

/// What goes wrong, and how often.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Datagrams lost, in a hundred.
    pub loss: u64,
    /// Datagrams that arrive twice, in a hundred.
    pub twice: u64,
    /// Shortest and longest time on the way, milliseconds.
    pub delay: (u64, u64),
    /// Events whose worker dies, in a thousand.
    pub deaths: u64,
    /// Workers that own connections are spared, so that callers on TCP miss nothing.
    pub spare_tcp: bool,
    /// Routes during which other workers go on, in a hundred.
    pub overlap: u64,
    /// Jumps of the monotonic clock: when, and by how much; milliseconds.
    pub jumps: Vec<(u64, u64)>,
    /// Times in which the server does nothing: when, and for how long; milliseconds.
    pub stalls: Vec<(u64, u64)>,
}

/// How one callee behaves.
#[derive(Debug, Clone)]
pub struct Callee {
    pub proto: Proto,
    /// Provisional replies: when, and which.
    pub provisional: Vec<(u64, u16)>,
    /// The final reply: when, and which; none for silence.
    pub last: Option<(u64, u16)>,
    /// A second 2xx with another tag, as from a proxy that forked: when after the first.
    pub second_2xx: Option<u64>,
    /// It hears nothing at all.
    pub deaf: bool,
}

/// What the script does with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Relays it.
    Relay,
    /// Replies through its transaction.
    Answer(u16),
    /// Suspends it; continued after so many milliseconds, or never.
    Suspend(Option<u64>),
}

/// One call, or one request other than INVITE.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it begins.
    pub at: u64,
    pub method: &'static str,
    pub proto: Proto,
    pub script: Script,
    /// Callees: steps of serial forking, each in parallel.
    pub steps: Vec<Vec<Callee>>,
    /// When the caller gives up.
    pub cancel_at: Option<u64>,
    /// The caller ends the call so long after its ACK.
    pub bye_after: Option<u64>,
    /// `t_set_fr`: ringing, otherwise.
    pub fr: (u64, u64),
    /// `t_newtran` comes first.
    pub newtran: bool,
    /// The script looks for a retransmission first.
    pub check_trans: bool,
    pub reply_route: bool,
    pub branch_route: bool,
    /// A failure route is set though it has nobody else to ask; what it answers.
    pub failure_reply: Option<Option<u16>>,
    /// The server itself makes the request, to the first callee.
    pub local: bool,
    /// The script sends this provisional reply itself.
    pub own_provisional: Option<u16>,
}

impl Call {
    /// All callees, numbered from 1 as [`crate::network::Peer`] has them.
    pub fn callees(&self) -> impl Iterator<Item = &Callee> {
        self.steps.iter().flatten()
    }

    /// A failure route runs when a step has failed.
    pub fn has_failure_route(&self) -> bool {
        self.steps.len() > 1 || self.failure_reply.is_some()
    }

    /// Number of the first callee of a step.
    pub fn first_of(&self, step: usize) -> usize {
        1 + self.steps[..step].iter().map(Vec::len).sum::<usize>()
    }
}

/// A world.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub faults: Faults,
    pub calls: Vec<Call>,
}

/// Callers come within this time, milliseconds.
const SPREAD: u64 = 20_000;

/// Draws the world of a seed.
pub fn draw(seed: u64) -> Plan {
    let mut d = Dice::new(seed, 1);
    let faults = Faults {
        loss: d.one(&[0, 0, 3, 15]),
        twice: d.one(&[0, 0, 5]),
        delay: d.one(&[(1, 1), (1, 20), (5, 400)]),
        deaths: d.one(&[0, 0, 5, 30, 100, 200]),
        spare_tcp: d.percent(50),
        overlap: d.one(&[0, 30]),
        jumps: some(&mut d, 20, 90_000),
        stalls: some(&mut d, 20, 8_000),
    };
    let n = d.range(2, 8);
    let calls = (0..n).map(|_| call(&mut d)).collect();
    let mut plan = Plan {
        seed,
        faults,
        calls,
    };
    if d.percent(15) {
        bare(&mut plan, &mut d);
    }
    plan
}

/// A world about one thing: replies to callers on TCP that nobody will repeat, and workers that die
/// before they have sent them.
fn bare(plan: &mut Plan, d: &mut Dice) {
    (
        plan.faults.deaths,
        plan.faults.spare_tcp,
        plan.faults.overlap,
    ) = (200, true, 0);
    for c in &mut plan.calls {
        (c.proto, c.script, c.local) = (Proto::Tcp, Script::Relay, false);
        (c.reply_route, c.branch_route, c.own_provisional) = (false, false, None);
        c.steps.truncate(1);
        c.steps[0].truncate(1);
        let callee = &mut c.steps[0][0];
        (callee.proto, callee.deaf) = (Proto::Udp, false);
        callee.last = Some((d.range(0, 2_000), d.one(&[404, 486, 603])));
    }
}

/// In so many worlds of a hundred, one or two times with a length of at most `most`.
fn some(d: &mut Dice, percent: u64, most: u64) -> Vec<(u64, u64)> {
    if !d.percent(percent) {
        return Vec::new();
    }
    (0..d.range(1, 2))
        .map(|_| (d.range(0, 60_000), d.range(100, most)))
        .collect()
}

fn proto(d: &mut Dice) -> Proto {
    if d.percent(30) {
        Proto::Tcp
    } else {
        Proto::Udp
    }
}

fn call(d: &mut Dice) -> Call {
    let method = d.one(&["INVITE", "INVITE", "INVITE", "REGISTER", "OPTIONS"]);
    let invite = method == "INVITE";
    let script = match d.range(0, 19) {
        0 => Script::Answer(d.one(&[200, 404, 486, 302])),
        1 => Script::Suspend(Some(d.range(0, 3_000))),
        2 => Script::Suspend(None),
        _ => Script::Relay,
    };
    let steps = (0..d.one(&[1, 1, 2, 3]))
        .map(|_| {
            (0..d.one(&[1, 1, 2, 3]))
                .map(|_| callee(d, invite))
                .collect()
        })
        .collect();
    Call {
        at: d.range(0, SPREAD),
        method,
        proto: proto(d),
        script,
        steps,
        cancel_at: (invite && d.percent(25)).then(|| d.range(0, 12_000)),
        bye_after: d.percent(70).then(|| d.range(0, 5_000)),
        fr: d.one(&[(0, 0), (0, 0), (6_000, 3_000)]),
        newtran: d.percent(30),
        check_trans: d.percent(30),
        reply_route: d.percent(40),
        branch_route: d.percent(30),
        failure_reply: d
            .percent(30)
            .then(|| d.percent(50).then(|| d.one(&[480, 603]))),
        local: d.percent(8),
        own_provisional: (invite && d.percent(10)).then_some(180),
    }
}

fn callee(d: &mut Dice, invite: bool) -> Callee {
    let codes: &[u16] = if invite {
        &[200, 200, 200, 200, 486, 404, 302, 500, 503, 603, 401, 408]
    } else {
        &[200, 200, 200, 401, 404, 500]
    };
    let mut provisional = Vec::new();
    if invite || d.percent(10) {
        if d.percent(70) {
            provisional.push((d.range(0, 200), 100));
        }
        if invite && d.percent(70) {
            provisional.push((d.range(50, 3_000), d.one(&[180, 183])));
        }
        if invite && d.percent(20) {
            provisional.push((d.range(3_000, 60_000), 183));
        }
    }
    let at = match d.range(0, 9) {
        0..6 => d.range(0, 4_000),
        6..9 => d.range(2_000, 30_000),
        _ => d.range(20_000, 200_000),
    };
    let at = if invite {
        at
    } else {
        at.min(d.range(0, 40_000))
    };
    let last = (!d.percent(12)).then(|| (at, d.one(codes)));
    Callee {
        proto: proto(d),
        provisional,
        second_2xx: (invite && d.percent(10)).then(|| d.range(0, 3_000)),
        deaf: d.percent(5),
        last,
    }
}
