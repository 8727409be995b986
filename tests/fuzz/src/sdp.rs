//! Session descriptions: lines lie behind one another, media sections share them out, and the text
//! that is put together from the lines reads as the same description.

use crate::show;
use olelo_sip::Span;
use olelo_sip::sdp::Sdp;

/// See the file's essay.
pub fn target(bytes: &[u8]) {
    let Some(sdp) = Sdp::parse(bytes, Span::all(bytes)) else {
        return;
    };
    let mut at = 0;
    for l in sdp.lines() {
        assert!(at <= l.whole.at() && l.whole.to() <= bytes.len(), "lines");
        assert!(
            l.whole.contains(l.value) || l.value.is_empty(),
            "a value is on its line"
        );
        at = l.whole.to();
    }
    let mut line = sdp.session_lines().len();
    for m in sdp.media() {
        assert!(
            line <= m.first_line && m.first_line < m.end_line,
            "sections follow one another"
        );
        line = m.end_line;
        let own = sdp.media_lines(m);
        assert_eq!(own.len(), m.end_line - m.first_line);
        assert_eq!(own[0].kind, b'm');
        for span in [m.kind, m.port_text, m.protocol, m.formats] {
            assert!(own[0].whole.contains(span), "{}", show(bytes));
        }
        assert_eq!(
            show(m.port_text.of(bytes))
                .trim_start_matches('0')
                .parse()
                .unwrap_or(0),
            m.port
        );
        for f in Sdp::formats(m, bytes) {
            if let Some(codec) = sdp.codec_name(m, bytes, f) {
                assert!(sdp.has_codec(bytes, codec), "{}", show(codec));
            }
        }
        for (name, _, _) in Sdp::attributes(own, bytes) {
            assert!(sdp.has_attribute(bytes, name));
        }
    }
    assert!(line <= sdp.lines().len());
    for a in sdp.connections().chain(sdp.origin()) {
        assert!(!a.address.of(bytes).is_empty() || a.address.is_empty());
        let _ = a.is_ip(bytes);
    }
    again(bytes, &sdp);
    within(bytes);
}

/// Only its lines, and it is the same description.
fn again(bytes: &[u8], sdp: &Sdp) {
    let text: Vec<u8> = sdp
        .lines()
        .iter()
        .flat_map(|l| l.whole.of(bytes))
        .copied()
        .collect();
    let same = Sdp::parse(&text, Span::all(&text)).expect("its lines are a description");
    assert_eq!(same.lines().len(), sdp.lines().len());
    assert_eq!(same.media().len(), sdp.media().len());
    assert_eq!(same.connections().count(), sdp.connections().count());
    for (a, b) in same.lines().iter().zip(sdp.lines()) {
        assert_eq!((a.kind, a.value.of(&text)), (b.kind, b.value.of(bytes)));
    }
}

/// A description inside a larger buffer does not look around.
fn within(bytes: &[u8]) {
    let around = [b"v=0\r\nm=audio 1 X 0\r\n", bytes, b"m=video 2 X 0\r\n"].concat();
    let span = Span::new(20, 20 + bytes.len());
    let inner = Sdp::parse(&around, span).expect("as outside");
    for l in inner.lines() {
        assert!(span.contains(l.whole), "{}", show(bytes));
    }
}
