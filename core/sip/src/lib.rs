//! SIP messages: one file per RFC noun, indexed once, parsed lazily, edited at send.
//!
//! What this crate is: pure functions and types over bytes. It does no I/O, keeps no global state
//! and knows nothing of sockets, workers or scripts.
//!
//! Memory model: a received message lives in one `Vec<u8>` owned by [`Message`] and is never copied
//! to be read. [`Message::parse`] makes one pass and leaves an index of [`Header`]s, each a few
//! [`Span`]s into that buffer. Bodies of headers are parsed on first use and cached in the message.
//! Changes are an ordered list ([`Edits`]) applied once, when the message is written out by
//! [`build`]. A `Message` belongs to one worker; nothing here is shared or locked.
#![forbid(unsafe_code)]

pub mod build;
pub mod contact;
pub mod cseq;
pub mod digest;
pub mod edit;
pub mod framing;
pub mod header;
pub mod message;
pub mod method;
pub mod multipart;
pub mod name_addr;
pub mod nouns;
pub mod param;
pub mod route;
pub mod sanity;
mod scan;
pub mod sdp;
pub mod span;
pub mod uri;
pub mod uri_buf;
pub mod via;

pub use contact::{Contact, Contacts};
pub use cseq::{CSeq, RAck};
pub use digest::{Algorithm, Challenge, Credentials, Qop};
pub use edit::{Checkpoint, Edits};
pub use framing::{Frame, Framer};
pub use header::{Header, HeaderName, name_of};
pub use message::{FirstLine, Message};
pub use method::{Method, MethodSet};
pub use name_addr::NameAddr;
pub use nouns::{ContentType, Event};
pub use param::{Param, ParamSpan, Params};
pub use route::Route;
pub use scan::{eq_ignore_case, is_token_byte, push_number, trim};
pub use span::{ParseError, Span};
pub use uri::{HostKind, Scheme, Transport, Uri};
pub use uri_buf::UriBuf;
pub use via::{Rport, Via};
