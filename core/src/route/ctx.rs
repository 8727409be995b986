//! The message being routed, with all that its routing has decided so far.
//!
//! A worker owns one `Ctx` and resets it for every message; nothing in it is shared. Functions of
//! modules get it as their first argument. What a module itself must remember about a message it
//! keeps in [`Ctx::ext`].

use super::avp::Avps;
use super::function::{REQUEST, Routes};
use super::value::Val;
use crate::net::{ConnId, Proto, SocketId};
use olelo_sip::edit::Edits;
use olelo_sip::message::Message;
use std::any::{Any, TypeId};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Where a message came from and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Received {
    /// Transport.
    pub proto: Proto,
    /// The sender's address, as the network shows it.
    pub src: SocketAddr,
    /// Our address.
    pub dst: SocketAddr,
    /// The listening socket.
    pub socket: SocketId,
    /// The connection, for stream transports.
    pub conn: Option<ConnId>,
}

impl Default for Received {
    fn default() -> Self {
        let none = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Received {
            proto: Proto::Udp,
            src: none,
            dst: none,
            socket: SocketId(0),
            conn: None,
        }
    }
}

/// One more destination for the request (`append_branch`, `lookup`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Branch {
    /// Request URI.
    pub uri: Vec<u8>,
    /// Where to send, if elsewhere.
    pub dst_uri: Vec<u8>,
    /// Route headers to add (value of a Path).
    pub path: Vec<u8>,
    /// Preference, 0…1000; -1 for unset.
    pub q: i16,
    /// Branch flags.
    pub flags: u32,
    /// Socket to send from.
    pub socket: Option<SocketId>,
    /// `+sip.instance` of the contact.
    pub instance: Vec<u8>,
    /// `reg-id` of the contact.
    pub reg_id: u32,
    /// Unique id of the contact's record.
    pub ruid: Vec<u8>,
    /// User-Agent of the contact.
    pub user_agent: Vec<u8>,
    /// Connection of the contact.
    pub conn: Option<ConnId>,
}

/// How a route ended, beyond its return value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// It ran to its end.
    #[default]
    None,
    /// `exit`: routing of this message is over.
    Exit,
    /// `drop`: as exit; a reply or branch is not forwarded.
    Drop,
}

/// Where routing is: indexes into the names of what runs.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Line, from 1; 0 where there is none.
    pub line: u32,
    /// Index into [`PlaceNames::files`].
    pub file: u32,
    /// Index into [`PlaceNames::routes`].
    pub route: u32,
    /// The names.
    pub names: Option<Rc<PlaceNames>>,
}

/// Names that a [`Place`] points into.
#[derive(Debug, Default)]
pub struct PlaceNames {
    /// Files.
    pub files: Vec<String>,
    /// Route blocks: `route[RELAY]`.
    pub routes: Vec<String>,
}

impl Place {
    /// The file.
    pub fn file(&self) -> Option<&str> {
        Some(self.names.as_ref()?.files.get(self.file as usize)?)
    }

    /// The route block.
    pub fn route(&self) -> Option<&str> {
        Some(self.names.as_ref()?.routes.get(self.route as usize)?)
    }
}

/// Largest number of branches of a request beside the request URI itself.
pub const MAX_BRANCHES: usize = 30;

/// The message being routed. See the file's essay.
pub struct Ctx {
    /// The message as received.
    pub msg: Message,
    /// Changes to it, applied when it is sent.
    pub edits: Edits,
    /// Where it came from.
    pub rcv: Received,
    /// The kind of route block that runs.
    pub route: Routes,
    /// New request URI, where routing changed it.
    pub new_uri: Option<Vec<u8>>,
    /// Where to send, if not to the request URI (`$du`).
    pub dst_uri: Option<Vec<u8>>,
    /// Route headers to add when the request is sent (a contact's Path).
    pub path: Option<Vec<u8>>,
    /// Socket to send from (`$fs`).
    pub send_socket: Option<SocketId>,
    /// Connection to send to, where the destination is a registered contact's.
    pub dst_conn: Option<ConnId>,
    /// Preference of the request URI, 0…1000; -1 for unset.
    pub ruri_q: i16,
    /// Instance, reg-id, unique id and User-Agent of the contact in the request URI.
    pub contact: Branch,
    /// More destinations.
    pub branches: Vec<Branch>,
    /// Message flags (`setflag`).
    pub flags: u32,
    /// Branch flags of the request URI (`setbflag`).
    pub bflags: u32,
    /// Script flags (`setsflag`).
    pub sflags: u32,
    /// Add `rport` to our side of the Via although the sender did not ask (`force_rport`).
    pub force_rport: bool,
    /// Put our connection's port into the Via (`add_local_rport`).
    pub add_local_rport: bool,
    /// `;alias` wanted or refused (`force_tcp_alias`).
    pub tcp_alias: Option<u16>,
    /// Address to put into Via and Record-Route in place of the socket's.
    pub advertised: (Option<String>, Option<u16>),
    /// The route's last return code (`$rc`).
    pub rc: i64,
    /// How the route ended.
    pub end: End,
    /// AVPs of the message.
    pub avps: Avps,
    /// Number of the message in this process (`$mi`).
    pub id: u64,
    /// When it was received: milliseconds of the monotonic clock.
    pub received_ms: u64,
    /// When it was received, by the wall clock: seconds and microseconds (`$TS`, `$TV`).
    pub received_at: (i64, u32),
    /// The reply being built or routed is generated here, not received.
    pub local: bool,
    /// Branch of the transaction that the route works on (`$T_branch_idx`); -1 for none.
    pub branch_index: i32,
    /// Where routing is, in languages that have lines (`$cfg(line)`).
    pub place: Place,
    /// Bytes about to be sent, while `onsend_route` runs, and their destination.
    pub outgoing: Option<(Vec<u8>, SocketAddr, Proto)>,
    /// What modules remember about the message.
    ext: Vec<Remembered>,
}

