//! Messages counted by method, class and status: `core:rcv_requests_invite`, `core:rcv_replies_4xx_bye`,
//! `core:rcv_replies_486` …
//!
//! The names are many and regular, so they are made once, in main, and found by index afterwards.

use super::Stat;
use olelo_sip::Method;
use std::sync::OnceLock;

/// Methods whose requests are counted, with the name in the statistic.
const REQUESTS: [(Method, &str); 15] = [
    (Method::Invite, "invite"),
    (Method::Cancel, "cancel"),
    (Method::Ack, "ack"),
    (Method::Bye, "bye"),
    (Method::Info, "info"),
    (Method::Register, "register"),
    (Method::Subscribe, "subscribe"),
    (Method::Notify, "notify"),
    (Method::Message, "message"),
    (Method::Options, "options"),
    (Method::Prack, "prack"),
    (Method::Update, "update"),
    (Method::Refer, "refer"),
    (Method::Publish, "publish"),
    (Method::Kdmq, "kdmq"),
];
/// Methods whose replies are counted by class.
const REPLIES: [(Method, &str); 9] = [
    (Method::Invite, "invite"),
    (Method::Cancel, "cancel"),
    (Method::Bye, "bye"),
    (Method::Register, "reg"),
    (Method::Message, "message"),
    (Method::Prack, "prack"),
    (Method::Update, "update"),
    (Method::Refer, "refer"),
    (Method::Options, "options"),
];
/// Statuses that are counted singly.
const STATUSES: [u16; 28] = [
    400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 413, 414, 415, 420, 480, 481, 482,
    483, 484, 485, 486, 487, 488, 489, 491, 493,
];

struct Counters {
    requests: Vec<&'static Stat>,
    classes: Vec<&'static Stat>,
    ringing: &'static Stat,
    statuses: Vec<&'static Stat>,
    /// Class by method: `[method * 6 + class - 1]`.
    both: Vec<&'static Stat>,
}

fn counters() -> &'static Counters {
    static ALL: OnceLock<Counters> = OnceLock::new();
    ALL.get_or_init(|| {
        let make = |name: String, doc: &'static str| -> &'static Stat {
            Box::leak(Box::new(Stat::counter(
                "core",
                Box::leak(name.into_boxed_str()),
                doc,
            )))
        };
        let class = |i: usize| i + 1;
        Counters {
            requests: REQUESTS
                .iter()
                .map(|(_, n)| {
                    make(
                        format!("rcv_requests_{n}"),
                        "requests of this method received",
                    )
                })
                .collect(),
            classes: (0..6)
                .map(|i| {
                    make(
                        format!("rcv_replies_{}xx", class(i)),
                        "replies of this class received",
                    )
                })
                .collect(),
            ringing: make("rcv_replies_18x".into(), "replies 180 to 189 received"),
            statuses: STATUSES
                .iter()
                .map(|s| {
                    make(
                        format!("rcv_replies_{s}"),
                        "replies of this status received",
                    )
                })
                .collect(),
            both: REPLIES
                .iter()
                .flat_map(|(_, n)| (0..6).map(move |i| (n, i)))
                .map(|(n, i)| {
                    make(
                        format!("rcv_replies_{}xx_{n}", class(i)),
                        "replies of this class to this method received",
                    )
                })
                .collect(),
        }
    })
}

/// All of them, to be registered.
pub fn all() -> Vec<&'static Stat> {
    let c = counters();
    let mut v = c.requests.clone();
    v.extend(&c.classes);
    v.push(c.ringing);
    v.extend(&c.statuses);
    v.extend(&c.both);
    v
}

/// A request was received.
pub fn count_request(method: Method) {
    if let Some(i) = REQUESTS.iter().position(|(m, _)| *m == method) {
        counters().requests[i].inc();
    }
}

/// A reply was received.
pub fn count_reply(method: Method, status: u16) {
    let c = counters();
    let class = usize::from(status / 100);
    if !(1..=6).contains(&class) {
        return;
    }
    c.classes[class - 1].inc();
    if (180..190).contains(&status) {
        c.ringing.inc();
    }
    if let Some(i) = STATUSES.iter().position(|s| *s == status) {
        c.statuses[i].inc();
    }
    if let Some(i) = REPLIES.iter().position(|(m, _)| *m == method) {
        c.both[i * 6 + class - 1].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_operators_graph() {
        let names: Vec<&str> = all().iter().map(|s| s.name).collect();
        for n in [
            "rcv_requests_invite",
            "rcv_replies_18x",
            "rcv_replies_486",
            "rcv_replies_4xx_reg",
            "rcv_replies_6xx_options",
        ] {
            assert!(names.contains(&n), "{n}");
        }
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn any_status_can_be_counted() {
        for s in [0, 99, 100, 180, 404, 486, 699, 700, u16::MAX] {
            count_reply(Method::Invite, s);
        }
        count_request(Method::Other);
    }
}
