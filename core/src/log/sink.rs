//! Where a line goes: standard error or syslog, and what happens when that place takes none.
//!
//! A log must never hold up the service, so nothing here waits for a reader. A pipe or terminal is
//! opened a second time without blocking (the flag would otherwise be the parent shell's, too), a
//! socket is sent to without blocking, a file takes what the disk has room for. A full pipe gets
//! [`PATIENCE_MS`] once a second; then lines are dropped, counted in `core:log_lost`, and once lines
//! pass again the log says how many are missing. State is per process; nothing is shared or locked.

use crate::stats::Stat;
use crate::timer::monotonic_ms;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Lines that could not be written.
pub static LOST: Stat = Stat::counter("core", "log_lost", "log lines that could not be written");

/// How long a line waits for a pipe that is full, at most once in [`GRUDGE_MS`].
const PATIENCE_MS: u16 = 20;
/// How long a place that took no line is not waited for, nor opened, again.
const GRUDGE_MS: u64 = 1000;

/// Standard error.
#[derive(Default)]
pub struct Stderr {
    to: Option<Way>,
    /// When it last took no line: monotonic milliseconds, 0 for never.
    refused_ms: u64,
    /// Lines lost since one was written.
    lost: u64,
    /// A part of a line was written: the next begins on a line of its own.
    torn: bool,
}

enum Way {
    /// A second opening of the pipe or terminal, which doesn't block.
    Own(File),
    /// A socket, as service managers give.
    Socket,
    /// A file, or what can't be opened again.
    Plain,
}

impl Stderr {
    /// Writes a line that ends with a line end, or loses it.
    pub fn write(&mut self, line: &[u8]) {
        let whole = if self.torn {
            self.put(b"\n") && self.put(line)
        } else {
            self.put(line)
        };
        if !whole {
            self.lost += 1;
            LOST.inc();
        } else if self.lost > 0 {
            let note = format!(
                "{:2}({}) WARNING: core: {} lines of the log before this could not be written\n",
                olelo_mem::slot::current_slot(),
                std::process::id(),
                self.lost
            );
            if self.put(note.as_bytes()) {
                self.lost = 0;
            }
        }
    }

    fn put(&mut self, mut bytes: &[u8]) -> bool {
        let length = bytes.len();
        let way = self.to.get_or_insert_with(Way::find);
        loop {
            match way.write(bytes) {
                Ok(n) if n >= bytes.len() => {
                    self.torn = false;
                    return true;
                }
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    let now = monotonic_ms();
                    let grudge = self.refused_ms != 0 && now < self.refused_ms + GRUDGE_MS;
                    if e.kind() == ErrorKind::WouldBlock && !grudge && way.has_room() {
                        // Another refusal within the grudge is final.
                        self.refused_ms = now;
                        continue;
                    }
                    if !grudge {
                        self.refused_ms = now.max(1);
                    }
                    self.torn |= bytes.len() < length;
                    return false;
                }
            }
        }
    }
}

impl Way {
    fn find() -> Way {
        let kind = fstat(std::io::stderr()).map(|s| SFlag::from_bits_truncate(s.st_mode));
        let is = |k: SFlag| kind.is_ok_and(|m| m & SFlag::S_IFMT == k);
        if is(SFlag::S_IFSOCK) {
            return Way::Socket;
        }
        if !is(SFlag::S_IFIFO) && !is(SFlag::S_IFCHR) {
            return Way::Plain;
        }
        OpenOptions::new()
            .write(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open("/proc/self/fd/2")
            .map_or(Way::Plain, Way::Own)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Way::Own(f) => f.write(bytes),
            Way::Plain => std::io::stderr().write(bytes),
            Way::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(send(std::io::stderr().as_raw_fd(), bytes, flags)?)
            }
        }
    }

    /// Whether there is room within [`PATIENCE_MS`].
    fn has_room(&self) -> bool {
        let stderr = std::io::stderr();
        let fd = match self {
            Way::Own(f) => f.as_fd(),
            _ => stderr.as_fd(),
        };
        poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PATIENCE_MS).is_ok_and(|n| n > 0)
    }
}

