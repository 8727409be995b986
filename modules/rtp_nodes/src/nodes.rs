//! Sets of media relays: as configured, and which of them answer.
//!
//! The list is read from parameters before the forks and never changes. What changes is one shared word
//! per node: 0 where it is in use, else until when it is left alone. Words are plain atomics: two workers
//! may at worst both find out that a node is dead.

use olelo_core::timer::monotonic_ms;
use olelo_mem::words::Words;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// The word of a node that an operator has switched off.
const PERMANENT: u64 = u64::MAX;

/// How a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Over UDP.
    Udp(SocketAddr),
    /// Over a unix stream socket (rtpproxy only).
    Unix(PathBuf),
}

/// A media relay.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its number in the list, and of its shared word.
    pub number: usize,
    /// The set it belongs to.
    pub set: i64,
    /// Its number in the set.
    pub index: usize,
    /// As configured, without the weight.
    pub url: String,
    /// Its share of the calls.
    pub weight: u32,
    /// Where it is.
    pub place: Place,
}

/// Whether a node is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Up,
    /// It did not answer; left alone for this many seconds more.
    Down(u64),
    /// An operator has switched it off.
    Off,
}

/// All nodes of a module.
#[derive(Debug)]
pub struct Nodes {
    all: Vec<Node>,
    words: Words,
}

/// Reads `[set ==] url[=weight] …` and adds its nodes to a list. `default_set` is for lists without
/// one.
pub fn parse(text: &str, default_set: i64, list: &mut Vec<Node>) -> Result<(), String> {
    let (set, rest) = match text.split_once("==") {
        Some((set, rest)) => (
            set.trim()
                .parse()
                .map_err(|_| format!("\"{}\" is no number of a set", set.trim()))?,
            rest,
        ),
        None => (default_set, text),
    };
    for word in rest.split_whitespace() {
        let (url, weight) = match word.split_once('=') {
            Some((u, w)) => (
                u,
                w.parse()
                    .map_err(|_| format!("\"{w}\" is no weight, in \"{word}\""))?,
            ),
            None => (word, 1),
        };
        list.push(Node {
            number: list.len(),
            set,
            index: list.iter().filter(|n| n.set == set).count(),
            url: url.to_string(),
            weight,
            place: place(url)?,
        });
    }
    Ok(())
}

/// `udp:host:port`, `udp6:host:port`, `unix:/path` or a bare path.
fn place(url: &str) -> Result<Place, String> {
    if let Some(path) = url
        .strip_prefix("unix:")
        .or(url.starts_with('/').then_some(url))
    {
        return Ok(Place::Unix(path.into()));
    }
    let (six, rest) = match (url.strip_prefix("udp6:"), url.strip_prefix("udp:")) {
        (Some(r), _) => (true, r),
        (_, Some(r)) => (false, r),
        _ => {
            return Err(format!(
                "\"{url}\" is no place of a relay; udp:host:port, udp6:host:port or unix:/path"
            ));
        }
    };
    let (host, port) = rest
        .rsplit_once(':')
        .and_then(|(h, p)| Some((h.trim_matches(['[', ']']), p.parse::<u16>().ok()?)))
        .ok_or_else(|| format!("\"{url}\" has no port"))?;
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|e| format!("the host in \"{url}\" can't be resolved: {e}"))?
        .collect();
    found
        .iter()
        .find(|a| a.is_ipv6() == six)
        .or(found.first())
        .map(|a| Place::Udp(*a))
        .ok_or_else(|| format!("the host in \"{url}\" has no address"))
}

impl Nodes {
    /// Takes the list; main, before the forks.
    pub fn create(name: &str, all: Vec<Node>) -> Result<Nodes, String> {
        let words = Words::create(name, all.len().max(1)).map_err(|e| format!("{name}: {e}"))?;
        Ok(Nodes { all, words })
    }

    /// All of them.
    pub fn all(&self) -> &[Node] {
        &self.all
    }

