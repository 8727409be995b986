//! Typed access to a message's headers, parsed on first use and cached.
//!
//! One-value headers give `Option`: `None` where the header is missing or cannot be read (ask
//! [`Message::header`] to tell the two apart). List headers give `Result`, with an empty list where
//! there is no such header. The vectors of lists go back to a spare on reset, so they are not
//! allocated again for every message.

use crate::contact::{Contact, Contacts};
use crate::cseq::{CSeq, RAck};
use crate::digest::Credentials;
use crate::header::HeaderName;
use crate::message::Message;
use crate::name_addr::NameAddr;
use crate::param::{ParamSpans, Params};
use crate::route::Route;
use crate::scan::{Commas, find, is_ws, number, number_saturating, skip_ws, trim_span};
use crate::span::{ParseError, Span};
use crate::via::Via;
use std::cell::{Cell, OnceCell};

/// A Content-Type value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// `type/subtype` as written.
    pub media: Span,
    /// The type.
    pub kind: Span,
    /// The subtype.
    pub subtype: Span,
    /// Parameters from the first `;`.
    pub params: Span,
}

impl ContentType {
    /// Reads one.
    pub fn parse(buf: &[u8], span: Span) -> Result<ContentType, ParseError> {
        let span = trim_span(buf, span.at(), span.to());
        let stop = find(buf, span.at(), span.to(), |b| b == b';');
        let media = trim_span(buf, span.at(), stop);
        let slash = find(buf, media.at(), media.to(), |b| b == b'/');
        let kind = trim_span(buf, media.at(), slash);
        let subtype = trim_span(buf, (slash + 1).min(media.to()), media.to());
        if kind.is_empty() || subtype.is_empty() {
            return Err(ParseError::new(
                "a content type is not type/subtype",
                span.at(),
            ));
        }
        Ok(ContentType {
            media,
            kind,
            subtype,
            params: Span::new(stop, span.to()),
        })
    }

    /// True where it is `kind/subtype`, in any case.
    pub fn is(&self, buf: &[u8], kind: &[u8], subtype: &[u8]) -> bool {
        self.kind.of(buf).eq_ignore_ascii_case(kind)
            && self.subtype.of(buf).eq_ignore_ascii_case(subtype)
    }

    /// The parameters, as `boundary`.
    pub fn params<'a>(&self, buf: &'a [u8]) -> Params<'a> {
        Params(self.params.of(buf))
    }
}

/// An Event value (RFC 6665 §8.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event package.
    pub package: Span,
    /// Parameters from the first `;`.
    pub params: Span,
    /// The `id` parameter.
    pub id: Option<Span>,
}

impl Event {
    /// Reads one.
    pub fn parse(buf: &[u8], span: Span) -> Result<Event, ParseError> {
        let span = trim_span(buf, span.at(), span.to());
        let stop = find(buf, span.at(), span.to(), |b| b == b';' || is_ws(b));
        let package = Span::new(span.at(), stop);
        if package.is_empty() {
            return Err(ParseError::new("an event package is empty", span.at()));
        }
        let params = Span::new(skip_ws(buf, stop, span.to()), span.to());
        let id = ParamSpans::new(buf, params)
            .find(|p| p.name.of(buf).eq_ignore_ascii_case(b"id"))
            .and_then(|p| p.value);
        Ok(Event {
            package,
            params,
            id,
        })
    }
}

impl Message {
    /// The `i`-th Via value over all Via lines, from 0.
    pub fn via(&self, i: usize) -> Option<&Via> {
        if i > 0 {
            return self.vias().ok()?.get(i);
        }
        self.cache.used.set(true);
        self.cache
            .via1
            .get_or_init(|| {
                let mut lines = self.headers_named(HeaderName::Via);
                let span = lines.find_map(|h| Commas::new(self.buf(), h.body).next())?;
                Via::parse(self.buf(), span).ok()
            })
            .as_ref()
    }

