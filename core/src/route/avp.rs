//! Attribute-value pairs: what a script remembers about a message and its transaction.
//!
//! `$avp(name)` is a stack of values per name, the newest first. `$xavp(root=>field)` is the same
//! with one level of named fields; `$xavu` keeps one value per name, `$xavi` compares names without
//! regard to case. All live with the message while it is routed, and with its transaction (`tm`
//! saves and restores them through [`Avps::encode`] and [`Avps::decode`]).

/// A value in an AVP.
#[derive(Debug, Clone, PartialEq)]
pub enum AvpVal {
    /// No value.
    Null,
    /// An integer.
    Int(i64),
    /// Bytes.
    Str(Vec<u8>),
    /// Fields, newest first (xavp only).
    Fields(Vec<Avp>),
}

/// One named value.
#[derive(Debug, Clone, PartialEq)]
pub struct Avp {
    /// Name; integer names are kept as `i:N`.
    pub name: Vec<u8>,
    /// Value.
    pub val: AvpVal,
}

/// A list of named values, the newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AvpList(pub Vec<Avp>);

impl AvpList {
    /// Value number `index` of `name`, 0 being the newest.
    pub fn get(&self, name: &[u8], index: usize) -> Option<&AvpVal> {
        self.0
            .iter()
            .rev()
            .filter(|a| a.name == name)
            .nth(index)
            .map(|a| &a.val)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &[u8], index: usize) -> Option<&mut AvpVal> {
        self.0
            .iter_mut()
            .rev()
            .filter(|a| a.name == name)
            .nth(index)
            .map(|a| &mut a.val)
    }

    /// Values of `name`, newest first.
    pub fn all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a AvpVal> {
        self.0
            .iter()
            .rev()
            .filter(move |a| a.name == name)
            .map(|a| &a.val)
    }

    /// Adds a value on top.
    pub fn push(&mut self, name: &[u8], val: AvpVal) {
        self.0.push(Avp {
            name: name.to_vec(),
            val,
        });
    }

    /// Replaces value `index`, or adds one where there is none.
    pub fn set(&mut self, name: &[u8], index: usize, val: AvpVal) {
        match self.get_mut(name, index) {
            Some(v) => *v = val,
            None => self.push(name, val),
        }
    }

    /// Removes value `index`; `None` removes all of the name. Returns how many went.
    pub fn remove(&mut self, name: &[u8], index: Option<usize>) -> usize {
        let before = self.0.len();
        match index {
            None => self.0.retain(|a| a.name != name),
            Some(i) => {
                let at = self
                    .0
                    .iter()
                    .enumerate()
                    .rev()
                    .filter(|(_, a)| a.name == name)
                    .nth(i)
                    .map(|(p, _)| p);
                if let Some(p) = at {
                    self.0.remove(p);
                }
            }
        }
        before - self.0.len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend((self.0.len() as u32).to_le_bytes());
        for a in &self.0 {
            put(out, &a.name);
            match &a.val {
                AvpVal::Null => out.push(0),
                AvpVal::Int(i) => {
                    out.push(1);
                    out.extend(i.to_le_bytes());
                }
                AvpVal::Str(s) => {
                    out.push(2);
                    put(out, s);
                }
                AvpVal::Fields(f) => {
                    out.push(3);
                    AvpList(f.clone()).encode(out);
                }
            }
        }
    }

    fn decode(r: &mut &[u8], depth: usize) -> Option<AvpList> {
        let n = u32::from_le_bytes(take(r, 4)?.try_into().ok()?);
        let mut list = AvpList::default();
        for _ in 0..n {
            let name = get(r)?.to_vec();
            let val = match take(r, 1)?[0] {
                0 => AvpVal::Null,
                1 => AvpVal::Int(i64::from_le_bytes(take(r, 8)?.try_into().ok()?)),
                2 => AvpVal::Str(get(r)?.to_vec()),
                3 if depth < 16 => AvpVal::Fields(AvpList::decode(r, depth + 1)?.0),
                _ => return None,
            };
            list.0.push(Avp { name, val });
        }
        Some(list)
    }
}

/// All AVPs of a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Avps {
    /// `$avp`.
    pub avp: AvpList,
    /// `$xavp`.
    pub xavp: AvpList,
    /// `$xavu`.
    pub xavu: AvpList,
    /// `$xavi`.
    pub xavi: AvpList,
}

impl Avps {
    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        self.avp.0.is_empty()
            && self.xavp.0.is_empty()
            && self.xavu.0.is_empty()
            && self.xavi.0.is_empty()
    }

    /// Forgets all, keeping the memory.
    pub fn clear(&mut self) {
        self.avp.0.clear();
        self.xavp.0.clear();
        self.xavu.0.clear();
        self.xavi.0.clear();
    }

    /// Writes all to bytes that [`Avps::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for l in [&self.avp, &self.xavp, &self.xavu, &self.xavi] {
            l.encode(&mut out);
        }
        out
    }

    /// Reads what [`Avps::encode`] wrote; `None` for anything else.
    pub fn decode(mut bytes: &[u8]) -> Option<Avps> {
        let r = &mut bytes;
        Some(Avps {
            avp: AvpList::decode(r, 0)?,
            xavp: AvpList::decode(r, 0)?,
            xavu: AvpList::decode(r, 0)?,
            xavi: AvpList::decode(r, 0)?,
        })
    }
}

fn put(out: &mut Vec<u8>, b: &[u8]) {
    out.extend((b.len() as u32).to_le_bytes());
    out.extend(b);
}

fn take<'a>(r: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = r.split_at_checked(n)?;
    *r = tail;
    Some(head)
}

fn get<'a>(r: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n = u32::from_le_bytes(take(r, 4)?.try_into().ok()?);
    take(r, n as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_comes_first() {
        let mut l = AvpList::default();
        l.push(b"x", AvpVal::Int(1));
        l.push(b"x", AvpVal::Int(2));
        assert_eq!(l.get(b"x", 0), Some(&AvpVal::Int(2)));
        l.set(b"x", 1, AvpVal::Int(9));
        assert_eq!(
            l.all(b"x").collect::<Vec<_>>(),
            [&AvpVal::Int(2), &AvpVal::Int(9)]
        );
        assert_eq!(l.remove(b"x", Some(0)), 1);
        assert_eq!(l.get(b"x", 0), Some(&AvpVal::Int(9)));
    }

    #[test]
    fn bytes_round_trip_and_garbage_is_refused() {
        let mut a = Avps::default();
        a.avp.push(b"a", AvpVal::Str(b"v".to_vec()));
        a.xavp.push(
            b"r",
            AvpVal::Fields(vec![Avp {
                name: b"f".to_vec(),
                val: AvpVal::Int(-1),
            }]),
        );
        let bytes = a.encode();
        assert_eq!(Avps::decode(&bytes), Some(a));
        for n in 0..bytes.len() {
            assert_eq!(Avps::decode(&bytes[..n]), None);
        }
    }
}
