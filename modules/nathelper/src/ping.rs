//! Keepalives: a process that walks the registered contacts once per `natping_interval`, a share of
//! the table each second, and sends four zero bytes or a SIP request to each that wants it.
//!
//! A SIP request carries the contact's unique id and the hash of its address of record in its From
//! tag; so a reply, by whatever worker it is received, leads to the contact, whose time of last
//! keepalive it sets. A contact that answers for `keepalive_timeout` no request is removed.

use crate::*;
use olelo_core::hooks::ReplyVerdict;
use olelo_core::net::{self, Dst, target};
use olelo_core::route::module::ExtraProcess;
use olelo_core::server::server;
use olelo_ipc::signals::stopping;
use olelo_mem::words::Words;
use olelo_sip::build::{LocalRequest, local_request};
use olelo_usrloc::{Contact, Record, store};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

static ENABLED: OnceLock<Words> = OnceLock::new();

/// Makes the switch; main, before the forks.
pub fn init() -> Result<(), String> {
    let words = Words::create("nathelper", 1).map_err(|e| format!("nathelper: {e}"))?;
    if let Some(w) = words.get(0) {
        w.store(1, Ordering::Relaxed);
    }
    let _ = ENABLED.set(words);
    Ok(())
}

/// Switches keepalives on and off (`nathelper.enable_ping`).
pub fn enable(on: bool) {
    if let Some(w) = ENABLED.get().and_then(|w| w.get(0)) {
        w.store(u64::from(on), Ordering::Relaxed);
    }
}

/// The pinging processes.
pub fn processes() -> Vec<ExtraProcess> {
    if NATPING_INTERVAL.get() <= 0 && olelo_usrloc::KA_MODE.get() == 0 {
        return Vec::new();
    }
    (0..NATPING_PROCESSES.get().clamp(1, 16) as usize)
        .map(|index| ExtraProcess {
            description: format!("nathelper pinger {index}"),
            run,
            index,
            routes: false,
        })
        .collect()
}

fn run(index: usize) {
    let all = store::bucket_count();
    let processes = NATPING_PROCESSES.get().clamp(1, 16) as u32;
    let interval = match NATPING_INTERVAL.get() {
        n if n > 0 => n,
        _ => olelo_usrloc::KA_INTERVAL.get(),
    }
    .clamp(1, 86_400) as u32;
    let share = all.div_ceil(interval);
    let mut next = 0;
    loop {
        // In short naps: the end of the server shall not wait for this process.
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(250));
            if stopping() {
                return;
            }
        }
        let on = ENABLED
            .get()
            .and_then(|w| w.get(0))
            .is_none_or(|w| w.load(Ordering::Relaxed) != 0);
        for _ in 0..share {
            if on && next % processes == index as u32 {
                for t in olelo_usrloc::tables() {
                    store::for_bucket(next, Some(t), &mut |r| ping_record(t, r));
                }
            }
            next = (next + 1) % all.max(1);
        }
    }
}