/// What a module remembers. The box outlives the message: the next one needs the same again.
struct Remembered {
    kind: TypeId,
    /// Used for this message; else the value is the default one.
    used: bool,
    value: Box<dyn Resettable>,
}

/// A value that goes back to its default between messages.
trait Resettable: Any {
    fn reset(&mut self);
}

impl<T: Any + Default> Resettable for T {
    fn reset(&mut self) {
        *self = T::default();
    }
}

impl Default for Ctx {
    fn default() -> Self {
        Ctx::new()
    }
}

impl Ctx {
    /// A context without a message.
    pub fn new() -> Self {
        Ctx {
            msg: Message::new(),
            edits: Edits::default(),
            rcv: Received::default(),
            route: REQUEST,
            new_uri: None,
            dst_uri: None,
            path: None,
            send_socket: None,
            dst_conn: None,
            ruri_q: -1,
            contact: Branch::default(),
            branches: Vec::new(),
            flags: 0,
            bflags: 0,
            sflags: 0,
            force_rport: false,
            add_local_rport: false,
            tcp_alias: None,
            advertised: (None, None),
            rc: 1,
            end: End::None,
            avps: Avps::default(),
            id: 0,
            received_ms: 0,
            received_at: (0, 0),
            local: false,
            branch_index: -1,
            place: Place::default(),
            outgoing: None,
            ext: Vec::new(),
        }
    }

    /// Makes the context ready for another message, keeping what memory can be kept.
    pub fn reset(&mut self) {
        self.msg.reset();
        self.edits.clear();
        self.rcv = Received::default();
        self.route = REQUEST;
        self.new_uri = None;
        self.dst_uri = None;
        self.path = None;
        self.send_socket = None;
        self.dst_conn = None;
        self.ruri_q = -1;
        if self.contact != Branch::default() {
            self.contact = Branch::default();
        }
        self.branches.clear();
        self.flags = 0;
        self.bflags = 0;
        self.sflags = 0;
        self.force_rport = false;
        self.add_local_rport = false;
        self.tcp_alias = None;
        self.advertised = (None, None);
        self.rc = 1;
        self.end = End::None;
        self.avps.clear();
        self.local = false;
        self.branch_index = -1;
        self.outgoing = None;
        for e in self.ext.iter_mut().filter(|e| e.used) {
            e.used = false;
            e.value.reset();
        }
    }

    /// The request URI as routing has it now.
    pub fn ruri(&self) -> &[u8] {
        self.new_uri.as_deref().unwrap_or_else(|| self.msg.ruri())
    }

    /// Where the request goes: `$du` if set, else the request URI.
    pub fn next_hop(&self) -> &[u8] {
        self.dst_uri
            .as_deref()
            .filter(|d| !d.is_empty())
            .unwrap_or_else(|| self.ruri())
    }

    /// Changes the request URI. What was known about the contact in the old one no longer holds.
    pub fn set_ruri(&mut self, uri: &[u8]) {
        self.new_uri = Some(uri.to_vec());
    }

    /// What a module remembers about this message; made on first use.
    pub fn ext<T: Any + Default>(&mut self) -> &mut T {
        let kind = TypeId::of::<T>();
        let at = match self.ext.iter().position(|e| e.kind == kind) {
            Some(at) => at,
            None => {
                self.ext.push(Remembered {
                    kind,
                    used: true,
                    value: Box::<T>::default(),
                });
                self.ext.len() - 1
            }
        };
        let e = &mut self.ext[at];
        e.used = true;
        let value: &mut dyn Any = &mut *e.value;
        value
            .downcast_mut()
            .expect("position found a value of this type")
    }

    /// What a module remembers, if it does.
    pub fn ext_ref<T: Any>(&self) -> Option<&T> {
        let kind = TypeId::of::<T>();
        let e = self.ext.iter().find(|e| e.kind == kind && e.used)?;
        let value: &dyn Any = &*e.value;
        value.downcast_ref()
    }

    /// What a module remembers, if it does, to change it.
    pub fn ext_mut<T: Any>(&mut self) -> Option<&mut T> {
        let kind = TypeId::of::<T>();
        let e = self.ext.iter_mut().find(|e| e.kind == kind && e.used)?;
        let value: &mut dyn Any = &mut *e.value;
        value.downcast_mut()
    }

    /// Adds a destination; false where there are too many.
    pub fn add_branch(&mut self, b: Branch) -> bool {
        // The request URI is a branch as well.
        let most = crate::server::try_server().map_or(MAX_BRANCHES, |s| s.config.max_branches - 1);
        if self.branches.len() >= most {
            crate::error!(
                "core",
                "the request has {most} branches beside its URI already; one more is left out (max_branches)"
            );
            return false;
        }
        self.branches.push(b);
        true
    }

    /// Reads a pseudo-variable or format by its text, for code that needs one by name. Slow path.
    pub fn pv(&self, text: &str) -> Val<'_> {
        match crate::pv::Spec::parse_cached(text.as_bytes()) {
            Ok(s) => s.get(self).into_owned(),
            Err(_) => Val::Null,
        }
    }
}
