//! Where commands are taken: unix stream and datagram sockets, TCP and UDP.

use olelo_core::proc::owner;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// An open address.
pub struct Address {
    /// As the operator wrote it.
    pub text: String,
    /// The socket.
    pub socket: Socket,
    path: Option<PathBuf>,
}

/// A socket that takes commands.
pub enum Socket {
    /// Unix stream.
    Unix(UnixListener),
    /// Unix datagram.
    UnixDatagram(UnixDatagram),
    /// TCP.
    Tcp(TcpListener),
    /// UDP.
    Udp(UdpSocket),
}

/// Kind and rest of an address.
#[derive(Debug, PartialEq)]
pub enum Kind {
    /// Path of a stream socket.
    Unix(PathBuf),
    /// Path of a datagram socket.
    UnixDatagram(PathBuf),
    /// Host and port.
    Tcp(String),
    /// Host and port.
    Udp(String),
}

/// The port where none is given.
const PORT: u16 = 2049;

/// Reads an address.
pub fn parse(text: &str) -> Result<Kind, String> {
    let (kind, rest) = match text.split_once(':') {
        Some((k, r)) if !k.contains('/') => (k, r),
        _ => ("unix", text),
    };
    let path = || owner::run_path(rest.strip_prefix("//").unwrap_or(rest));
    let host = || {
        let h = rest.trim_start_matches("//").replace('*', "0.0.0.0");
        if h.rsplit_once(':')
            .is_some_and(|(_, p)| p.parse::<u16>().is_ok())
        {
            h
        } else {
            format!("{h}:{PORT}")
        }
    };
    match kind {
        "unix" | "unixs" | "u" | "s" if !rest.is_empty() => Ok(Kind::Unix(path())),
        "unixd" | "unixg" if !rest.is_empty() => Ok(Kind::UnixDatagram(path())),
        "tcp" | "t" => Ok(Kind::Tcp(host())),
        "udp" => Ok(Kind::Udp(host())),
        _ => Err(format!(
            "\"{text}\" is no address; one of unix:PATH, unixd:PATH, tcp:HOST:PORT, udp:HOST:PORT"
        )),
    }
}

/// Opens an address.
pub fn open(
    text: &str,
    mode: u32,
    user: Option<&str>,
    group: Option<&str>,
) -> Result<Address, String> {
    let fail = |e: std::io::Error| format!("can't take commands at {text}: {e}");
    let kind = parse(text)?;
    let (socket, path) = match kind {
        Kind::Unix(p) => {
            make_room(&p).map_err(fail)?;
            let s = UnixListener::bind(&p).map_err(fail)?;
            s.set_nonblocking(true).map_err(fail)?;
            (Socket::Unix(s), Some(p))
        }
        Kind::UnixDatagram(p) => {
            make_room(&p).map_err(fail)?;
            let s = UnixDatagram::bind(&p).map_err(fail)?;
            s.set_nonblocking(true).map_err(fail)?;
            (Socket::UnixDatagram(s), Some(p))
        }
        Kind::Tcp(h) => {
            let s = TcpListener::bind(&h).map_err(fail)?;
            s.set_nonblocking(true).map_err(fail)?;
            (Socket::Tcp(s), None)
        }
        Kind::Udp(h) => {
            let s = UdpSocket::bind(&h).map_err(fail)?;
            s.set_nonblocking(true).map_err(fail)?;
            (Socket::Udp(s), None)
        }
    };
    if let Some(p) = &path {
        std::fs::set_permissions(p, std::fs::Permissions::from_mode(mode & 0o777)).map_err(fail)?;
        owner::give(p, user, group)?;
    }
    Ok(Address {
        text: text.to_string(),
        socket,
        path,
    })
}

/// Makes the directory, and removes the socket that an earlier run left.
fn make_room(p: &Path) -> std::io::Result<()> {
    if let Some(dir) = p.parent() {
        std::fs::create_dir_all(dir)?;
    }
    use std::os::unix::fs::FileTypeExt;
    if std::fs::symlink_metadata(p).is_ok_and(|m| m.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(p).is_ok() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::AddrInUse,
                "another server answers there",
            ));
        }
        std::fs::remove_file(p)?;
    }
    Ok(())
}

impl Address {
    /// Removes the socket's file; when the server ends.
    pub fn remove(&self) {
        if let Some(p) = &self.path {
            let _ = std::fs::remove_file(p);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_operators_write_them() {
        assert_eq!(parse("unix:/tmp/x"), Ok(Kind::Unix("/tmp/x".into())));
        assert_eq!(parse("/tmp/x"), Ok(Kind::Unix("/tmp/x".into())));
        assert_eq!(
            parse("unixd:/tmp/x"),
            Ok(Kind::UnixDatagram("/tmp/x".into()))
        );
        assert_eq!(
            parse("tcp:127.0.0.1:2046"),
            Ok(Kind::Tcp("127.0.0.1:2046".into()))
        );
        assert_eq!(
            parse("udp:127.0.0.1"),
            Ok(Kind::Udp("127.0.0.1:2049".into()))
        );
        assert!(parse("carrier:pigeon").unwrap_err().contains("unix:PATH"));
    }
}
