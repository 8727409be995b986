//! A worker that dies: it does its work in a forked child that kills itself on the way.
//!
//! What the child had sent until then comes back through a pipe, as the kernel would have it; what it
//! had published is in shared memory. All else, the outbox too, is gone with it. In the parent, which
//! plays those that live, the same functions hand everything to the world at once.

use crate::server::{Work, perform};
use crate::workers;
use olelo_core::net::{ConnId, Dst, Proto, SendError, SendFlags, SocketId};
use olelo_ipc::signals::{self, Fork};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};

/// What a process that died had said before: messages, and lines of the trace.
pub enum Said {
    Sent(Dst, Vec<u8>),
    Trace(String),
}

/// Does it in a child that dies at its n-th point, or at the end. Points are: before and after each
/// message sent, and each place in the script. With `stores` the n-th store to shared memory counts.
pub fn perform_and_die(slot: u16, work: &Work, doom: Doom) -> Result<Vec<Said>, String> {
    let (read, write) = nix::unistd::pipe().map_err(|e| e.to_string())?;
    match signals::fork().map_err(|e| e.to_string())? {
        Fork::Child => {
            drop(read);
            PIPE.set(Some(write.into()));
            DOOM.set(Some(doom));
            #[cfg(feature = "kill-points")]
            if let Doom::Store(n) = doom {
                olelo_mem::kill_points::arm(n.into());
            }
            perform(slot, work);
            signals::exit_now(0)
        }
        Fork::Parent(pid) => {
            drop(write);
            let mut bytes = Vec::new();
            std::fs::File::from(read)
                .read_to_end(&mut bytes)
                .map_err(|e| e.to_string())?;
            let pid = nix::unistd::Pid::from_raw(pid);
            match nix::sys::wait::waitpid(pid, None) {
                Ok(nix::sys::wait::WaitStatus::Exited(_, 0)) => {}
                Ok(nix::sys::wait::WaitStatus::Signaled(_, nix::sys::signal::SIGKILL, _)) => {}
                other => return Err(format!("a worker ended by itself: {other:?}")),
            }
            Ok(said(&bytes))
        }
    }
}

/// Where a process dies.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "kill-points"), allow(dead_code))]
pub enum Doom {
    /// At this point.
    Point(u32),
    /// At this store to shared memory.
    Store(u32),
}

thread_local! {
    static PIPE: RefCell<Option<std::fs::File>> = const { RefCell::new(None) };
    static DOOM: Cell<Option<Doom>> = const { Cell::new(None) };
}

/// This process is a child that will die.
pub fn is_doomed() -> bool {
    DOOM.get().is_some()
}

/// In a child that is to die: it may be now.
pub fn point() {
    match DOOM.get() {
        Some(Doom::Point(0 | 1)) => {
            signals::kill(std::process::id() as i32, nix::sys::signal::SIGKILL);
            loop {
                std::thread::park();
            }
        }
        Some(Doom::Point(n)) => DOOM.set(Some(Doom::Point(n - 1))),
        _ => {}
    }
}

/// A line for the trace, from within the server.
pub fn trace(text: String) {
    if !is_doomed() {
        return workers::trace(text);
    }
    tell(None, text.as_bytes());
}

/// The wire: what would go to the kernel.
pub fn send(dst: &Dst, bytes: &[u8]) -> Result<(), SendError> {
    if !is_doomed() {
        workers::sent(dst, bytes);
        return Ok(());
    }
    point();
    tell(Some(dst), bytes);
    point();
    Ok(())
}

/// One record into the pipe: length of the address (0: a line of the trace), transport, connection,
/// length, address, bytes.
fn tell(dst: Option<&Dst>, bytes: &[u8]) {
    let addr = dst.map_or(String::new(), |d| d.addr.to_string());
    let conn = dst.and_then(|d| d.conn).map_or(0, ConnId::to_bits);
    let mut out = vec![addr.len() as u8, dst.map_or(0, |d| d.proto as u8)];
    out.extend(conn.to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(addr.as_bytes());
    out.extend(bytes);
    PIPE.with_borrow_mut(|p| p.as_mut().map(|p| p.write_all(&out)));
}

fn said(mut b: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    while let Some((head, rest)) = b.split_at_checked(14) {
        let conn = u64::from_le_bytes(head[2..10].try_into().expect("eight bytes"));
        let len = u32::from_le_bytes(head[10..14].try_into().expect("four bytes")) as usize;
        let (addr, rest) = rest.split_at(usize::from(head[0]));
        let (bytes, rest) = rest.split_at(len);
        b = rest;
        if addr.is_empty() {
            all.push(Said::Trace(String::from_utf8_lossy(bytes).into_owned()));
            continue;
        }
        let dst = Dst {
            proto: Proto::from_number(head[1]).unwrap_or(Proto::Udp),
            addr: String::from_utf8_lossy(addr).parse().expect("an address"),
            conn: ConnId::from_bits(conn),
            socket: SocketId(0),
            flags: SendFlags::default(),
        };
        all.push(Said::Sent(dst, bytes.to_vec()));
    }
    all
}
