//! The parts of a message that text functions work on.

use olelo_core::route::ctx::Ctx;
use olelo_sip::Span;

/// The whole message.
pub(crate) fn whole(ctx: &Ctx) -> Span {
    Span::new(ctx.msg.first_line_start(), ctx.msg.buf().len())
}

/// All but the first line.
pub(crate) fn after_first_line(ctx: &Ctx) -> Span {
    Span::new(ctx.msg.headers_start(), ctx.msg.buf().len())
}

/// The header lines.
pub(crate) fn headers(ctx: &Ctx) -> Span {
    Span::new(ctx.msg.headers_start(), ctx.msg.headers_end())
}

/// The body.
pub(crate) fn body(ctx: &Ctx) -> Span {
    ctx.msg.body_span()
}

/// Bodies of the headers of a name, chosen: `f` first, `l` last, `a` all.
pub(crate) fn header_bodies(ctx: &Ctx, name: &[u8], which: &[u8]) -> Vec<Span> {
    let mut all: Vec<Span> = ctx.msg.headers_by_text(name).map(|h| h.body).collect();
    match which.first() {
        Some(b'f') => all.truncate(1),
        Some(b'l') => all = all.pop().into_iter().collect(),
        _ => {}
    }
    all
}
