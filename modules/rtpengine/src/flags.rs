//! The flags that scripts give to `rtpengine_offer()` and its like, as members of an ng command.
//!
//! A text of words, each a token or `key=value`. Known ones go where the ng protocol wants them; a token
//! nobody knows goes into `flags`, a key nobody knows becomes a member by itself, so that what a newer
//! relay understands can be asked for without a newer server.

use crate::bencode::Value;

/// Which Via header's branch tells the legs of a call apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ViaBranch {
    /// None is sent.
    #[default]
    None,
    /// The first.
    First,
    /// The second.
    Second,
    /// The first in requests, the second in replies.
    Auto,
    /// The value of `extra_id_pv`.
    Extra,
    /// The value of `extra_id_pv` in requests, the first Via in replies.
    AutoExtra,
    /// The branch that the next outgoing request has.
    Next,
    /// That one in requests, the first Via in replies.
    AutoNext,
    /// This text.
    Text(String),
}

/// What the flags ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// Members of the command.
    pub members: Vec<(Vec<u8>, Value)>,
    /// The branch to send.
    pub via_branch: ViaBranch,
    /// Send the To-tag where it would not be.
    pub with_to_tag: bool,
    /// In place of the message's To-tag.
    pub to_tag: Option<String>,
    /// In place of the message's From-tag.
    pub from_tag: Option<String>,
    /// In place of the message's Call-ID.
    pub call_id: Option<String>,
    /// The offer completes a session.
    pub force_answer: bool,
    /// Only the side with this From-tag is meant.
    pub directional: bool,
}

/// Lists of the ng protocol, filled word by word.
#[derive(Default)]
struct Lists {
    flags: Vec<Value>,
    replace: Vec<Value>,
    direction: Vec<Value>,
    rtcp_mux: Vec<Value>,
    sdes: Vec<Value>,
    t38: Vec<Value>,
    codec: Vec<(Vec<u8>, Value)>,
}

/// The transport protocol put together from single words.
#[derive(Default)]
struct Transport {
    whole: Option<&'static str>,
    srtp: Option<bool>,
    feedback: Option<bool>,
    dtls: bool,
}

const TRANSPORTS: [&str; 6] = [
    "RTP/AVP",
    "RTP/SAVP",
    "RTP/AVPF",
    "RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "UDP/TLS/RTP/SAVPF",
];

/// What can be done with codecs.
const CODEC: [&str; 9] = [
    "strip",
    "offer",
    "transcode",
    "mask",
    "set",
    "except",
    "accept",
    "consume",
    "ignore",
];

/// Members whose value is a number, with their name in the protocol.
const NUMBERS: [(&str, &str); 3] = [
    ("TOS", "TOS"),
    ("repacketize", "repacketize"),
    ("delete-delay", "delete delay"),
];

impl Asked {
    /// Reads the flags.
    pub fn parse(text: &str) -> Asked {
        let mut asked = Asked::default();
        let mut lists = Lists::default();
        let mut transport = Transport::default();
        for word in text.split_whitespace() {
            let (key, value) = match word.split_once('=') {
                Some((k, v)) => (k, Some(v)),
                None => (word, None),
            };
            if !transport.take(word) && !lists.take(key, value) && !asked.take(key, value) {
                match value {
                    Some(v) => asked.put(key, v.into()),
                    None => lists.flags.push(word.into()),
                }
            }
        }
        if let Some(t) = transport.name() {
            asked.put("transport-protocol", t.into());
        }
        for (name, list) in [
            ("flags", lists.flags),
            ("replace", lists.replace),
            ("direction", lists.direction),
            ("rtcp-mux", lists.rtcp_mux),
            ("SDES", lists.sdes),
            ("T.38", lists.t38),
        ] {
            if !list.is_empty() {
                asked.put(name, Value::List(list));
            }
        }
        if !lists.codec.is_empty() {
            asked.put("codec", Value::Dict(lists.codec));
        }
        asked
    }

    /// Adds a member, in place of one of the same name.
    pub fn put(&mut self, name: &str, v: Value) {
        self.members.retain(|(n, _)| n != name.as_bytes());
        self.members.push((name.as_bytes().to_vec(), v));
    }

    fn take(&mut self, key: &str, value: Option<&str>) -> bool {
        match (key, value) {
            ("to-tag", v) => {
                self.with_to_tag = true;
                self.to_tag = v.map(str::to_string);
            }
            ("from-tag", Some(v)) => self.from_tag = Some(v.into()),
            ("call-id", Some(v)) => self.call_id = Some(v.into()),
            ("force-answer", None) => self.force_answer = true,
            ("directional", None) => self.directional = true,
            ("via-branch", Some(v)) => {
                self.via_branch = match v {
                    "1" => ViaBranch::First,
                    "2" => ViaBranch::Second,
                    "auto" => ViaBranch::Auto,
                    "extra" => ViaBranch::Extra,
                    "auto-extra" => ViaBranch::AutoExtra,
                    "next" => ViaBranch::Next,
                    "auto-next" => ViaBranch::AutoNext,
                    other => ViaBranch::Text(other.into()),
                }
            }
            (k, Some(v)) => {
                let Some((_, name)) = NUMBERS.iter().find(|(n, _)| *n == k) else {
                    return false;
                };
                match v.parse() {
                    Ok(n) => self.put(name, Value::Int(n)),
                    Err(_) => olelo_core::warn!("rtpengine", "\"{k}={v}\": no number; left out"),
                }
            }
            _ => return false,
        }
        true
    }
}

