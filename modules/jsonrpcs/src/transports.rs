//! FIFO and datagram socket, each served by a process of its own.
//!
//! A FIFO request is one JSON object; its member `reply_name` names a FIFO in `fifo_reply_dir` that
//! the answer is written to, if a reader has it open. Neither process ever waits for a client: an
//! answer that a FIFO's reader takes slowly is written as it is taken, beside other requests; one
//! that a datagram socket has no room for is dropped.

use super::*;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, UnixAddr, sendto};
use nix::sys::stat::Mode;
use olelo_core::log::Seldom;
use olelo_core::proc::owner;
use olelo_core::route::module::ExtraProcess;
use olelo_core::stats::Stat;
use olelo_ipc::signals::stopping;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Largest request.
const LARGEST: usize = 65_535;

/// Answers that nobody took.
pub static LOST: Stat = Stat::counter(
    "jsonrpcs",
    "lost_answers",
    "answers to control commands that the client did not take",
);

enum Datagram {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

static DATAGRAM: OnceLock<Datagram> = OnceLock::new();
static FIFO: OnceLock<std::fs::File> = OnceLock::new();

fn on(bit: i64) -> bool {
    let t = TRANSPORT.get();
    t == 0 || t & bit != 0
}

/// Opens what the parameters ask for; main, before the forks.
pub fn init() -> Result<(), String> {
    if !olelo_core::server().serves {
        return Ok(());
    }
    if let Some(name) = FIFO_NAME.get().filter(|_| on(2)) {
        let path = owner::run_path(name);
        let fail = |e: std::io::Error| format!("can't make the FIFO {}: {e}", path.display());
        make_dir(&path)?;
        let _ = std::fs::remove_file(&path);
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).map_err(|e| fail(e.into()))?;
        std::fs::set_permissions(
            &path,
            std::fs::Permissions::from_mode(FIFO_MODE.get() as u32 & 0o777),
        )
        .map_err(fail)?;
        owner::give(&path, FIFO_USER.get(), FIFO_GROUP.get())?;
        // Open for writing too, so that the last writer's end is no end of file for us.
        let f = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(&path)
            .map_err(fail)?;
        let _ = FIFO.set(f);
    }
    if let Some(name) = DGRAM_SOCKET.get().filter(|_| on(4)) {
        let d = match name.strip_prefix("udp:") {
            Some(addr) => {
                let s = UdpSocket::bind(addr)
                    .map_err(|e| format!("can't take commands at {name}: {e}"))?;
                let _ = s.set_read_timeout(Some(Duration::from_secs(1)));
                Datagram::Udp(s)
            }
            None => {
                let path = owner::run_path(name);
                let fail =
                    |e: std::io::Error| format!("can't take commands at {}: {e}", path.display());
                make_dir(&path)?;
                let _ = std::fs::remove_file(&path);
                let s = UnixDatagram::bind(&path).map_err(fail)?;
                s.set_read_timeout(Some(Duration::from_secs(1)))
                    .map_err(fail)?;
                std::fs::set_permissions(
                    &path,
                    std::fs::Permissions::from_mode(DGRAM_MODE.get() as u32 & 0o777),
                )
                .map_err(fail)?;
                owner::give(&path, DGRAM_USER.get(), DGRAM_GROUP.get())?;
                Datagram::Unix(s)
            }
        };
        let _ = DATAGRAM.set(d);
    }
    Ok(())
}

fn make_dir(p: &Path) -> Result<(), String> {
    match p.parent() {
        Some(d) => std::fs::create_dir_all(d)
            .map_err(|e| format!("can't make the directory {}: {e}", d.display())),
        None => Ok(()),
    }
}

/// The processes that serve what is open.
pub fn processes() -> Vec<ExtraProcess> {
    let mut v = Vec::new();
    if FIFO.get().is_some() {
        v.push(ExtraProcess {
            description: "JSONRPC-S FIFO".into(),
            run: |_| serve_fifo(),
            index: 0,
            routes: false,
        });
    }
    if DATAGRAM.get().is_some() {
        for i in 0..DGRAM_WORKERS.get().clamp(1, 16) as usize {
            v.push(ExtraProcess {
                description: "JSONRPC-S DATAGRAM".into(),
                run: |_| serve_datagrams(),
                index: i,
                routes: false,
            });
        }
    }
    v
}

/// Removes the files; when the server ends.
pub fn remove() {
    for (name, open) in [
        (FIFO_NAME.get(), FIFO.get().is_some()),
        (DGRAM_SOCKET.get(), DATAGRAM.get().is_some()),
    ] {
        if let Some(n) = name.filter(|n| open && !n.starts_with("udp:")) {
            let _ = std::fs::remove_file(owner::run_path(n));
        }
    }
}

fn serve_datagrams() {
    let Some(d) = DATAGRAM.get() else { return };
    let mut buf = vec![0u8; LARGEST];
    while !stopping() {
        match d {
            Datagram::Unix(s) => {
                let Ok((n, from)) = s.recv_from(&mut buf) else {
                    continue;
                };
                if let (Some(path), Some((_, text))) = (from.as_pathname(), answer(&buf[..n])) {
                    send_unix(s, text.as_bytes(), path);
                }
            }
            Datagram::Udp(s) => {
                let Ok((n, from)) = s.recv_from(&mut buf) else {
                    continue;
                };
                if let Some((_, text)) = answer(&buf[..n]) {
                    let _ = s.send_to(text.as_bytes(), from);
                }
            }
        }
    }
}