    /// All Via values.
    pub fn vias(&self) -> Result<&[Via], ParseError> {
        // The topmost has mostly been read already.
        let top = self.cache.via1.get().and_then(Option::as_ref);
        let parse = |buf: &[u8], span: Span| match top {
            Some(v) if v.span == span => Ok(*v),
            _ => Via::parse(buf, span),
        };
        self.list(&self.cache.vias, HeaderName::Via, parse)
    }

    /// From.
    pub fn from(&self) -> Option<&NameAddr> {
        self.one(&self.cache.from, HeaderName::From, NameAddr::parse)
    }

    /// To.
    pub fn to(&self) -> Option<&NameAddr> {
        self.one(&self.cache.to, HeaderName::To, NameAddr::parse)
    }

    /// From's tag.
    pub fn from_tag(&self) -> Option<&[u8]> {
        self.from()?.tag(self.buf())
    }

    /// To's tag; an empty one counts as none.
    pub fn to_tag(&self) -> Option<&[u8]> {
        self.to()?.tag(self.buf()).filter(|t| !t.is_empty())
    }

    /// CSeq.
    pub fn cseq(&self) -> Option<&CSeq> {
        self.one(&self.cache.cseq, HeaderName::CSeq, CSeq::parse)
    }

    /// Call-ID.
    pub fn call_id(&self) -> Option<&[u8]> {
        self.header_body(HeaderName::CallId)
            .filter(|b| !b.is_empty())
    }

