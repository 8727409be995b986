//! What a transaction remembers besides its messages: route names, AVPs, edits, URIs.
//!
//! A list of (tag, length, bytes) in one blob; what is empty takes no room. Reading one value walks
//! a handful of entries, so the hot path (is there a reply route?) decodes nothing else.

use olelo_core::route::ctx::{Branch, Ctx};
use olelo_sip::edit::Edits;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Attr {
    /// Failure route.
    OnFailure = 1,
    /// Branch failure route.
    OnBranchFailure,
    /// Branch route.
    OnBranch,
    /// Reply route.
    OnReply,
    /// Edits of the request.
    Edits,
    /// AVPs.
    Avps,
    /// Request URI at relaying.
    NewUri,
    /// Destination URI.
    DstUri,
    /// Path.
    Path,
    /// Socket asked for.
    Socket,
    /// Unique id of the contact.
    Ruid,
    /// Instance of the contact.
    Instance,
    /// User-Agent of the contact.
    UserAgent,
    /// reg-id of the contact.
    RegId,
    /// Branch flags.
    Bflags,
    /// Who is told of the end of a local request: module and its data.
    Notify,
    /// Where a leg goes on to where its place fails, see `failover`.
    Places,
}

/// Adds a value; an empty one is left out.
pub fn put(out: &mut Vec<u8>, what: Attr, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(what as u8);
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }
}

/// The value, if it is there.
pub fn get(blob: &[u8], what: Attr) -> Option<&[u8]> {
    let mut rest = blob;
    while let Some((tag, tail)) = rest.split_first() {
        let (len, tail) = tail.split_at_checked(4)?;
        let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
        let (value, tail) = tail.split_at_checked(len)?;
        if *tag == what as u8 {
            return Some(value);
        }
        rest = tail;
    }
    None
}

/// The value as text.
pub fn text(blob: &[u8], what: Attr) -> Option<&str> {
    std::str::from_utf8(get(blob, what)?).ok()
}

/// The blob with one value replaced (removed, where empty).
pub fn with(blob: &[u8], what: Attr, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blob.len() + bytes.len() + 8);
    let mut rest = blob;
    while let Some((tag, tail)) = rest.split_first() {
        let Some((len, tail)) = tail.split_at_checked(4) else {
            break;
        };
        let n = u32::from_le_bytes(len.try_into().unwrap_or_default()) as usize;
        let Some((_, tail)) = tail.split_at_checked(n) else {
            break;
        };
        if *tag != what as u8 {
            out.extend_from_slice(&rest[..5 + n]);
        }
        rest = tail;
    }
    put(&mut out, what, bytes);
    out
}

/// Writes what routing has decided about the request in `ctx`: what a failure route finds again.
pub fn put_ctx(out: &mut Vec<u8>, ctx: &Ctx) {
    if !ctx.edits.is_empty() {
        let mut edits = Vec::with_capacity(256);
        ctx.edits.encode(&mut edits);
        put(out, Attr::Edits, &edits);
    }
    if !ctx.avps.is_empty() {
        put(out, Attr::Avps, &ctx.avps.encode());
    }
    put(
        out,
        Attr::NewUri,
        ctx.new_uri.as_deref().unwrap_or_default(),
    );
    put(
        out,
        Attr::DstUri,
        ctx.dst_uri.as_deref().unwrap_or_default(),
    );
    put(out, Attr::Path, ctx.path.as_deref().unwrap_or_default());
    if let Some(s) = ctx.send_socket {
        put(out, Attr::Socket, &s.0.to_le_bytes());
    }
    if ctx.bflags != 0 {
        put(out, Attr::Bflags, &ctx.bflags.to_le_bytes());
    }
    put_contact(out, &ctx.contact);
}

/// Writes what is known of the contact that a leg goes to.
pub fn put_contact(out: &mut Vec<u8>, c: &Branch) {
    put(out, Attr::Ruid, &c.ruid);
    put(out, Attr::Instance, &c.instance);
    put(out, Attr::UserAgent, &c.user_agent);
    if c.reg_id != 0 {
        put(out, Attr::RegId, &c.reg_id.to_le_bytes());
    }
}

/// Restores what [`put_ctx`] wrote.
pub fn restore(blob: &[u8], ctx: &mut Ctx) {
    if let Some(e) = get(blob, Attr::Edits).and_then(Edits::decode) {
        ctx.edits = e;
    }
    restore_avps(blob, ctx);
    let own = |what| get(blob, what).map(<[u8]>::to_vec);
    ctx.new_uri = own(Attr::NewUri);
    ctx.dst_uri = own(Attr::DstUri);
    ctx.path = own(Attr::Path);
    ctx.send_socket = get(blob, Attr::Socket)
        .and_then(|b| b.try_into().ok())
        .map(|b| olelo_core::net::SocketId(u16::from_le_bytes(b)));
    ctx.bflags = number(blob, Attr::Bflags);
    ctx.contact = contact(blob);
}

/// Restores the AVPs.
pub fn restore_avps(blob: &[u8], ctx: &mut Ctx) {
    if let Some(a) = get(blob, Attr::Avps).and_then(olelo_core::route::avp::Avps::decode) {
        ctx.avps = a;
    }
}

/// What is known of the contact that a leg goes to.
pub fn contact(blob: &[u8]) -> Branch {
    let own = |what| get(blob, what).unwrap_or_default().to_vec();
    Branch {
        ruid: own(Attr::Ruid),
        instance: own(Attr::Instance),
        user_agent: own(Attr::UserAgent),
        reg_id: number(blob, Attr::RegId),
        ..Branch::default()
    }
}

fn number(blob: &[u8], what: Attr) -> u32 {
    get(blob, what)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_replaced_and_removed() {
        let mut b = Vec::new();
        put(&mut b, Attr::OnReply, b"r");
        put(&mut b, Attr::OnBranch, b"");
        put(&mut b, Attr::OnFailure, b"fail");
        assert_eq!(text(&b, Attr::OnReply), Some("r"));
        assert_eq!(get(&b, Attr::OnBranch), None);
        let b = with(&b, Attr::OnReply, b"other");
        assert_eq!(text(&b, Attr::OnReply), Some("other"));
        assert_eq!(text(&b, Attr::OnFailure), Some("fail"));
        let b = with(&b, Attr::OnFailure, b"");
        assert_eq!(get(&b, Attr::OnFailure), None);
        for n in 0..b.len() {
            let _ = get(&b[..n], Attr::Avps);
        }
    }

    #[test]
    fn a_context_comes_back() {
        let mut ctx = Ctx::new();
        ctx.new_uri = Some(b"sip:n@h".to_vec());
        ctx.bflags = 7;
        ctx.contact.ruid = b"uloc-1".to_vec();
        ctx.edits.append_header(b"X: 1\r\n");
        let mut blob = Vec::new();
        put_ctx(&mut blob, &ctx);
        let mut again = Ctx::new();
        restore(&blob, &mut again);
        assert_eq!(again.new_uri, ctx.new_uri);
        assert_eq!(again.bflags, 7);
        assert_eq!(again.contact, ctx.contact);
        assert_eq!(again.edits, ctx.edits);
        assert_eq!(again.dst_uri, None);
    }
}
