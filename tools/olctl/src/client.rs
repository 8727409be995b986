//! A connection to the server's `ctl` module, speaking BINRPC.

use olelo_ipc::Value;
use olelo_ipc::binrpc::{self, Body, Packet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Where a server listens unless told otherwise.
const PLACES: [&str; 5] = [
    "/run/olelo/kamailio_ctl",
    "/run/kamailio/kamailio_ctl",
    "/run/olelo/ctl",
    "/var/run/kamailio/kamailio_ctl",
    "/tmp/olelo_ctl",
];
/// How long an answer may take: a reload waits for all workers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer.
const LARGEST: usize = 1 << 30;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection.
pub struct Client {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
    cookie: u32,
}

impl Client {
    /// Connects to `address` (`unix:PATH`, a path, `tcp:HOST:PORT`), or to where servers listen.
    pub fn connect(address: Option<&str>) -> Result<Client, String> {
        let new = |stream: Box<dyn Stream>| Client {
            stream,
            input: Vec::new(),
            cookie: std::process::id(),
        };
        match address {
            Some(a) => match a.strip_prefix("tcp:") {
                Some(host) => {
                    let s = TcpStream::connect(host)
                        .map_err(|e| format!("can't connect to {a}: {e}"))?;
                    let _ = s.set_read_timeout(Some(PATIENCE));
                    Ok(new(Box::new(s)))
                }
                None => {
                    let path = a.strip_prefix("unix:").unwrap_or(a);
                    let s = UnixStream::connect(path).map_err(|e| format!("can't connect to {path}: {e}; does the server run, and may you use its socket?"))?;
                    let _ = s.set_read_timeout(Some(PATIENCE));
                    Ok(new(Box::new(s)))
                }
            },
            None => {
                for p in PLACES {
                    if let Ok(s) = UnixStream::connect(p) {
                        let _ = s.set_read_timeout(Some(PATIENCE));
                        return Ok(new(Box::new(s)));
                    }
                }
                Err(format!(
                    "no server answers at {}; name its socket with -s unix:PATH",
                    PLACES.join(", ")
                ))
            }
        }
    }

    /// Runs a command.
    pub fn call(&mut self, name: &str, args: &[Value]) -> Result<Vec<Value>, String> {
        self.cookie = self.cookie.wrapping_add(1);
        let packet = Packet {
            cookie: self.cookie,
            body: Body::Request(name.to_string(), args.to_vec()),
        };
        self.stream
            .write_all(&binrpc::encode(&packet))
            .map_err(|e| format!("the server hung up: {e}"))?;
        let mut buf = vec![0u8; 64 << 10];
        loop {
            match binrpc::decode(&self.input, LARGEST)
                .map_err(|e| format!("the answer can't be read: {e}"))?
            {
                Some((p, used)) => {
                    self.input.drain(..used);
                    return match p.body {
                        Body::Reply(v) => Ok(v.into_iter().map(with_arrays).collect()),
                        Body::Fault(code, why) => Err(format!("{code} {why}")),
                        Body::Request(..) => Err("the server sent a request".into()),
                    };
                }
                None => match self.stream.read(&mut buf) {
                    Ok(0) => return Err("the server hung up".into()),
                    Ok(n) => self.input.extend_from_slice(&buf[..n]),
                    Err(e) => return Err(format!("no answer: {e}")),
                },
            }
        }
    }
}

/// Structures of nameless members are arrays: BINRPC's clients know no others inside of a value.
fn with_arrays(v: Value) -> Value {
    match v {
        Value::Struct(m) if !m.is_empty() && m.iter().all(|(n, _)| n.is_empty()) => {
            Value::Array(m.into_iter().map(|(_, v)| with_arrays(v)).collect())
        }
        Value::Struct(m) => {
            Value::Struct(m.into_iter().map(|(n, v)| (n, with_arrays(v))).collect())
        }
        plain => plain,
    }
}

/// An argument as kamcmd reads it: a number where it looks like one, `s:` forces text.
pub fn value(arg: &str) -> Value {
    if let Some(text) = arg.strip_prefix("s:") {
        return Value::Str(text.to_string());
    }
    if let Some(n) = arg.strip_prefix("i:").and_then(|n| n.parse().ok()) {
        return Value::Int(n);
    }
    match arg.parse::<i64>() {
        Ok(n) if !arg.starts_with('+') => Value::Int(n),
        _ => Value::Str(arg.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_kamcmd_reads_them() {
        assert_eq!(value("5"), Value::Int(5));
        assert_eq!(value("s:5"), Value::Str("5".into()));
        assert_eq!(value("+49"), Value::Str("+49".into()));
        assert_eq!(value("a b"), Value::Str("a b".into()));
    }
}