    /// Those of this URL, in whatever set; all for `all`. A leading `::` is not part of the URL.
    pub fn named<'a>(&'a self, url: &str) -> Vec<&'a Node> {
        let url = url.strip_prefix("::").unwrap_or(url);
        let fits = |n: &&Node| url == "all" || n.url == url;
        self.all.iter().filter(fits).collect()
    }

    /// Whether a set of this number exists.
    pub fn has_set(&self, set: i64) -> bool {
        self.all.iter().any(|n| n.set == set)
    }

    fn word(&self, node: &Node) -> u64 {
        self.words
            .get(node.number)
            .map_or(0, |w| w.load(Ordering::Relaxed))
    }

    fn put(&self, node: &Node, v: u64) {
        if let Some(w) = self.words.get(node.number) {
            w.store(v, Ordering::Relaxed);
        }
    }

    /// Whether it is used.
    pub fn state(&self, node: &Node) -> State {
        match self.word(node) {
            0 => State::Up,
            PERMANENT => State::Off,
            until => State::Down(until.saturating_sub(monotonic_ms()).div_ceil(1000)),
        }
    }

    /// Says that it answers.
    pub fn up(&self, node: &Node) {
        self.put(node, 0);
    }

    /// Leaves it alone for this many seconds. What an operator switched off stays so.
    pub fn down(&self, node: &Node, seconds: i64) {
        if self.word(node) != PERMANENT {
            let ms = u64::try_from(seconds).unwrap_or(0) * 1000;
            self.put(node, (monotonic_ms() + ms).max(1));
        }
    }

    /// Switches it off until [`Nodes::up`] or [`Nodes::retry`].
    pub fn off(&self, node: &Node) {
        self.put(node, PERMANENT);
    }

    /// Switches it on again, though it did not answer just now.
    pub fn retry(&self, node: &Node, seconds: i64) {
        self.put(node, 0);
        self.down(node, seconds);
    }

    /// The node of the set for this hash of a Call-ID, by weight, among those that are used and
    /// that `not` does not have.
    pub fn choose(&self, set: i64, hash: u32, not: &[usize]) -> Option<&Node> {
        let usable = |n: &&Node| {
            n.set == set && n.weight > 0 && !not.contains(&n.number) && self.state(n) == State::Up
        };
        let total: u64 = self
            .all
            .iter()
            .filter(usable)
            .map(|n| u64::from(n.weight))
            .sum();
        if total == 0 {
            return None;
        }
        let mut at = u64::from(hash) % total;
        self.all.iter().filter(usable).find(|n| {
            let weight = u64::from(n.weight);
            let here = at < weight;
            at = at.saturating_sub(weight);
            here
        })
    }

    /// Nodes of the set whose time of rest is over.
    pub fn due(&self, set: i64) -> impl Iterator<Item = &Node> {
        self.all
            .iter()
            .filter(move |n| n.set == set && self.state(n) == State::Down(0))
    }

    /// Nodes of the set that did not answer.
    pub fn resting(&self, set: i64) -> impl Iterator<Item = &Node> {
        self.all
            .iter()
            .filter(move |n| n.set == set && matches!(self.state(n), State::Down(_)))
    }
}

/// How a Call-ID becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashKind {
    /// The sum of its bytes.
    Sum,
    /// SHA-1.
    Sha1,
    /// CRC-32.
    Crc32,
}

/// The number of a Call-ID, from which a node is chosen.
pub fn hash(kind: HashKind, call_id: &[u8]) -> u32 {
    match kind {
        HashKind::Sum => {
            call_id
                .iter()
                .fold(0u32, |h, b| h.wrapping_add(u32::from(*b)))
                & 0xff
        }
        HashKind::Sha1 => {
            use sha1::Digest;
            let d = sha1::Sha1::digest(call_id);
            u32::from_be_bytes([d[0], d[1], d[2], d[3]])
        }
        HashKind::Crc32 => !call_id.iter().fold(!0u32, |crc, b| {
            (0..8).fold(crc ^ u32::from(*b), |c, _| {
                if c & 1 == 1 {
                    (c >> 1) ^ 0xedb8_8320
                } else {
                    c >> 1
                }
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(text: &[&str]) -> Nodes {
        olelo_core::server::for_tests(vec![]);
        let mut list = Vec::new();
        for t in text {
            parse(t, 0, &mut list).unwrap();
        }
        // Regions have unique names.
        use std::sync::atomic::AtomicU32;
        static N: AtomicU32 = AtomicU32::new(0);
        Nodes::create(&format!("t{}", N.fetch_add(1, Ordering::Relaxed)), list).unwrap()
    }

    #[test]
    fn lists_have_sets_and_weights() {
        let n = nodes(&[
            "1 == udp:127.0.0.1:1=2 udp6:[::1]:2",
            "/run/rtp.sock",
            "unix:/x",
        ]);
        let all: Vec<_> = n.all().iter().map(|n| (n.set, n.index, n.weight)).collect();
        assert_eq!(all, [(1, 0, 2), (1, 1, 1), (0, 0, 1), (0, 1, 1)]);
        assert_eq!(n.all()[1].place, Place::Udp("[::1]:2".parse().unwrap()));
        assert_eq!(n.all()[3].place, Place::Unix("/x".into()));
        for bad in [
            "x == udp:127.0.0.1:1",
            "tcp:127.0.0.1:1",
            "udp:127.0.0.1",
            "udp:127.0.0.1:1=x",
        ] {
            assert!(parse(bad, 0, &mut Vec::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn calls_are_shared_out_by_weight() {
        let n = nodes(&["udp:127.0.0.1:1=3 udp:127.0.0.1:2=1 udp:127.0.0.1:3=0"]);
        let mut count = [0; 3];
        for h in 0..400 {
            count[n.choose(0, h, &[]).unwrap().number] += 1;
        }
        assert_eq!(count, [300, 100, 0]);
        assert_eq!(n.choose(0, 5, &[0]).unwrap().number, 1);
        assert!(n.choose(7, 5, &[]).is_none());
    }

    #[test]
    fn what_does_not_answer_rests() {
        let n = nodes(&["udp:127.0.0.1:1 udp:127.0.0.1:2"]);
        let first = &n.all()[0];
        n.down(first, 60);
        assert_eq!(n.state(first), State::Down(60));
        assert!((0..10).all(|h| n.choose(0, h, &[]).unwrap().number == 1));
        n.off(first);
        n.down(first, 1);
        assert_eq!(n.state(first), State::Off);
        n.retry(first, 0);
        assert_eq!(n.due(0).count(), 1);
        n.up(first);
        assert_eq!(n.state(first), State::Up);
    }

    #[test]
    fn hashes_are_the_known_ones() {
        assert_eq!(hash(HashKind::Crc32, b"123456789"), 0xcbf4_3926);
        assert_eq!(hash(HashKind::Sha1, b"abc"), 0xa999_3e36);
        assert_eq!(hash(HashKind::Sum, b"ab"), 195);
    }
}
