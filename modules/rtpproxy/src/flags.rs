//! The letters that scripts give to `rtpproxy_offer()` and its like.

/// What tells the sessions of a call's branches apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Branch {
    /// Nothing.
    #[default]
    None,
    /// The first Via's branch.
    First,
    /// The second Via's branch.
    Second,
    /// The first in requests, the second in replies.
    ByKind,
    /// The value of `extra_id_pv`.
    Extra,
}

/// The letters, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// What is added to the Call-ID: `1`, `2`, `3`, `b`.
    pub branch: Branch,
    /// Options of the relay's command, in the order given: `A`, `I`, `E`, `S`, `Z20`.
    pub options: String,
    /// `l`: only where there is a session.
    pub lookup: bool,
    /// `f`: also what another relay has marked.
    pub force: bool,
    /// `r`: the address in the description is right.
    pub trust: bool,
    /// `o`: the origin's address is replaced, too.
    pub origin: bool,
    /// `c`: the session's address is replaced, also where every medium has its own.
    pub session: bool,
    /// `x`: from one address family to the other.
    pub cross: bool,
    /// `t`: all sessions of the call.
    pub whole_call: bool,
}

impl Flags {
    /// Reads the letters. Unknown ones are told to the log and left out.
    pub fn parse(text: &str) -> Flags {
        let mut f = Flags::default();
        let mut letters = text.chars().peekable();
        while let Some(l) = letters.next() {
            match l {
                '1' => f.branch = Branch::First,
                '2' => f.branch = Branch::Second,
                '3' => f.branch = Branch::ByKind,
                'b' => f.branch = Branch::Extra,
                'a' | 'A' => {
                    f.options.push('A');
                    f.trust = true;
                }
                'i' | 'I' => f.options.push('I'),
                'e' | 'E' => f.options.push('E'),
                'w' | 'W' | 's' | 'S' => f.options.push('S'),
                'l' | 'L' => f.lookup = true,
                'f' | 'F' => f.force = true,
                'r' | 'R' => f.trust = true,
                'o' | 'O' => f.origin = true,
                'c' | 'C' => f.session = true,
                'x' | 'X' => f.cross = true,
                't' | 'T' => f.whole_call = true,
                'z' | 'Z' => {
                    f.options.push('Z');
                    while let Some(d) = letters.next_if(char::is_ascii_digit) {
                        f.options.push(d);
                    }
                }
                ' ' => {}
                other => olelo_core::warn!("rtpproxy", "the flag '{other}' is unknown; left out"),
            }
        }
        f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_become_options() {
        for (text, options) in [
            ("1aiec", "AIE"),
            ("bow", "S"),
            ("z20", "Z20"),
            ("z30ie", "Z30IE"),
            ("ro", ""),
        ] {
            assert_eq!(Flags::parse(text).options, options, "{text}");
        }
        let f = Flags::parse("3frocxlt");
        assert_eq!(f.branch, Branch::ByKind);
        assert!(f.force && f.trust && f.origin && f.session && f.cross && f.lookup && f.whole_call);
        assert!(Flags::parse("a").trust);
    }
}