fn ping_record(table: &'static olelo_usrloc::Table, r: &Record) {
    let now = olelo_usrloc::now();
    let timeout = match KEEPALIVE_TIMEOUT.get() {
        0 => olelo_usrloc::KA_TIMEOUT.get(),
        t => t,
    };
    let silent = |c: &Contact<'_>| {
        timeout > 0 && wanted(c) == Ping::Sip && c.last_keepalive.max(c.modified) + timeout < now
    };
    for c in r.valid(now) {
        if silent(&c) {
            continue;
        }
        match wanted(&c) {
            Ping::None => {}
            Ping::Bytes => send(&c, &[0; 4]),
            Ping::Sip => {
                if let Some(dst) = destination(&c) {
                    let request = request(r.aor(), &c, &dst);
                    let _ = net::send(&dst, &request);
                }
            }
        }
    }
    if r.contacts().any(|c| silent(&c))
        && let Err(e) = table.remove(r.aor(), silent)
    {
        olelo_core::error!(
            "nathelper",
            "a contact that answers no keepalive stays: {e}"
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    None,
    Bytes,
    Sip,
}

/// What a contact gets.
fn wanted(c: &Contact<'_>) -> Ping {
    let flag = |n: i64| (0..32).contains(&n) && c.cflags & 1 << n != 0;
    let udp = c
        .socket
        .and_then(|s| server().sockets.get(s))
        .is_none_or(|l| l.proto == Proto::Udp);
    let natted = flag(olelo_usrloc::NAT_BFLAG.get());
    if flag(NATPING_DISABLE_BFLAG.get())
        || FILTER_SERVER_ID.is_on() && i64::from(c.server_id) != server().config.server_id
    {
        return Ping::None;
    }
    let ka = olelo_usrloc::KA_MODE.get();
    if ka != 0 {
        let takes = (ka & 1 != 0 || ka & 2 != 0 && natted || ka & 3 == 0) && (ka & 4 == 0 || udp);
        return if takes { Ping::Sip } else { Ping::None };
    }
    if PING_NATED_ONLY.is_on() && !natted {
        return Ping::None;
    }
    let sip = SIPPING_FROM.get().is_some()
        && SIPPING_BFLAG.get() >= 0
        && (flag(SIPPING_BFLAG.get()) || !PING_NATED_ONLY.is_on());
    match (sip, udp) {
        (true, _) => Ping::Sip,
        (false, true) => Ping::Bytes,
        (false, false) => Ping::None,
    }
}

fn destination(c: &Contact<'_>) -> Option<Dst> {
    let hop = if c.path.is_empty() || IGNORE_PATH.is_on() {
        c.target()
    } else {
        let first = olelo_sip::NameAddr::parse(c.path, olelo_sip::Span::all(c.path)).ok()?;
        first.uri_text(c.path)
    };
    let forced = FORCE_SOCKET
        .get()
        .or(NATPING_SOCKET.get())
        .and_then(|s| server().sockets.find(s))
        .map(|l| l.id);
    let mut dst = target::resolve(hop, forced.or(c.socket), c.socket).ok()?;
    dst.conn = c.conn;
    Some(dst)
}

fn send(c: &Contact<'_>, bytes: &[u8]) {
    // Only over UDP: on a connection four zero bytes would be garbage.
    if let Some(dst) = destination(c).filter(|d| d.proto == Proto::Udp) {
        let _ = net::send(&dst, bytes);
    }
}

fn request(aor: &[u8], c: &Contact<'_>, dst: &Dst) -> Vec<u8> {
    let (from, method) = match olelo_usrloc::KA_MODE.get() {
        0 => (SIPPING_FROM.text(), SIPPING_METHOD.text()),
        _ => (olelo_usrloc::KA_FROM.text(), olelo_usrloc::KA_METHOD.text()),
    };
    let micros = micros();
    let tag = format!(
        "{}-{:x}-{micros:x}",
        String::from_utf8_lossy(c.ruid),
        store::aor_hash(aor)
    );
    let from = format!("<{from}>;tag={tag}");
    let to = [b"<", c.uri, b">"].concat();
    let via = net::reply::via_value(&olelo_core::route::ctx::Ctx::new(), dst, "z9hG4bKnat");
    let call_id = format!("{tag}@nathelper");
    let route = match (c.path.is_empty(), IGNORE_PATH.is_on()) {
        (false, false) => [b"Route: ", c.path, b"\r\n"].concat(),
        _ => Vec::new(),
    };
    let mut out = Vec::with_capacity(512);
    local_request(
        &LocalRequest {
            method: method.as_bytes(),
            ruri: c.uri,
            to: &to,
            from: from.as_bytes(),
            call_id: call_id.as_bytes(),
            cseq: 1,
            via: &via,
            headers: &route,
            body: b"",
        },
        &mut out,
    );
    out
}

/// Hook of replies: takes those to our keepalives.
pub fn on_reply(ctx: &mut olelo_core::route::ctx::Ctx) -> ReplyVerdict {
    let ours = ctx
        .msg
        .call_id()
        .is_some_and(|c| c.ends_with(b"@nathelper"))
        && ctx.msg.via(1).is_none();
    let Some((ruid, hash, sent)) = ctx.msg.from_tag().filter(|_| ours).and_then(read_tag) else {
        return ReplyVerdict::Pass;
    };
    let took = micros().saturating_sub(sent).min(u64::from(u32::MAX)) as u32;
    let now = olelo_usrloc::now();
    for t in olelo_usrloc::tables() {
        let Some(record) = t.by_ruid(hash, &ruid) else {
            continue;
        };
        let _ = t.update(record.aor(), |old| {
            Some(
                old.contacts()
                    .map(|mut c| {
                        if c.ruid == ruid {
                            (c.last_keepalive, c.roundtrip) = (now, took);
                        }
                        c
                    })
                    .collect(),
            )
        });
    }
    ReplyVerdict::Taken
}

/// `ruid-hash-micros`.
fn read_tag(tag: &[u8]) -> Option<(Vec<u8>, u32, u64)> {
    let text = std::str::from_utf8(tag).ok()?;
    let mut parts = text.rsplitn(3, '-');
    let (sent, hash, ruid) = (parts.next()?, parts.next()?, parts.next()?);
    Some((
        ruid.as_bytes().to_vec(),
        u32::from_str_radix(hash, 16).ok()?,
        u64::from_str_radix(sent, 16).ok()?,
    ))
}

fn micros() -> u64 {
    olelo_core::timer::wall().as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_leads_back_to_its_contact() {
        assert_eq!(
            read_tag(b"uloc-6b-19b0-3-dd7f25d6-ff"),
            Some((b"uloc-6b-19b0-3".to_vec(), 0xdd7f_25d6, 255))
        );
        assert_eq!(read_tag(b"as6b2"), None);
        assert_eq!(read_tag(b"a-zz-1"), None);
    }
}
