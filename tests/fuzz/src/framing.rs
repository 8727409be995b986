//! Streams: the frames are the same in whatever pieces the bytes come.
//! The first byte of the input seeds the pieces' lengths; the rest is the stream.

use crate::show;
use olelo_sip::{Frame, Framer, Message};

const LARGEST: usize = 2048;

/// See the file's essay.
pub fn target(bytes: &[u8]) {
    let Some((seed, stream)) = bytes.split_first() else {
        return;
    };
    for lax in [false, true] {
        let whole = frames(stream, lax, |left| left);
        let single = frames(stream, lax, |_| 1);
        let mut state = u32::from(*seed) | 1;
        let pieces = frames(stream, lax, |_| {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            (state >> 16) as usize % 41 + 1
        });
        assert_eq!(whole, single, "byte by byte: {}", show(stream));
        assert_eq!(whole, pieces, "in pieces: {}", show(stream));
    }
}

/// What a connection takes from the stream, and the frame it ends with.
fn frames(
    stream: &[u8],
    lax: bool,
    mut piece: impl FnMut(usize) -> usize,
) -> Vec<(Frame, Vec<u8>)> {
    let mut framer = Framer::new(LARGEST).accept_no_content_length(lax);
    let (mut buf, mut got, mut at) = (Vec::new(), Vec::new(), 0);
    while at < stream.len() {
        let n = piece(stream.len() - at).clamp(1, stream.len() - at);
        buf.extend_from_slice(&stream[at..at + n]);
        at += n;
        loop {
            let frame = framer.next(&buf);
            match frame {
                Frame::Incomplete => break,
                Frame::KeepAlive(n) | Frame::Message(n) => {
                    assert!(n > 0 && n <= buf.len() && n <= LARGEST, "{frame:?}");
                    let taken: Vec<u8> = buf.drain(..n).collect();
                    if matches!(frame, Frame::Message(_)) {
                        whole(&taken);
                    }
                    got.push((frame, taken));
                }
                Frame::TooLarge | Frame::Bad => {
                    got.push((frame, Vec::new()));
                    return got;
                }
            }
        }
        assert!(buf.len() <= LARGEST + n, "what waits is bounded");
    }
    got
}

/// The parser sees the body where the framer saw it: nobody smuggles a message in a body.
fn whole(frame: &[u8]) {
    if let Ok(m) = Message::from_bytes(frame)
        && m.content_length().is_some()
        && !olelo_sip::framing::is_http(frame)
    {
        assert_eq!(m.body_span().to(), frame.len(), "{}", show(frame));
    }
}
