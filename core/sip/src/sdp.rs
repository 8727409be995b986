//! Session descriptions (RFC 8866) as an index of lines: enough to find and rewrite addresses and
//! ports, and to ask for media and codecs. Not a validator: unknown lines are kept and ignored.

use crate::scan::{is_ws, number, trim_span};
use crate::span::Span;
use crate::uri::HostKind;
use crate::uri::host_kind;

/// One line `k=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdpLine {
    /// The letter before `=`.
    pub kind: u8,
    /// What follows `=`, trimmed.
    pub value: Span,
    /// The line with its end.
    pub whole: Span,
}

/// A connection address: `c=` or the address of `o=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// `IP4` or `IP6`.
    pub kind: Span,
    /// The address without TTL and count.
    pub address: Span,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`…
    pub kind: Span,
    /// The port; 0 refuses the stream.
    pub port: u16,
    /// The port's digits.
    pub port_text: Span,
    /// How many ports (`port/count`).
    pub port_count: u16,
    /// `RTP/AVP`…
    pub protocol: Span,
    /// The formats, separated by spaces.
    pub formats: Span,
    /// Its own `c=`.
    pub connection: Option<Address>,
    /// Index of its `m=` line.
    pub first_line: usize,
    /// Index after its last line.
    pub end_line: usize,
}

/// A session description, indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sdp {
    lines: Vec<SdpLine>,
    media: Vec<Media>,
    origin: Option<Address>,
    connection: Option<Address>,
}

impl Sdp {
    /// Indexes the description at `span`; `None` where no line has the form `k=value`.
    pub fn parse(buf: &[u8], span: Span) -> Option<Sdp> {
        let mut sdp = Sdp::default();
        let (mut at, end) = (span.at(), span.to().min(buf.len()));
        while at < end {
            let stop = memchr::memchr(b'\n', &buf[at..end]).map_or(end, |n| at + n + 1);
            if stop - at >= 2 && buf[at + 1] == b'=' {
                let line = SdpLine {
                    kind: buf[at].to_ascii_lowercase(),
                    value: trim_span(buf, at + 2, stop),
                    whole: Span::new(at, stop),
                };
                sdp.lines.push(line);
                sdp.note(buf, &line);
            }
            at = stop;
        }
        let count = sdp.lines.len();
        if let Some(m) = sdp.media.last_mut() {
            m.end_line = count;
        }
        (count > 0).then_some(sdp)
    }

    /// All lines in order.
    pub fn lines(&self) -> &[SdpLine] {
        &self.lines
    }

    /// The media sections.
    pub fn media(&self) -> &[Media] {
        &self.media
    }

    /// The address of `o=`.
    pub fn origin(&self) -> Option<Address> {
        self.origin
    }

    /// The session's `c=`.
    pub fn connection(&self) -> Option<Address> {
        self.connection
    }

    /// The address a media section uses: its own or the session's.
    pub fn connection_of(&self, media: &Media) -> Option<Address> {
        media.connection.or(self.connection)
    }

    /// All `c=` addresses, session first.
    pub fn connections(&self) -> impl Iterator<Item = Address> {
        self.connection
            .into_iter()
            .chain(self.media.iter().filter_map(|m| m.connection))
    }

    /// Lines of the session part, before the first `m=`.
    pub fn session_lines(&self) -> &[SdpLine] {
        let end = self
            .media
            .first()
            .map_or(self.lines.len(), |m| m.first_line);
        &self.lines[..end.min(self.lines.len())]
    }

    /// Lines of one media section, its `m=` first.
    pub fn media_lines(&self, media: &Media) -> &[SdpLine] {
        self.lines
            .get(media.first_line..media.end_line)
            .unwrap_or_default()
    }

    /// Attributes (`a=name:value`) among `lines`: (name, value).
    pub fn attributes<'a>(
        lines: &'a [SdpLine],
        buf: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8], &'a SdpLine)> {
        lines.iter().filter(|l| l.kind == b'a').map(move |l| {
            let value = l.value.of(buf);
            match memchr::memchr(b':', value) {
                Some(n) => (&value[..n], &value[n + 1..], l),
                None => (value, &b""[..], l),
            }
        })
    }

    /// True where an attribute of that name is anywhere, as `sendonly` or `candidate`.
    pub fn has_attribute(&self, buf: &[u8], name: &[u8]) -> bool {
        Sdp::attributes(&self.lines, buf).any(|(n, _, _)| n.eq_ignore_ascii_case(name))
    }

    /// The payload types of a media section.
    pub fn formats<'a>(media: &Media, buf: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        media
            .formats
            .of(buf)
            .split(|b| is_ws(*b))
            .filter(|f| !f.is_empty())
    }

    /// The codec name of a payload type: from its `rtpmap`, else the static one of RFC 3551.
    pub fn codec_name<'a>(&self, media: &Media, buf: &'a [u8], payload: &[u8]) -> Option<&'a [u8]> {
        for line in self.media_lines(media) {
            let value = line.value.of(buf);
            if let Some(map) = value.strip_prefix(b"rtpmap:").filter(|_| line.kind == b'a')
                && let Some(space) = map.iter().position(|b| is_ws(*b))
                && &map[..space] == payload
            {
                let name = crate::scan::trim(&map[space..]);
                return Some(&name[..memchr::memchr(b'/', name).unwrap_or(name.len())]);
            }
        }
        let payload = number(payload)?;
        STATIC_CODECS
            .iter()
            .find(|(n, _)| *n == payload)
            .map(|(_, name)| name.as_bytes())
    }

    /// True where some media section offers the codec, by name in any case.
    pub fn has_codec(&self, buf: &[u8], name: &[u8]) -> bool {
        self.media.iter().any(|m| {
            Sdp::formats(m, buf).any(|f| {
                self.codec_name(m, buf, f)
                    .is_some_and(|n| n.eq_ignore_ascii_case(name))
            })
        })
    }

    fn note(&mut self, buf: &[u8], line: &SdpLine) {
        let index = self.lines.len() - 1;
        match line.kind {
            b'o' if self.media.is_empty() => self.origin = address(buf, line.value, 3),
            b'c' => {
                let c = address(buf, line.value, 0);
                match self.media.last_mut() {
                    Some(m) => m.connection = m.connection.or(c),
                    None => self.connection = self.connection.or(c),
                }
            }
            b'm' => {
                if let Some(m) = self.media.last_mut() {
                    m.end_line = index;
                }
                if let Some(m) = media(buf, line.value, index) {
                    self.media.push(m);
                }
            }
            _ => {}
        }
    }
}

/// The `n`-th word of a value.
fn words(buf: &[u8], value: Span) -> impl Iterator<Item = Span> {
    let mut at = value.at();
    let end = value.to();
    std::iter::from_fn(move || {
        let start = crate::scan::skip_ws(buf, at, end);
        let stop = crate::scan::find(buf, start, end, is_ws);
        at = stop;
        (stop > start).then(|| Span::new(start, stop))
    })
}

/// `IN IP4 address` beginning at the `skip`-th word.
fn address(buf: &[u8], value: Span, skip: usize) -> Option<Address> {
    let mut words = words(buf, value).skip(skip);
    words
        .next()
        .filter(|w| w.of(buf).eq_ignore_ascii_case(b"IN"))?;
    let kind = words.next()?;
    let whole = words.next()?;
    let slash = crate::scan::find(buf, whole.at(), whole.to(), |b| b == b'/');
    Some(Address {
        kind,
        address: Span::new(whole.at(), slash),
    })
}

fn media(buf: &[u8], value: Span, index: usize) -> Option<Media> {
    let mut words = words(buf, value);
    let kind = words.next()?;
    let port = words.next()?;
    let slash = crate::scan::find(buf, port.at(), port.to(), |b| b == b'/');
    let port_text = Span::new(port.at(), slash);
    let count = Span::new((slash + 1).min(port.to()), port.to());
    let protocol = words.next()?;
    Some(Media {
        kind,
        port: u16::try_from(number(port_text.of(buf))?).ok()?,
        port_text,
        port_count: number(count.of(buf))
            .and_then(|n| u16::try_from(n).ok())
            .unwrap_or(1),
        protocol,
        formats: trim_span(buf, protocol.to(), value.to()),
        connection: None,
        first_line: index,
        end_line: index + 1,
    })
}

impl Address {
    /// True where the address is written as an IP address, not a name.
    pub fn is_ip(&self, buf: &[u8]) -> bool {
        host_kind(self.address.of(buf)) != HostKind::Name
    }
}

/// Static payload types of RFC 3551 that are seen.
const STATIC_CODECS: &[(u32, &str)] = &[
    (0, "PCMU"),
    (3, "GSM"),
    (4, "G723"),
    (5, "DVI4"),
    (6, "DVI4"),
    (7, "LPC"),
    (8, "PCMA"),
    (9, "G722"),
    (10, "L16"),
    (11, "L16"),
    (12, "QCELP"),
    (13, "CN"),
    (14, "MPA"),
    (15, "G728"),
    (16, "DVI4"),
    (17, "DVI4"),
    (18, "G729"),
    (25, "CelB"),
    (26, "JPEG"),
    (28, "nv"),
    (31, "H261"),
    (32, "MPV"),
    (33, "MP2T"),
    (34, "H263"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_of_an_offer() {
        let b = b"v=0\r\no=- 1 2 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.2/127\r\nt=0 0\r\na=sendonly\r\n\
            m=audio 49170/2 RTP/AVP 0 96\r\na=rtpmap:96 opus/48000/2\r\nm=video 0 RTP/AVP 31\r\nc=IN IP6 ::1\r\n";
        let s = Sdp::parse(b, Span::all(b)).unwrap();
        assert_eq!(s.origin().unwrap().address.of(b), b"10.0.0.1");
        assert_eq!(s.connection().unwrap().address.of(b), b"10.0.0.2");
        let [audio, video] = s.media() else { panic!() };
        assert_eq!(
            (audio.port, audio.port_count, audio.port_text.of(b)),
            (49170, 2, &b"49170"[..])
        );
        assert_eq!(audio.formats.of(b), b"0 96");
        assert_eq!(s.codec_name(audio, b, b"96"), Some(&b"opus"[..]));
        assert!(s.has_codec(b, b"pcmu") && s.has_codec(b, b"H261") && !s.has_codec(b, b"G729"));
        assert!(s.has_attribute(b, b"sendonly"));
        assert_eq!(s.connection_of(video).unwrap().address.of(b), b"::1");
        assert!(s.connection_of(video).unwrap().is_ip(b));
        assert_eq!(s.connections().count(), 2);
        assert_eq!(
            (s.session_lines().len(), s.media_lines(audio).len()),
            (6, 2)
        );
        assert_eq!(Sdp::parse(b"hello", Span::new(0, 5)), None);
    }
}