/// Syslog: the datagram socket of the system's logger.
pub struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    refused_ms: u64,
}

impl Syslog {
    /// The logger that listens at `path`; it is looked for at the first line.
    pub fn at(path: &Path) -> Syslog {
        Syslog {
            path: path.to_path_buf(),
            socket: None,
            refused_ms: 0,
        }
    }

    /// Sends a line, or loses it: a logger that is away is looked for once a second, one that
    /// doesn't read is not waited for.
    pub fn send(&mut self, packet: &[u8]) {
        if self.socket.is_none() {
            self.connect();
        }
        let sent = match &self.socket {
            Some(s) => s.send(packet).map(drop).map_err(Some),
            None => Err(None),
        };
        if let Err(e) = sent {
            LOST.inc();
            // A logger that was restarted has a new socket at the same place.
            let gone = |e: &std::io::Error| {
                e.kind() != ErrorKind::WouldBlock
                    && e.raw_os_error() != Some(Errno::EMSGSIZE as i32)
            };
            if e.as_ref().is_some_and(gone) {
                self.socket = None;
                self.connect();
                if let Some(s) = &self.socket {
                    let _ = s.send(packet);
                }
            }
        }
    }

    fn connect(&mut self) {
        let now = monotonic_ms();
        if self.refused_ms != 0 && now < self.refused_ms + GRUDGE_MS {
            return;
        }
        self.socket = UnixDatagram::unbound()
            .and_then(|d| {
                d.connect(&self.path)?;
                d.set_nonblocking(true)?;
                Ok(d)
            })
            .ok();
        if self.socket.is_none() {
            self.refused_ms = now.max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn pipe() -> (std::io::PipeReader, Stderr) {
        let (reader, writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let own = OpenOptions::new()
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(path)
            .unwrap();
        let to = Some(Way::Own(own));
        (
            reader,
            Stderr {
                to,
                ..Stderr::default()
            },
        )
    }

    #[test]
    fn a_reader_that_sleeps_loses_lines_and_is_told_how_many() {
        let (mut reader, mut log) = pipe();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..200 {
            log.write(&line);
        }
        let lost = log.lost;
        assert!(lost > 100, "a pipe holds 64 kB");
        let mut held = vec![0; (200 - lost as usize) * line.len()];
        reader.read_exact(&mut held).unwrap();
        log.write(b"again\n");
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let (line, note) = rest.split_once('\n').unwrap();
        assert_eq!(line, "again");
        assert!(note.contains(&format!("{lost} lines of the log")), "{note}");
    }

    #[test]
    fn a_line_of_which_only_a_part_fitted_ends_before_the_next() {
        let (mut reader, mut log) = pipe();
        let long = [b"y".repeat(99_999), b"\n".to_vec()].concat();
        log.write(&long);
        assert!(log.torn && log.lost == 1);
        let mut some = vec![0; 65_536];
        reader.read_exact(&mut some).unwrap();
        log.write(b"next\n");
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.starts_with("\nnext\n"), "{rest}");
    }

    #[test]
    fn a_full_disk_and_a_closed_pipe_lose_lines_only() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut log = Stderr {
            to: Some(Way::Own(full)),
            ..Stderr::default()
        };
        log.write(b"x\n");
        let (reader, mut closed) = pipe();
        drop(reader);
        closed.write(b"x\n");
        assert_eq!((log.lost, closed.lost), (1, 1));
    }

    #[test]
    fn a_logger_that_is_away_or_does_not_read_is_not_waited_for() {
        let dir = std::env::temp_dir().join(format!("olelo-syslog-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log");
        let mut log = Syslog::at(&path);
        log.send(b"nobody");
        assert!(log.socket.is_none());
        let logger = UnixDatagram::bind(&path).unwrap();
        // It was away a moment ago; forget that.
        log.refused_ms = 0;
        for _ in 0..10_000 {
            log.send(b"a line");
        }
        let mut buf = [0; 16];
        assert_eq!(logger.recv(&mut buf).unwrap(), 6);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
