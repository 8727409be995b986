//! Text that is no script is refused or runs; it never ends the process.

use super::*;

const VALID: &str = r#"
class Point { x = 0; y = 0; constructor(a, b) { x = a; y = b } function _add(o) { return Point(x + o.x, y + o.y) } }
enum Color { red, green = 5 }
const LIMIT = 10;
function more(...) { return vargv.len() }
function route(a, b = 2) {
  local t = { name = "x", [1] = 2, f = function() { return 1 } };
  local l = [1, 2.5, "three", null, true];
  foreach (i, v in l) { if (v == 2.5) continue; t[i] <- v }
  for (local i = 0; i < LIMIT; i++) { t.name += i.tostring() }
  switch (a) { case 1: return b; case "s": break; default: a = a ? -1 : ~1 }
  try { t.f(); throw "e" } catch (e) { l.push(e) }
  local g = (function() { yield 1; yield 2 })();
  while (resume g) { break }
  do { a++ } while (a < 3 && !b || a in t);
  l.sort(@(x, y) (x + "") <=> (y + ""));
  local p = Point(1, 2) + Point(3, 4);
  return typeof p == "instance" ? p.x instanceof Point : delete t.name;
}
x <- compilestring("return 1")() ; y <- @"verbatim"; z <- 'c' + 0x1f + 1e3;
route(1); route(2, null); more(1, 2, 3, 4);
"#;

/// Small, seeded: a failure is found again by its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

fn mutated(seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut text = VALID.as_bytes().to_vec();
    for _ in 0..=dice.roll(8) {
        let at = dice.roll(text.len());
        let piece = {
            let from = dice.roll(VALID.len());
            let to = (from + dice.roll(40)).min(VALID.len());
            &VALID.as_bytes()[from..to]
        };
        match dice.roll(5) {
            0 => text[at] = dice.roll(256) as u8,
            1 => drop(text.drain(at..(at + dice.roll(20)).min(text.len()))),
            2 => drop(text.splice(at..at, piece.iter().copied())),
            3 => text.truncate(at.max(1)),
            _ => text[at] = b"(){}[]<>=+-*/%&|!?:;,.\"'@\\\n\0"[dice.roll(28)],
        }
        if text.is_empty() {
            text.push(b'x');
        }
    }
    text
}

#[test]
fn garbage_never_ends_the_process() {
    let limits = Limits {
        time_ms: 20,
        memory: 8 << 20,
    };
    Script::new(VALID);
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok());
    for seed in 1..=rounds.unwrap_or(4000u64) {
        let text = mutated(seed);
        let (s, outcome) = Script::load(&text, limits);
        assert!(
            !matches!(outcome, Outcome::Missing | Outcome::Suspended(_)),
            "{seed}: {outcome:?}"
        );
        s.machine.call("route", &["1"], &mut Ctx::new());
    }
}