impl Lists {
    fn take(&mut self, key: &str, value: Option<&str>) -> bool {
        let strip = |p: &str| key.strip_prefix(p).filter(|_| value.is_none());
        if let Some(v) = value {
            if let Some(what) = key.strip_prefix("codec-").filter(|w| CODEC.contains(w)) {
                self.codec(what, v);
                return true;
            }
            match key {
                "direction" => self.direction.push(v.into()),
                "T.38" | "t38" | "t.38" => self.t38.push(v.into()),
                _ => return false,
            }
            return true;
        }
        if let Some((what, name)) = strip("codec-").and_then(|c| c.split_once('-'))
            && CODEC.contains(&what)
        {
            self.codec(what, name);
        } else if let Some(name) = strip("transcode-") {
            self.codec("transcode", name);
        } else if let Some(w) = strip("rtcp-mux-") {
            self.rtcp_mux.push(w.into());
        } else if let Some(w) = strip("SDES-") {
            self.sdes.push(w.into());
        } else if let Some(w) = strip("replace-") {
            self.replace.push(w.into());
        } else if key == "internal" || key == "external" {
            self.direction.push(key.into());
        } else {
            return false;
        }
        true
    }

    fn codec(&mut self, what: &str, name: &str) {
        let at = match self.codec.iter().position(|(k, _)| k == what.as_bytes()) {
            Some(at) => at,
            None => {
                self.codec.push((what.into(), Value::List(Vec::new())));
                self.codec.len() - 1
            }
        };
        if let Value::List(l) = &mut self.codec[at].1 {
            l.push(name.into());
        }
    }
}

impl Transport {
    fn take(&mut self, word: &str) -> bool {
        match word {
            "RTP" => self.srtp = Some(false),
            "SRTP" => self.srtp = Some(true),
            "AVP" => self.feedback = Some(false),
            "AVPF" => self.feedback = Some(true),
            "DTLS" => self.dtls = true,
            _ => match TRANSPORTS.iter().find(|t| **t == word) {
                Some(t) => self.whole = Some(t),
                None => return false,
            },
        }
        true
    }

    fn name(&self) -> Option<&'static str> {
        if self.srtp.is_none() && self.feedback.is_none() && !self.dtls {
            return self.whole;
        }
        let feedback = self.feedback.unwrap_or(false);
        Some(match (self.dtls, self.srtp.unwrap_or(false), feedback) {
            (true, _, false) => "UDP/TLS/RTP/SAVP",
            (true, _, true) => "UDP/TLS/RTP/SAVPF",
            (_, true, false) => "RTP/SAVP",
            (_, true, true) => "RTP/SAVPF",
            (_, false, false) => "RTP/AVP",
            (_, false, true) => "RTP/AVPF",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let mut members = Asked::parse(text).members;
        members.sort_by(|a, b| a.0.cmp(&b.0));
        Value::Dict(members).to_json().to_string()
    }

    #[test]
    fn words_go_where_the_protocol_wants_them() {
        for (text, want) in [
            ("", "{}"),
            (
                "trust-address symmetric",
                r#"{"flags":["trust-address","symmetric"]}"#,
            ),
            (
                "force unknown-token",
                r#"{"flags":["force","unknown-token"]}"#,
            ),
            (
                "direction=priv direction=pub",
                r#"{"direction":["priv","pub"]}"#,
            ),
            (
                "internal external",
                r#"{"direction":["internal","external"]}"#,
            ),
            (
                "replace-origin replace-session-connection",
                r#"{"replace":["origin","session-connection"]}"#,
            ),
            (
                "ICE=force address-family=IP6",
                r#"{"ICE":"force","address-family":"IP6"}"#,
            ),
            (
                "TOS=184 delete-delay=0 repacketize=20",
                r#"{"TOS":184,"delete delay":0,"repacketize":20}"#,
            ),
            (
                "rtcp-mux-demux rtcp-mux-offer",
                r#"{"rtcp-mux":["demux","offer"]}"#,
            ),
            (
                "SDES-off SDES-unencrypted_srtp",
                r#"{"SDES":["off","unencrypted_srtp"]}"#,
            ),
            ("T.38=decode T.38=force", r#"{"T.38":["decode","force"]}"#),
            ("SRTP AVPF", r#"{"transport-protocol":"RTP/SAVPF"}"#),
            ("RTP AVP", r#"{"transport-protocol":"RTP/AVP"}"#),
            (
                "UDP/TLS/RTP/SAVPF",
                r#"{"transport-protocol":"UDP/TLS/RTP/SAVPF"}"#,
            ),
            ("DTLS=off", r#"{"DTLS":"off"}"#),
            (
                "codec-transcode=PCMU codec-mask=all transcode-PCMA codec-strip-G729",
                r#"{"codec":{"transcode":["PCMU","PCMA"],"mask":["all"],"strip":["G729"]}}"#,
            ),
            (
                "unknown=val metadata=a|b",
                r#"{"metadata":"a|b","unknown":"val"}"#,
            ),
        ] {
            assert_eq!(json(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_said_about_tags_is_no_member() {
        let a =
            Asked::parse("to-tag=T from-tag=F call-id=C via-branch=auto force-answer directional");
        assert_eq!(a.members, []);
        assert_eq!(a.via_branch, ViaBranch::Auto);
        assert!(a.force_answer && a.directional && a.with_to_tag);
        let texts = [a.to_tag, a.from_tag, a.call_id].map(Option::unwrap);
        assert_eq!(texts, ["T", "F", "C"]);
        assert_eq!(
            Asked::parse("via-branch=z9x").via_branch,
            ViaBranch::Text("z9x".into())
        );
    }
}
