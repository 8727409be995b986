//! One tree as bytes: prefixes with their values, sorted, to be searched where they lie.
//!
//! `[type u8][reloads u32][time i64][name u16+bytes][count u32][offset u32 × count][items]`, an item
//! is `[prefix u8+bytes][value u16+bytes]`. Items are sorted by prefix; of one prefix the last loaded
//! comes first. A match is at most one binary search for each character of the number.

use std::collections::HashSet;

/// Longest prefix, bytes.
pub(crate) const LONGEST_PREFIX: usize = 63;
/// Longest value, bytes.
const LONGEST_VALUE: usize = u16::MAX as usize;

/// What the values of a tree are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// Strings.
    #[default]
    Text = 0,
    /// `destination:weight`, both integers.
    Weighted = 1,
    /// Integers.
    Int = 2,
}

impl Kind {
    pub(crate) fn from_int(n: i64) -> Result<Kind, String> {
        match n {
            0 => Ok(Kind::Text),
            1 => Ok(Kind::Weighted),
            2 => Ok(Kind::Int),
            _ => Err(format!(
                "there is no tree of type {n}; 0 has strings, 1 destination:weight, 2 integers"
            )),
        }
    }
}

/// One prefix with one value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) prefix: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// What a tree is built from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules<'a> {
    /// Characters that a prefix may have.
    pub(crate) chars: &'a [u8],
    /// A prefix may have several values.
    pub(crate) allow_duplicates: bool,
    /// A prefix that comes again is passed over.
    pub(crate) ignore_duplicates: bool,
}

/// Destination and weight of a value such as `10:5`.
pub(crate) fn weighted(value: &[u8]) -> Option<(i64, i64)> {
    let (d, w) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some((d.trim().parse().ok()?, w.trim().parse().ok()?))
}

/// Integer of a value.
pub(crate) fn integer(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Builds the bytes. The error says which prefix is wrong.
pub(crate) fn build(
    name: &str,
    kind: Kind,
    items: Vec<Item>,
    rules: &Rules<'_>,
    reloads: u32,
    now: i64,
) -> Result<Vec<u8>, String> {
    let items = checked(kind, items, rules).map_err(|e| format!("tree \"{name}\": {e}"))?;
    let mut out = vec![kind as u8];
    out.extend(reloads.to_le_bytes());
    out.extend(now.to_le_bytes());
    out.extend((name.len() as u16).to_le_bytes());
    out.extend(name.as_bytes());
    out.extend((items.len() as u32).to_le_bytes());
    let mut data = Vec::new();
    for i in &items {
        out.extend((data.len() as u32).to_le_bytes());
        data.push(i.prefix.len() as u8);
        data.extend(&i.prefix);
        data.extend((i.value.len() as u16).to_le_bytes());
        data.extend(&i.value);
    }
    out.extend(data);
    Ok(out)
}

fn checked(kind: Kind, items: Vec<Item>, rules: &Rules<'_>) -> Result<Vec<Item>, String> {
    let mut seen = HashSet::new();
    let mut kept = Vec::with_capacity(items.len());
    for i in items {
        let shown = String::from_utf8_lossy(&i.prefix).into_owned();
        if i.prefix.is_empty() || i.prefix.len() > LONGEST_PREFIX {
            return Err(format!(
                "the prefix \"{shown}\" has {} characters; 1 to {LONGEST_PREFIX} it may have",
                i.prefix.len()
            ));
        }
        if let Some(c) = i.prefix.iter().find(|c| !rules.chars.contains(c)) {
            return Err(format!(
                "the prefix \"{shown}\" has a '{}', which is not in char_list",
                char::from(*c)
            ));
        }
        let good = match kind {
            Kind::Text => i.value.len() <= LONGEST_VALUE,
            Kind::Weighted => weighted(&i.value).is_some(),
            Kind::Int => integer(&i.value).is_some(),
        };
        if !good {
            return Err(format!(
                "the value \"{}\" of the prefix \"{shown}\" is not one of a tree of type {}",
                String::from_utf8_lossy(&i.value),
                kind as u8
            ));
        }
        if !seen.insert(i.prefix.clone()) && !rules.allow_duplicates {
            if rules.ignore_duplicates {
                continue;
            }
            return Err(format!(
                "the prefix \"{shown}\" is there twice (mt_allow_duplicates, mt_ignore_duplicates)"
            ));
        }
        kept.push(i);
    }
    // Of one prefix the last comes first.
    kept.reverse();
    kept.sort_by(|a, b| a.prefix.cmp(&b.prefix));
    Ok(kept)
}

/// A tree in its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a> {
    pub(crate) kind: Kind,
    pub(crate) reloads: u32,
    pub(crate) loaded_at: i64,
    pub(crate) name: &'a [u8],
    offsets: &'a [u8],
    data: &'a [u8],
}

