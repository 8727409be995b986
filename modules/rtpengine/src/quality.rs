//! What a relay's answer to `delete` or `query` tells of a call: packets, and the quality of speech as
//! mean opinion scores.
//!
//! The relay keeps three reports per stream source (SSRC): lowest, highest and average score, a score
//! being ten times the MOS. Over all sources the lowest of the lowest is taken, the highest of the
//! highest, and the mean of the averages.

use crate::bencode::Value;
use crate::command::{read_pv, write_pv};
use crate::params::{MOS, MOS_LABELS};
use olelo_core::route::ctx::Ctx;
use olelo_core::route::value::Val;

/// `RTP: 10 bytes, 1 packets, 0 errors; RTCP: …`.
pub(crate) fn totals(answer: &Value) -> Option<String> {
    let of = |what: &str| {
        let n = |k| answer.at(&["totals", what, k]).and_then(Value::as_int);
        Some((n("bytes")?, n("packets")?, n("errors")?))
    };
    let (a, b) = (of("RTP")?, of("RTCP")?);
    Some(format!(
        "RTP: {} bytes, {} packets, {} errors; RTCP: {} bytes, {} packets, {} errors",
        a.0, a.1, a.2, b.0, b.1, b.2
    ))
}

/// Fills the pseudo-variables that the mos parameters name.
pub(crate) fn fill(ctx: &mut Ctx, answer: &Value) {
    // The whole call, then the legs of either label.
    let labels = [None, Some(&MOS_LABELS[0]), Some(&MOS_LABELS[1])];
    for (params, label) in MOS.iter().zip(labels) {
        if params.iter().all(|p| p.get().is_none()) {
            continue;
        }
        let sources = match label {
            None => None,
            Some(l) => match read_pv(ctx, l).filter(|l| !l.is_empty()) {
                Some(label) => Some(labelled(answer, &label)),
                None => continue,
            },
        };
        let Some(values) = measure(answer, sources.as_deref()) else {
            continue;
        };
        for (p, value) in params.iter().zip(values) {
            if let Some(v) = value {
                write_pv(ctx, p, Val::owned(v));
            }
        }
    }
}

/// The sources of the legs with this label.
fn labelled(answer: &Value, label: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (_, tag) in answer.get("tags").map_or(&[][..], Value::members) {
        if tag.get("label").and_then(Value::as_bytes) != Some(label) {
            continue;
        }
        for media in tag.get("medias").map_or(&[][..], Value::items) {
            for stream in media.get("streams").map_or(&[][..], Value::items) {
                if let Some(n) = stream.get("SSRC").and_then(Value::as_int) {
                    out.push(n.to_string().into_bytes());
                }
            }
        }
    }
    out
}

/// The values in the order of the parameters; `None` where nothing was measured.
fn measure(answer: &Value, only: Option<&[Vec<u8>]>) -> Option<[Option<String>; 18]> {
    let sources: Vec<&Value> = answer
        .get("SSRC")?
        .members()
        .iter()
        .filter(|(name, _)| only.is_none_or(|o| o.contains(name)))
        .map(|(_, v)| v)
        .collect();
    let score = |r: &Value| r.get("MOS").and_then(Value::as_int).filter(|n| *n > 0);
    let reports = |kind: &str| -> Vec<&Value> {
        sources
            .iter()
            .filter_map(|s| s.get(kind))
            .filter(|r| score(r).is_some())
            .collect()
    };
    let average = reports("average MOS");
    let lowest = reports("lowest MOS").into_iter().min_by_key(|r| score(r));
    let highest = reports("highest MOS").into_iter().max_by_key(|r| score(r));
    if average.is_empty() && lowest.is_none() && highest.is_none() {
        return None;
    }
    let began = answer.get("created").and_then(Value::as_int).unwrap_or(0);
    let mut out: [Option<String>; 18] = Default::default();
    for (at, report) in [(0, lowest), (6, highest)] {
        let Some(r) = report else { continue };
        out[at] = score(r).map(|n| as_mos(n as f64));
        out[at + 1] = r.get("reported at").and_then(Value::as_int).map(|t| {
            let s = (t - began).max(0);
            format!("{}:{:02}", s / 60, s % 60)
        });
        for (i, key) in PARTS.iter().enumerate() {
            out[at + 2 + i] = r.get(key).and_then(Value::as_int).map(|n| n.to_string());
        }
    }
    if !average.is_empty() {
        let mean = |key: &str| {
            let all: Vec<i64> = average
                .iter()
                .filter_map(|r| r.get(key)?.as_int())
                .collect();
            (!all.is_empty()).then(|| all.iter().sum::<i64>() as f64 / all.len() as f64)
        };
        out[12] = mean("MOS").map(as_mos);
        for (i, key) in PARTS.iter().enumerate() {
            out[13 + i] = mean(key).map(|m| format!("{}", m.round() as i64));
        }
        let samples = average.iter().filter_map(|r| r.get("samples")?.as_int());
        out[17] = Some(samples.sum::<i64>().to_string());
    }
    Some(out)
}

