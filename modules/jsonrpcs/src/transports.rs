//! FIFO and datagram socket, each served by a process of its own.
//!
//! A FIFO request is one JSON object; its member `reply_name` names a FIFO in `fifo_reply_dir` that
//! the answer is written to, if a reader has it open.

use super::*;
use nix::sys::stat::Mode;
use olelo_core::proc::owner;
use olelo_core::route::module::ExtraProcess;
use olelo_ipc::signals::stopping;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// Largest request.
const LARGEST: usize = 65_535;

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
    if olelo_core::server().sockets.0.is_empty() {
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
    let _ = s.set_write_timeout(Some(Duration::from_millis(2000)));
    if let Err(e) = s.send_to(text, to) {
        olelo_core::warn!("jsonrpcs", "can't answer {}: {e}", to.display());
    }
}

fn serve_fifo() {
    let Some(mut fifo) = FIFO.get() else { return };
    let mut input: Vec<u8> = Vec::new();
    let mut buf = [0u8; 4096];
    while !stopping() {
        use std::os::fd::AsFd;
        let mut fds = [nix::poll::PollFd::new(
            fifo.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        if nix::poll::poll(&mut fds, 1000u16).unwrap_or(0) == 0 {
            // What did not become a whole request in a second never will.
            input.clear();
            continue;
        }
        match fifo.read(&mut buf) {
            Ok(n) => input.extend_from_slice(&buf[..n]),
            Err(_) => continue,
        }
        while let Some(end) = whole_object(&input) {
            let request: Vec<u8> = input.drain(..end).collect();
            reply_to_fifo(&request);
        }
        if input.len() > LARGEST {
            input.clear();
        }
    }
}

/// Length of the JSON object at the start, blanks before it included.
fn whole_object(b: &[u8]) -> Option<usize> {
    let mut stream = serde_json::Deserializer::from_slice(b).into_iter::<serde_json::Value>();
    stream.next()?.ok()?;
    Some(stream.byte_offset())
}

fn reply_to_fifo(request: &[u8]) {
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
        olelo_core::warn!(
            "jsonrpcs",
            "a request on the FIFO names no reply_name, or one outside of fifo_reply_dir"
        );
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
        Ok(mut f) => write_all_within(&mut f, text.as_bytes(), Duration::from_secs(2)),
        Err(e) => olelo_core::warn!("jsonrpcs", "can't answer to {}: {e}", path.display()),
    }
}

fn write_all_within(f: &mut std::fs::File, mut text: &[u8], most: Duration) {
    let end = std::time::Instant::now() + most;
    while !text.is_empty() && std::time::Instant::now() < end {
        match f.write(text) {
            Ok(n) => text = &text[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Err(_) => return,
        }
    }
}