fn send_unix(s: &UnixDatagram, text: &[u8], to: &Path) {
    let sent =
        UnixAddr::new(to).and_then(|a| sendto(s.as_raw_fd(), text, &a, MsgFlags::MSG_DONTWAIT));
    if let Err(e) = sent {
        lost(&format!("can't answer {}: {e}", to.display()));
    }
}

/// Counts an answer that nobody took; a client can cause it at will, so the log has it seldom.
fn lost(why: &str) {
    static SAID: Seldom = Seldom::new();
    LOST.inc();
    if let Some(held) = SAID.pass() {
        olelo_core::warn!("jsonrpcs", "{why} ({held} more lately)");
    }
}

/// An answer that its reader has not taken yet.
struct Unread {
    fifo: std::fs::File,
    text: Vec<u8>,
    until: Instant,
}

/// Most answers that wait for their readers.
const MOST_UNREAD: usize = 64;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(5);

fn serve_fifo() {
    let Some(mut fifo) = FIFO.get() else { return };
    let mut input: Vec<u8> = Vec::new();
    let mut unread: Vec<Unread> = Vec::new();
    let mut buf = [0u8; 4096];
    while !stopping() {
        let asked = wait(fifo, &unread);
        unread.retain_mut(Unread::goes_on);
        if !asked {
            // What did not become a whole request in a second never will.
            if unread.is_empty() {
                input.clear();
            }
            continue;
        }
        match fifo.read(&mut buf) {
            Ok(n) => input.extend_from_slice(&buf[..n]),
            Err(_) => continue,
        }
        loop {
            match first_object(&input) {
                First::Whole(end) => {
                    let request: Vec<u8> = input.drain(..end).collect();
                    reply_to_fifo(&request, &mut unread);
                }
                First::Junk(end) => drop(input.drain(..end)),
                First::Part => break,
            }
        }
        if input.len() > LARGEST {
            input.clear();
        }
    }
}

/// Waits for a request or for a reader that takes more, at most a second. True for a request.
fn wait(fifo: &std::fs::File, unread: &[Unread]) -> bool {
    let mut fds: Vec<PollFd<'_>> = std::iter::once(PollFd::new(fifo.as_fd(), PollFlags::POLLIN))
        .chain(
            unread
                .iter()
                .map(|u| PollFd::new(u.fifo.as_fd(), PollFlags::POLLOUT)),
        )
        .collect();
    let _ = poll(&mut fds, 1000u16);
    fds[0].revents().is_some_and(|r| !r.is_empty())
}

/// What stands at the start of the input.
#[derive(Debug, PartialEq)]
enum First {
    /// A JSON object of this length, blanks before it included.
    Whole(usize),
    /// This much that is no JSON: a line, or all.
    Junk(usize),
    /// The beginning of an object.
    Part,
}

fn first_object(b: &[u8]) -> First {
    let mut stream = serde_json::Deserializer::from_slice(b).into_iter::<serde_json::Value>();
    match stream.next() {
        None => First::Part,
        Some(Ok(_)) => First::Whole(stream.byte_offset()),
        Some(Err(e)) if e.is_eof() => First::Part,
        Some(Err(_)) => {
            let line = b.iter().position(|c| *c == b'\n');
            First::Junk(line.map_or(b.len(), |n| n + 1))
        }
    }
}

fn reply_to_fifo(request: &[u8], unread: &mut Vec<Unread>) {
    let name = serde_json::from_slice::<serde_json::Value>(request).ok();
    let name = name
        .as_ref()
        .and_then(|v| v.get("reply_name"))
        .and_then(|n| n.as_str())
        .unwrap_or("")
        .to_string();
    let Some((_, text)) = answer(request) else {
        return;
    };
    if name.is_empty() || name.contains('/') {
        lost("a request on the FIFO names no reply_name, or one outside of fifo_reply_dir");
        return;
    }
    let path = Path::new(FIFO_REPLY_DIR.text()).join(name);
    let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOFOLLOW;
    // Without a reader the open fails, rather than waits.
    match OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits())
        .open(&path)
    {
        Ok(fifo) => {
            let until = Instant::now() + PATIENCE;
            let text = text.into_bytes();
            let mut u = Unread { fifo, text, until };
            if !u.goes_on() {
                return;
            }
            if unread.len() >= MOST_UNREAD {
                unread.remove(0);
                lost("too many answers wait to be read; the oldest is dropped");
            }
            unread.push(u);
        }
        Err(e) => lost(&format!("can't answer to {}: {e}", path.display())),
    }
}

impl Unread {
    /// Writes what the reader takes now. False when there is no more to do.
    fn goes_on(&mut self) -> bool {
        while !self.text.is_empty() {
            match self.fifo.write(&self.text) {
                Ok(n) => drop(self.text.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    if Instant::now() < self.until {
                        return true;
                    }
                    lost("an answer on a FIFO was not read");
                    return false;
                }
                Err(_) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_what_stands_between_them() {
        let rows: [(&[u8], First); 7] = [
            (b"{\"a\":1}", First::Whole(7)),
            (b" \n{\"a\":1}{", First::Whole(9)),
            (b"{\"a\":", First::Part),
            (b"  ", First::Part),
            (b"what is this\n{\"a\":1}", First::Junk(13)),
            (b"}}}", First::Junk(3)),
            (b"{\"a\" 1}\n", First::Junk(8)),
        ];
        for (bytes, first) in rows {
            assert_eq!(
                first_object(bytes),
                first,
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