impl<'a> Tree<'a> {
    /// Reads the head; `None` where the bytes are no tree.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Tree<'a>> {
        let (kind, rest) = bytes.split_first()?;
        let (reloads, rest) = rest.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        let (count, rest) = rest.split_first_chunk()?;
        let (offsets, data) = rest.split_at_checked(u32::from_le_bytes(*count) as usize * 4)?;
        Some(Tree {
            kind: Kind::from_int(i64::from(*kind)).ok()?,
            reloads: u32::from_le_bytes(*reloads),
            loaded_at: i64::from_le_bytes(*time),
            name,
            offsets,
            data,
        })
    }

    /// How many values it has.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() / 4
    }

    /// Prefix and value number `i`.
    pub(crate) fn item(&self, i: usize) -> Option<(&'a [u8], &'a [u8])> {
        let at = self.offsets.get(i * 4..)?.first_chunk()?;
        let rest = self.data.get(u32::from_le_bytes(*at) as usize..)?;
        let (len, rest) = rest.split_first()?;
        let (prefix, rest) = rest.split_at_checked(usize::from(*len))?;
        let (len, rest) = rest.split_first_chunk()?;
        Some((prefix, rest.get(..usize::from(u16::from_le_bytes(*len)))?))
    }

    /// All items in order.
    pub(crate) fn items(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let tree = *self;
        (0..tree.len()).map_while(move |i| tree.item(i))
    }

    /// Nodes that a tree of one node per character has.
    pub(crate) fn nodes(&self) -> usize {
        let mut last: &[u8] = b"";
        let mut nodes = 0;
        for (prefix, _) in self.items() {
            let common = prefix.iter().zip(last).take_while(|(a, b)| a == b).count();
            nodes += prefix.len() - common;
            last = prefix;
        }
        nodes
    }

    /// The items whose prefix `number` begins with, the shortest first. Empty also where a character
    /// that no prefix may have stands where the search still goes on.
    pub(crate) fn matches(&self, number: &[u8], chars: &[u8]) -> Vec<Item> {
        let mut found = Vec::new();
        for len in 1..=number.len().min(LONGEST_PREFIX) {
            if !chars.contains(&number[len - 1]) {
                return Vec::new();
            }
            let part = &number[..len];
            let mut at = self.first_not_before(part);
            let deeper = self.item(at).is_some_and(|(p, _)| p.starts_with(part));
            if !deeper {
                break;
            }
            while let Some((prefix, value)) = self.item(at).filter(|(p, _)| *p == part) {
                found.push(Item {
                    prefix: prefix.to_vec(),
                    value: value.to_vec(),
                });
                at += 1;
            }
            // Nothing lies below: what follows in the number does not matter.
            if !self.item(at).is_some_and(|(p, _)| p.starts_with(part)) {
                break;
            }
        }
        found
    }

    fn first_not_before(&self, part: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let mid = (low + high) / 2;
            match self.item(mid) {
                Some((p, _)) if p < part => low = mid + 1,
                _ => high = mid,
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item(p: &str, v: &str) -> Item {
        Item {
            prefix: p.into(),
            value: v.into(),
        }
    }

    const DIGITS: &[u8] = b"0123456789";

    fn rules(allow: bool, ignore: bool) -> Rules<'static> {
        Rules {
            chars: DIGITS,
            allow_duplicates: allow,
            ignore_duplicates: ignore,
        }
    }

    fn values(bytes: &[u8], number: &str) -> Vec<String> {
        let t = Tree::read(bytes).unwrap();
        t.matches(number.as_bytes(), DIGITS)
            .into_iter()
            .map(|i| String::from_utf8(i.value).unwrap())
            .collect()
    }

    #[test]
    fn numbers_match_as_in_the_original() {
        let items = vec![
            item("12", "v12"),
            item("123", "v123"),
            item("1234", "v1234"),
            item("12", "dup12"),
            item("99", "x"),
        ];
        let b = build("a", Kind::Text, items, &rules(true, false), 3, 77).unwrap();
        for (number, want) in [
            ("1234567", "dup12,v12,v123,v1234"),
            ("125", "dup12,v12"),
            ("99", "x"),
            ("1", ""),
            ("98", ""),
            ("12x4", ""),
            ("1234x", "dup12,v12,v123,v1234"),
            ("", ""),
            ("x", ""),
        ] {
            assert_eq!(values(&b, number).join(","), want, "{number}");
        }
        let t = Tree::read(&b).unwrap();
        assert_eq!(
            (t.kind, t.reloads, t.loaded_at, t.name, t.len(), t.nodes()),
            (Kind::Text, 3, 77, &b"a"[..], 5, 6)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let two = || vec![item("1", "a"), item("1", "b")];
        assert!(
            build("t", Kind::Text, two(), &rules(false, false), 0, 0)
                .unwrap_err()
                .contains("twice")
        );
        let b = build("t", Kind::Text, two(), &rules(false, true), 0, 0).unwrap();
        assert_eq!(values(&b, "1"), ["a"]);
        for (kind, i, part) in [
            (Kind::Text, item("", "v"), "0 characters"),
            (Kind::Text, item(&"1".repeat(64), "v"), "64 characters"),
            (Kind::Text, item("1+", "v"), "'+'"),
            (Kind::Int, item("1", "v"), "type 2"),
            (Kind::Weighted, item("1", "7"), "type 1"),
        ] {
            let e = build("t", kind, vec![i.clone()], &rules(false, false), 0, 0).unwrap_err();
            assert!(e.contains(part) && e.contains("tree \"t\""), "{i:?}: {e}");
        }
        assert_eq!(
            (
                weighted(b"10:5"),
                weighted(b"10"),
                integer(b" 7 "),
                integer(b"x")
            ),
            (Some((10, 5)), None, Some(7), None)
        );
    }

    proptest! {
        #[test]
        fn a_tree_finds_what_a_list_finds(prefixes in proptest::collection::hash_set("[0-3]{1,5}", 0..40), number in "[0-3]{0,8}") {
            let items: Vec<Item> = prefixes.iter().map(|p| item(p, p)).collect();
            let b = build("t", Kind::Text, items, &rules(false, false), 0, 0).unwrap();
            let mut want: Vec<String> = prefixes.iter().filter(|p| number.starts_with(p.as_str())).cloned().collect();
            want.sort_by_key(String::len);
            prop_assert_eq!(values(&b, &number), want);
        }

        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..80), number in "[0-9]{0,5}") {
            if let Some(t) = Tree::read(&bytes).filter(|t| t.len() < 1000) {
                t.matches(number.as_bytes(), DIGITS);
                t.nodes();
            }
        }
    }
}