/// Members of a report, in the order of the parameters.
const PARTS: [&str; 4] = [
    "packet loss",
    "jitter",
    "round-trip time",
    "round-trip time leg",
];

fn as_mos(tenths: f64) -> String {
    format!("{:.1}", tenths / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From JSON, for tests that people can read.
    fn ben(j: &serde_json::Value) -> Value {
        match j {
            serde_json::Value::Number(n) => Value::Int(n.as_i64().unwrap()),
            serde_json::Value::String(s) => s.as_str().into(),
            serde_json::Value::Array(a) => Value::List(a.iter().map(ben).collect()),
            serde_json::Value::Object(o) => Value::Dict(
                o.iter()
                    .map(|(k, v)| (k.clone().into_bytes(), ben(v)))
                    .collect(),
            ),
            _ => panic!("not in bencode"),
        }
    }

    fn answer() -> Value {
        let report = |mos: i64, at: i64| {
            serde_json::json!({"MOS": mos, "reported at": at, "packet loss": 2, "jitter": 3,
                "round-trip time": 400, "round-trip time leg": 200, "samples": 10})
        };
        ben(&serde_json::json!({
            "result": "ok", "created": 1000,
            "totals": {"RTP": {"packets": 2, "bytes": 100, "errors": 0}, "RTCP": {"packets": 1, "bytes": 9, "errors": 1}},
            "tags": {"ft": {"label": "caller", "medias": [{"streams": [{"SSRC": 11}]}]}, "tt": {"label": "callee"}},
            "SSRC": {
                "11": {"average MOS": report(40, 0), "lowest MOS": report(31, 1075), "highest MOS": report(43, 1010)},
                "22": {"average MOS": report(30, 0), "lowest MOS": report(25, 1005), "highest MOS": report(41, 1020)},
            },
        }))
    }

    #[test]
    fn totals_are_a_line_of_text() {
        assert_eq!(
            totals(&answer()).unwrap(),
            "RTP: 100 bytes, 2 packets, 0 errors; RTCP: 9 bytes, 1 packets, 1 errors"
        );
        assert_eq!(totals(&Value::Dict(vec![])), None);
    }

    #[test]
    fn scores_are_of_the_whole_call_or_of_labelled_legs() {
        let all = measure(&answer(), None).unwrap().map(Option::unwrap);
        assert_eq!(all[..4], ["2.5", "0:05", "2", "3"]);
        assert_eq!(all[6..8], ["4.3", "0:10"]);
        assert_eq!(all[12..], ["3.5", "2", "3", "400", "200", "20"]);
        let caller = labelled(&answer(), b"caller");
        assert_eq!(caller, [b"11"]);
        let a = measure(&answer(), Some(&caller))
            .unwrap()
            .map(Option::unwrap);
        assert_eq!((a[0].as_str(), a[1].as_str()), ("3.1", "1:15"));
        assert_eq!(measure(&answer(), Some(&[])), None);
    }
}
