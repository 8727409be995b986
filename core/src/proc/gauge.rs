//! How full shared memory is: watermarks that main looks at, with a word in the log at each crossing.

use olelo_mem::heap;

/// Percent of use at which a line is logged; it is taken back [`BACK`] percent below.
const MARKS: [u8; 2] = [80, heap::SHORT];
const BACK: u8 = 5;
/// Milliseconds between looks.
const EVERY: u64 = 1_000;

/// What main remembers between looks.
#[derive(Default)]
pub(super) struct Gauge {
    /// How many of the marks are exceeded.
    above: usize,
    next: u64,
}

impl Gauge {
    /// Looks, if it is time to.
    pub fn look(&mut self, now: u64) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        let used = heap::level().used_percent;
        let before = self.above;
        self.above = above(before, used);
        if self.above > before {
            crate::warn!(
                "core",
                "shared memory is {used}% used, by {}{}; raise -m, or see mem.top",
                users(),
                if used >= heap::SHORT {
                    "; new work is refused with 503"
                } else {
                    ""
                }
            );
        } else if self.above < before {
            crate::notice!("core", "shared memory is {used}% used again");
        }
    }
}

/// How many marks are exceeded at this use.
fn above(before: usize, used: u8) -> usize {
    let margin = |mark: usize| if mark < before { BACK } else { 0 };
    let marks = MARKS.iter().enumerate();
    marks
        .take_while(|(i, mark)| used + margin(*i) >= **mark)
        .count()
}

fn users() -> String {
    let all = heap::usage();
    let largest = all.iter().take(3);
    let shown: Vec<String> = largest
        .map(|u| format!("{} {} KiB", u.name, u.bytes >> 10))
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_taken_back_a_little_below() {
        let mut at = 0;
        let seen: Vec<usize> = [10, 80, 79, 76, 75, 74, 91, 86, 84, 0]
            .map(|used| {
                at = above(at, used);
                at
            })
            .to_vec();
        assert_eq!(seen, [0, 1, 1, 1, 1, 0, 2, 2, 1, 0]);
    }
}