    /// All Contact values, or `*`.
    pub fn contacts(&self) -> Result<Contacts<'_>, ParseError> {
        if let Some(h) = self.header(HeaderName::Contact)
            && self.slice(h.body) == b"*"
        {
            return Ok(Contacts::Star);
        }
        self.list(&self.cache.contacts, HeaderName::Contact, Contact::parse)
            .map(Contacts::List)
    }

    /// All Route values.
    pub fn routes(&self) -> Result<&[Route], ParseError> {
        self.list(&self.cache.routes, HeaderName::Route, Route::parse)
    }

    /// All Record-Route values.
    pub fn record_routes(&self) -> Result<&[Route], ParseError> {
        self.list(
            &self.cache.record_routes,
            HeaderName::RecordRoute,
            Route::parse,
        )
    }

    /// All Path values.
    pub fn paths(&self) -> Result<&[Route], ParseError> {
        self.list(&self.cache.paths, HeaderName::Path, Route::parse)
    }

    /// All Authorization credentials.
    pub fn authorizations(&self) -> Result<&[Credentials], ParseError> {
        self.list(
            &self.cache.auth,
            HeaderName::Authorization,
            Credentials::parse,
        )
    }

    /// All Proxy-Authorization credentials.
    pub fn proxy_authorizations(&self) -> Result<&[Credentials], ParseError> {
        self.list(
            &self.cache.proxy_auth,
            HeaderName::ProxyAuthorization,
            Credentials::parse,
        )
    }

    /// Expires, seconds; too many digits give `u32::MAX`.
    pub fn expires(&self) -> Option<u32> {
        number_saturating(self.header_body(HeaderName::Expires)?)
    }

    /// Min-Expires, seconds.
    pub fn min_expires(&self) -> Option<u32> {
        number_saturating(self.header_body(HeaderName::MinExpires)?)
    }

    /// Max-Forwards.
    pub fn max_forwards(&self) -> Option<u32> {
        number(self.header_body(HeaderName::MaxForwards)?)
    }

    /// Content-Length, bytes.
    pub fn content_length(&self) -> Option<u32> {
        number(self.header_body(HeaderName::ContentLength)?)
    }

    /// Content-Type.
    pub fn content_type(&self) -> Option<ContentType> {
        ContentType::parse(self.buf(), self.header(HeaderName::ContentType)?.body).ok()
    }

    /// Event.
    pub fn event(&self) -> Option<Event> {
        Event::parse(self.buf(), self.header(HeaderName::Event)?.body).ok()
    }

    /// User-Agent.
    pub fn user_agent(&self) -> Option<&[u8]> {
        self.header_body(HeaderName::UserAgent)
    }

    /// Server.
    pub fn server(&self) -> Option<&[u8]> {
        self.header_body(HeaderName::Server)
    }

    /// Option tags of a header as Supported, Require or Proxy-Require.
    pub fn option_tags(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.header_bodies(name).map(|s| self.slice(s))
    }

    /// Option tags of Supported.
    pub fn supported(&self) -> impl Iterator<Item = &[u8]> {
        self.option_tags(HeaderName::Supported)
    }

    /// Option tags of Require.
    pub fn require(&self) -> impl Iterator<Item = &[u8]> {
        self.option_tags(HeaderName::Require)
    }

    /// True where the header lists the option tag.
    pub fn has_option_tag(&self, name: HeaderName, tag: &[u8]) -> bool {
        self.option_tags(name).any(|t| t.eq_ignore_ascii_case(tag))
    }

    /// RAck.
    pub fn rack(&self) -> Option<RAck> {
        RAck::parse(self.buf(), self.header(HeaderName::RAck)?.body).ok()
    }

    /// RSeq.
    pub fn rseq(&self) -> Option<u32> {
        number(self.header_body(HeaderName::RSeq)?)
    }

    /// The first value of a header that holds an address. Not cached.
    pub fn name_addr(&self, name: HeaderName) -> Option<NameAddr> {
        let span = self.header_bodies(name).next()?;
        NameAddr::parse(self.buf(), span).ok()
    }

    /// All values of a header that holds addresses, those that cannot be read left out.
    pub fn name_addrs(&self, name: HeaderName) -> impl Iterator<Item = NameAddr> {
        self.header_bodies(name)
            .filter_map(|s| NameAddr::parse(self.buf(), s).ok())
    }

    /// Refer-To.
    pub fn refer_to(&self) -> Option<NameAddr> {
        self.name_addr(HeaderName::ReferTo)
    }

    /// The first Diversion.
    pub fn diversion(&self) -> Option<NameAddr> {
        self.name_addr(HeaderName::Diversion)
    }

    /// The first P-Asserted-Identity.
    pub fn pai(&self) -> Option<NameAddr> {
        self.name_addr(HeaderName::PAssertedIdentity)
    }

    /// The first P-Preferred-Identity.
    pub fn ppi(&self) -> Option<NameAddr> {
        self.name_addr(HeaderName::PPreferredIdentity)
    }

    /// The first Remote-Party-ID.
    pub fn rpid(&self) -> Option<NameAddr> {
        self.name_addr(HeaderName::RemotePartyId)
    }

    fn one<'m, T>(
        &'m self,
        cell: &'m OnceCell<Option<T>>,
        name: HeaderName,
        parse: fn(&[u8], Span) -> Result<T, ParseError>,
    ) -> Option<&'m T> {
        self.cache.used.set(true);
        cell.get_or_init(|| parse(self.buf(), self.header(name)?.body).ok())
            .as_ref()
    }

    fn list<'m, T>(
        &'m self,
        lazy: &'m LazyList<T>,
        name: HeaderName,
        parse: impl Fn(&[u8], Span) -> Result<T, ParseError>,
    ) -> Result<&'m [T], ParseError> {
        self.cache.used.set(true);
        let made = lazy.cell.get_or_init(|| {
            let mut list = lazy.spare.take();
            for h in self.headers_named(name) {
                // Credentials hold commas of their own: one a line.
                if name.is_list() {
                    for span in Commas::new(self.buf(), h.body) {
                        list.push(parse(self.buf(), span)?);
                    }
                } else {
                    list.push(parse(self.buf(), h.body)?);
                }
            }
            Ok(list)
        });
        match made {
            Ok(list) => Ok(list),
            Err(e) => Err(*e),
        }
    }
}

/// What was parsed of a message so far.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Set by the first use, so that clearing an unused cache costs one test.
    used: Cell<bool>,
    via1: OnceCell<Option<Via>>,
    vias: LazyList<Via>,
    from: OnceCell<Option<NameAddr>>,
    to: OnceCell<Option<NameAddr>>,
    cseq: OnceCell<Option<CSeq>>,
    contacts: LazyList<Contact>,
    routes: LazyList<Route>,
    record_routes: LazyList<Route>,
    paths: LazyList<Route>,
    auth: LazyList<Credentials>,
    proxy_auth: LazyList<Credentials>,
}

