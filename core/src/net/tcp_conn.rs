//! One stream connection: framing in, bounded queue out. Owned by one worker for life.

use super::{ConnId, SocketId};
use olelo_sip::framing::{Frame, Framer};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What came out of a read.
#[derive(Debug, PartialEq)]
pub enum Input {
    /// A whole message: these bytes.
    Message(Vec<u8>),
    /// A keep-alive that wants an answer.
    Ping,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// The peer closed it.
    #[error("closed by the peer")]
    Closed,
    /// The kernel says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bytes are no SIP, or a message is too large.
    #[error("{0}")]
    Framing(&'static str),
    /// The sender wants no new connection.
    #[error("there is none, and none may be opened")]
    NotAllowed,
    /// Many peers don't read; nothing of the message was sent.
    #[error("too many bytes wait to be sent on all connections (tcp_wq_max)")]
    AllFull,
    /// The peer doesn't read.
    #[error("{0} bytes wait to be sent; the peer does not read")]
    QueueFull(usize),
}

/// A connection.
pub struct Conn {
    /// Name of the connection in the whole server.
    pub id: ConnId,
    /// The peer.
    pub peer: SocketAddr,
    /// Our address on it.
    pub local: SocketAddr,
    /// The listening socket it belongs to, for Via and sending.
    pub socket: SocketId,
    /// Still connecting.
    pub connecting: bool,
    /// When it is closed if nothing happens: monotonic milliseconds.
    pub expires_ms: u64,
    /// Since when unsent bytes wait; 0 for none.
    pub blocked_since_ms: u64,
    /// Since when the beginning of a message waits for more, its header section or its body; 0 for
    /// none.
    pub unfinished_since_ms: u64,
    /// Whether it counts among those of its address.
    pub counted: bool,
    /// Whether epoll was asked for write events.
    pub watched_for_output: bool,
    /// To be closed once all is sent; what is received meanwhile is thrown away.
    pub closing: bool,
    /// Other addresses it is known under (`;alias`).
    pub aliases: Vec<SocketAddr>,
    stream: TcpStream,
    input: Vec<u8>,
    framer: Framer,
    output: VecDeque<u8>,
    most_waiting: usize,
}

impl Conn {
    /// Wraps a non-blocking stream.
    pub fn new(
        id: ConnId,
        stream: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        socket: SocketId,
        connecting: bool,
    ) -> Conn {
        let config = &crate::server().config;
        Conn {
            id,
            peer,
            local,
            socket,
            connecting,
            expires_ms: 0,
            blocked_since_ms: 0,
            unfinished_since_ms: 0,
            counted: false,
            watched_for_output: connecting,
            closing: false,
            aliases: Vec::new(),
            stream,
            input: Vec::new(),
            framer: Framer::new(config.msg_recv_max_size)
                .accept_no_content_length(config.tcp_accept_no_cl),
            output: VecDeque::new(),
            most_waiting: config.tcp_conn_wq_max,
        }
    }

    /// The stream, to register with epoll.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads what is there, at most one buffer full, and hands each whole message to `each`.
    /// Returns whether there may be more to read.
    pub fn read(&mut self, now_ms: u64, each: &mut dyn FnMut(Input)) -> Result<bool, ConnError> {
        let mut buf = [0u8; 16384];
        let n = match self.stream.read(&mut buf) {
            Ok(0) => return Err(ConnError::Closed),
            Ok(n) => n,
            Err(e)
                if e.kind() == io::ErrorKind::WouldBlock
                    || e.kind() == io::ErrorKind::Interrupted =>
            {
                return Ok(false);
            }
            Err(e) => return Err(e.into()),
        };
        self.input.extend_from_slice(&buf[..n]);
        let in_headers = !self.framer.in_body();
        let mut used = 0;
        let verdict = loop {
            match self.framer.next(&self.input[used..]) {
                Frame::Incomplete => break Ok(n == buf.len()),
                Frame::KeepAlive(len) => {
                    used += len;
                    each(Input::Ping);
                }
                Frame::Message(len) => {
                    each(Input::Message(self.input[used..used + len].to_vec()));
                    used += len;
                }
                Frame::TooLarge => {
                    break Err(ConnError::Framing(
                        "a message is larger than msg_recv_max_size",
                    ));
                }
                Frame::Bad => {
                    break Err(ConnError::Framing(
                        "the bytes are no SIP message with a Content-Length",
                    ));
                }
            }
        };
        self.input.drain(..used);
        if !self.is_half_read() {
            self.unfinished_since_ms = 0;
        } else if self.unfinished_since_ms == 0 || used > 0 || in_headers == self.framer.in_body() {
            self.unfinished_since_ms = now_ms;
        }
        if self.input.is_empty() && self.input.capacity() > 65536 {
            self.input = Vec::new();
        }
        verdict
    }

    /// Whether the beginning of a message has been read and its end has not. Line ends alone are an
    /// answer to a keep-alive, or the beginning of one.
    fn is_half_read(&self) -> bool {
        !self.input.iter().all(|b| matches!(b, b'\r' | b'\n'))
    }

    /// Seconds that what is unfinished may take.
    pub fn time_to_finish(&self) -> u64 {
        let config = &crate::server().config;
        if self.framer.in_body() {
            config.tcp_msg_data_timeout
        } else {
            config.tcp_msg_read_timeout
        }
    }

    /// Sends, or queues what the kernel does not take now: at most `room` bytes. After any error but
    /// [`ConnError::AllFull`] the stream may hold a part of the message and must be closed.
    pub fn send(&mut self, bytes: &[u8], room: usize, now_ms: u64) -> Result<(), ConnError> {
        let mut rest = bytes;
        if self.output.is_empty() && !self.connecting {
            loop {
                match self.stream.write(rest) {
                    Ok(n) => rest = &rest[n..],
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => return Err(e.into()),
                }
                if rest.is_empty() {
                    return Ok(());
                }
            }
        }
        if rest.len() > room && rest.len() == bytes.len() {
            return Err(ConnError::AllFull);
        }
        if rest.len() > room || self.output.len() + rest.len() > self.most_waiting {
            return Err(ConnError::QueueFull(self.output.len()));
        }
        if self.output.is_empty() {
            self.blocked_since_ms = now_ms;
        }
        self.output.extend(rest);
        Ok(())
    }

    /// Sends what waits; called when the kernel takes bytes again.
    pub fn flush(&mut self, now_ms: u64) -> Result<(), ConnError> {
        while !self.output.is_empty() {
            let (head, _) = self.output.as_slices();
            match self.stream.write(head) {
                Ok(n) => {
                    self.output.drain(..n);
                    self.blocked_since_ms = now_ms;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.blocked_since_ms = 0;
        Ok(())
    }

    /// Takes what waits to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output).into()
    }

    /// How many bytes wait to be sent.
    pub fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Whether bytes wait to be sent.
    pub fn has_output(&self) -> bool {
        self.connecting || !self.output.is_empty()
    }

    /// Says that nothing more will be sent. The peer reads what was, then closes its side.
    pub fn end_output(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// The error of a connection attempt, if it failed.
    pub fn take_error(&self) -> io::Result<()> {
        match self.stream.take_error()? {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }
}
