//! The best reply among legs that have all failed (RFC 3261 §16.7 step 6).
//!
//! Lower is better: any 6xx, then by class 3xx, 4xx, 5xx; within 4xx those that tell the sender how
//! to try again (401, 407, 415, 420, 484) come first; a 503 is last of the finals. Replies faked here
//! get a handicap that the operator sets (`faked_reply_prio`).

use crate::state::{Tx, leg_flag};

/// How good a status is: 0 (best) to 32000.
pub fn rank(code: u16) -> i32 {
    let code = i32::from(code);
    match code {
        600.. => code - 600,
        503 => 9_900,
        500..600 => 9_000 + code - 500,
        401 | 407 => 6_000 + code - 400,
        415 | 420 | 484 => 7_000 + code - 400,
        400..500 => 8_000 + code - 400,
        300..400 => 5_000 + code - 300,
        200..300 => code - 200,
        _ => 20_000 + code,
    }
}

/// The leg with the best final status, or none where no leg has one that counts.
pub fn choose(tx: &Tx, faked: i32) -> Option<usize> {
    tx.legs
        .iter()
        .enumerate()
        .filter(|(_, l)| !l.is_active() && !l.has(leg_flag::DROPPED) && l.code >= 200)
        .min_by_key(|(_, l)| {
            let handicap = if l.has(leg_flag::FAKED) { faked } else { 0 };
            (rank(l.code) + handicap).clamp(0, 32_000)
        })
        .map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Leg, LegState};

    fn failed(codes: &[(u16, u16)]) -> Tx {
        Tx {
            legs: codes
                .iter()
                .map(|(code, flags)| Leg {
                    code: *code,
                    flags: *flags,
                    state: LegState::Completed as u8,
                    ..Leg::default()
                })
                .collect(),
            ..Tx::default()
        }
    }

    #[test]
    fn the_choice_follows_rfc_3261_16_7() {
        const F: u16 = leg_flag::FAKED;
        for (codes, faked, want) in [
            (&[(486, 0), (404, 0)][..], 0, 404),
            (&[(486, 0), (603, 0)], 0, 603),
            (&[(500, 0), (486, 0)], 0, 486),
            (&[(404, 0), (302, 0)], 0, 302),
            (&[(400, 0), (407, 0)], 0, 407),
            (&[(407, 0), (401, 0)], 0, 401),
            (&[(404, 0), (484, 0)], 0, 484),
            (&[(503, 0), (504, 0)], 0, 504),
            (&[(408, F), (486, 0)], 0, 408),
            (&[(408, F), (486, 0)], 2000, 486),
            (&[(408, F), (503, 0)], 2000, 503),
        ] {
            let tx = failed(codes);
            let at = choose(&tx, faked).unwrap();
            assert_eq!(tx.legs[at].code, want, "{codes:?}");
        }
    }

    #[test]
    fn dropped_legs_do_not_count() {
        assert_eq!(choose(&failed(&[(404, leg_flag::DROPPED)]), 0), None);
        assert_eq!(
            choose(&failed(&[(404, leg_flag::DROPPED), (500, 0)]), 0),
            Some(1)
        );
    }
}
