//! What `sl` counts: each reply by its code and by its class.
//!
//! `sl.stats` and the statistics of group `sl` read the same cells. A reply is counted once in the
//! cell of its own code where it has one, else in the rest of its class; the class totals are sums.

use olelo_core::rpc::{Answer, Params, Value};
use olelo_core::stats::Stat;

macro_rules! cells {
    ($($id:ident $name:literal $doc:literal;)*) => {
        $(pub(crate) static $id: Stat = Stat::counter("sl", $name, $doc);)*
        /// All statistics of the module.
        pub(crate) static ALL: &[&Stat] = &[$(&$id),*];
    };
}
cells! {
    R1XX "1xx_replies" "provisional replies sent";
    R200 "200_replies" "200 replies sent";
    R202 "202_replies" "202 replies sent";
    R2XX "2xx_replies" "other 2xx replies sent";
    R300 "300_replies" "300 replies sent";
    R301 "301_replies" "301 replies sent";
    R302 "302_replies" "302 replies sent";
    R3XX "3xx_replies" "other 3xx replies sent";
    R400 "400_replies" "400 replies sent";
    R401 "401_replies" "401 replies sent";
    R403 "403_replies" "403 replies sent";
    R404 "404_replies" "404 replies sent";
    R407 "407_replies" "407 replies sent";
    R408 "408_replies" "408 replies sent";
    R483 "483_replies" "483 replies sent";
    R4XX "4xx_replies" "other 4xx replies sent";
    R500 "500_replies" "500 replies sent";
    R5XX "5xx_replies" "other 5xx replies sent";
    R6XX "6xx_replies" "6xx replies sent";
    RXXX "xxx_replies" "replies of no known class sent";
    SENT "sent_replies" "replies sent";
    SENT_ERR "sent_err_replies" "error replies sent by sl_reply_error";
    FAILURES "failures" "replies that could not be sent";
    ACKS "received_ACKs" "ACKs absorbed";
}

/// Counts a reply that was sent.
pub(crate) fn count(code: u16) {
    SENT.inc();
    cell(code).inc();
}

fn cell(code: u16) -> &'static Stat {
    match code {
        200 => &R200,
        202 => &R202,
        300 => &R300,
        301 => &R301,
        302 => &R302,
        400 => &R400,
        401 => &R401,
        403 => &R403,
        404 => &R404,
        407 => &R407,
        408 => &R408,
        483 => &R483,
        500 => &R500,
        _ => match code / 100 {
            1 => &R1XX,
            2 => &R2XX,
            3 => &R3XX,
            4 => &R4XX,
            5 => &R5XX,
            6 => &R6XX,
            _ => &RXXX,
        },
    }
}

/// `sl.stats`.
pub(crate) fn rpc_stats(_: &Params) -> Answer {
    let shown: [(&str, &Stat); 19] = [
        ("200", &R200),
        ("202", &R202),
        ("2xx", &R2XX),
        ("300", &R300),
        ("301", &R301),
        ("302", &R302),
        ("3xx", &R3XX),
        ("400", &R400),
        ("401", &R401),
        ("403", &R403),
        ("404", &R404),
        ("407", &R407),
        ("408", &R408),
        ("483", &R483),
        ("4xx", &R4XX),
        ("500", &R500),
        ("5xx", &R5XX),
        ("6xx", &R6XX),
        ("xxx", &RXXX),
    ];
    Ok(vec![Value::Struct(
        shown
            .iter()
            .map(|(name, s)| ((*name).to_string(), Value::Int(s.get())))
            .collect(),
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_cell() {
        for (code, name) in [
            (100, "1xx_replies"),
            (200, "200_replies"),
            (204, "2xx_replies"),
            (404, "404_replies"),
            (486, "4xx_replies"),
            (503, "5xx_replies"),
            (603, "6xx_replies"),
            (777, "xxx_replies"),
        ] {
            assert_eq!(cell(code).name, name, "{code}");
        }
    }
}