impl Cache {
    pub(crate) fn clear(&mut self) {
        if !self.used.replace(false) {
            return;
        }
        self.via1.take();
        self.from.take();
        self.to.take();
        self.cseq.take();
        self.vias.clear();
        self.contacts.clear();
        self.routes.clear();
        self.record_routes.clear();
        self.paths.clear();
        self.auth.clear();
        self.proxy_auth.clear();
    }
}

/// A list made once per message, its memory kept for the next.
pub(crate) struct LazyList<T> {
    cell: OnceCell<Result<Vec<T>, ParseError>>,
    spare: Cell<Vec<T>>,
}

impl<T> LazyList<T> {
    fn clear(&mut self) {
        if let Some(Ok(mut list)) = self.cell.take() {
            list.clear();
            self.spare.set(list);
        }
    }
}

impl<T> Default for LazyList<T> {
    fn default() -> LazyList<T> {
        LazyList {
            cell: OnceCell::new(),
            spare: Cell::default(),
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for LazyList<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cell.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_typed() {
        let text = b"SUBSCRIBE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h1;branch=z9hG4bK1, SIP/2.0/TCP h2\r\nv: SIP/2.0/TLS h3\r\n\
            From: <sip:f@b>;tag=1\r\nTo: <sip:t@b>\r\nCall-ID: x\r\nCSeq: 7 SUBSCRIBE\r\nRoute: <sip:r1;lr>, <sip:r2>\r\n\
            Contact: <sip:c1@d>;q=0.1\r\nm: \"x,y\" <sip:c2@d>\r\no: presence;id=5\r\nSupported: path, gruu\r\nk: outbound\r\n\
            Expires: 3600\r\nMax-Forwards: 70\r\nc: multipart/mixed;boundary=\"x\"\r\nP-Asserted-Identity: <sip:p@d>, <tel:+1>\r\n\
            RAck: 1 2 INVITE\r\nRSeq: 9\r\nContent-Length: 0\r\n\r\n";
        let m = Message::from_bytes(text).unwrap();
        let b = m.buf();
        assert_eq!(m.via(0).unwrap().host(b), b"h1");
        assert_eq!(m.via(2).unwrap().host(b), b"h3");
        assert_eq!(m.via(3), None);
        assert_eq!(m.vias().unwrap().len(), 3);
        assert_eq!((m.from_tag(), m.to_tag()), (Some(&b"1"[..]), None));
        assert_eq!(m.routes().unwrap().len(), 2);
        assert!(m.record_routes().unwrap().is_empty());
        assert_eq!(m.contacts().unwrap().list().len(), 2);
        let e = m.event().unwrap();
        assert_eq!(
            (e.package.of(b), e.id.unwrap().of(b)),
            (&b"presence"[..], &b"5"[..])
        );
        assert!(m.has_option_tag(HeaderName::Supported, b"Outbound"));
        assert_eq!(m.supported().count(), 3);
        assert_eq!(
            (m.expires(), m.max_forwards(), m.content_length()),
            (Some(3600), Some(70), Some(0))
        );
        assert_eq!(
            m.content_type().unwrap().params(b).value(b"boundary"),
            Some(&b"x"[..])
        );
        assert_eq!(m.name_addrs(HeaderName::PAssertedIdentity).count(), 2);
        assert_eq!((m.rack().unwrap().rseq, m.rseq()), (1, Some(9)));
        let m = Message::from_bytes(b"REGISTER sip:b SIP/2.0\r\nContact: *\r\n\r\n").unwrap();
        assert!(m.contacts().unwrap().is_star());
        let m = Message::from_bytes(b"REGISTER sip:b SIP/2.0\r\nContact: <sip:a\r\n\r\n").unwrap();
        assert!(m.contacts().is_err());
    }
}
