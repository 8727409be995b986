//! What operators do with values, as Kamailio has it: the type of the left side decides, null is the
//! empty string or 0, and a string that is no number counts as 0.

use crate::program::{Arith, Relation};
use olelo_core::route::function::ScriptError;
use olelo_core::route::value::Val;
use std::borrow::Cow;
use std::cmp::Ordering;

/// As a number.
pub fn int(v: &Val<'_>) -> i64 {
    match v {
        // Blanks around a number make it none here.
        Val::Str(s) if s.first().is_some_and(u8::is_ascii_whitespace) => 0,
        v => v.as_int().unwrap_or(0),
    }
}

/// As a string.
pub fn text<'v>(v: &'v Val<'_>) -> Cow<'v, [u8]> {
    v.as_bytes().unwrap_or_default()
}

/// As a condition: any number but 0. A string counts by the number it is.
pub fn truth(v: &Val<'_>) -> bool {
    match v {
        Val::List(l) => !l.is_empty(),
        Val::Dict(d) => !d.is_empty(),
        v => int(v) != 0,
    }
}

/// Whether the relation holds.
pub fn relates(r: Relation, a: &Val<'_>, b: &Val<'_>) -> bool {
    match r {
        Relation::Eq => equal(a, b),
        Relation::StrEq => text(a) == text(b),
        Relation::IntEq => int(a) == int(b),
        Relation::Lt => int(a).cmp(&int(b)) == Ordering::Less,
        Relation::Le => int(a).cmp(&int(b)) != Ordering::Greater,
        Relation::Gt => int(a).cmp(&int(b)) == Ordering::Greater,
        Relation::Ge => int(a).cmp(&int(b)) != Ordering::Less,
    }
}

fn equal(a: &Val<'_>, b: &Val<'_>) -> bool {
    let as_strings = match (a, b) {
        (Val::Null, Val::Null) => return true,
        (Val::Null, b) => matches!(b, Val::Str(_)),
        (a, _) => matches!(a, Val::Str(_)),
    };
    if as_strings {
        text(a) == text(b)
    } else {
        int(a) == int(b)
    }
}

/// The result of an arithmetic operator. Fails on a division by 0.
pub fn calculate(op: Arith, a: &Val<'_>, b: &Val<'_>) -> Result<Val<'static>, ScriptError> {
    if op == Arith::Add {
        let strings = match (a, b) {
            (Val::Null, b) => matches!(b, Val::Str(_)),
            (a, _) => matches!(a, Val::Str(_)),
        };
        if strings {
            let mut s = text(a).into_owned();
            s.extend_from_slice(&text(b));
            return Ok(Val::from(s));
        }
    }
    let (x, y) = (int(a), int(b));
    let by_zero = |what: &str| ScriptError::new(format!("{what} by 0"));
    let shift = u32::try_from(y).unwrap_or(64);
    Ok(Val::Int(match op {
        Arith::Add => x.wrapping_add(y),
        Arith::Sub => x.wrapping_sub(y),
        Arith::Mul => x.wrapping_mul(y),
        Arith::Div => x.checked_div(y).ok_or_else(|| by_zero("division"))?,
        Arith::Mod => x
            .checked_rem(y)
            .ok_or_else(|| by_zero("remainder of a division"))?,
        Arith::Or => x | y,
        Arith::And => x & y,
        Arith::Xor => x ^ y,
        Arith::Shl => x.checked_shl(shift).unwrap_or(0),
        Arith::Shr => x.checked_shr(shift).unwrap_or(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(t: &str) -> Val<'_> {
        Val::text(t)
    }

    #[test]
    fn the_left_side_decides_how_values_compare() {
        let i = Val::Int;
        for (a, b, want) in [
            (Val::Null, Val::Null, true),
            (Val::Null, i(0), true),
            (Val::Null, i(1), false),
            (Val::Null, s(""), true),
            (Val::Null, s("x"), false),
            (s(""), Val::Null, true),
            (i(5), s("5"), true),
            (s("5"), i(5), true),
            (s("05"), i(5), false),
            (i(5), s("05"), true),
            (s("abc"), i(0), false),
            (i(0), s("abc"), true),
        ] {
            assert_eq!(relates(Relation::Eq, &a, &b), want, "{a:?} == {b:?}");
        }
        assert!(relates(Relation::Lt, &s("abc"), &i(3)));
        assert!(relates(Relation::StrEq, &i(5), &s("5")));
    }

    #[test]
    fn plus_joins_or_adds() {
        let i = Val::Int;
        for (a, b, want) in [
            (s("abc"), i(1), s("abc1")),
            (i(1), s("abc"), i(1)),
            (i(1), s("5"), i(6)),
            (s("5"), i(1), s("51")),
            (Val::Null, i(1), i(1)),
            (Val::Null, s("x"), s("x")),
            (i(5), Val::Null, i(5)),
        ] {
            assert_eq!(
                calculate(Arith::Add, &a, &b).unwrap(),
                want,
                "{a:?} + {b:?}"
            );
        }
        assert!(calculate(Arith::Div, &i(7), &i(0)).is_err());
        assert!(calculate(Arith::Div, &i(i64::MIN), &i(-1)).is_err());
        assert_eq!(calculate(Arith::Shl, &i(1), &i(70)).unwrap(), i(0));
    }

    #[test]
    fn a_string_is_true_by_its_number() {
        for (v, want) in [
            (s("abc"), false),
            (s("5"), true),
            (s("0"), false),
            (s(""), false),
            (Val::Null, false),
            (Val::Int(-1), true),
        ] {
            assert_eq!(truth(&v), want, "{v:?}");
        }
    }
}
