//! `cfgutils.*`: answers are worded as operators' tools know them.

use md5::{Digest, Md5};
use olelo_core::route::value::parse_int;
use olelo_core::rpc::{Answer, Fault, Params, Rpc, rpc, text};
use std::sync::OnceLock;

/// The file, and its hash at the start.
static HASH: OnceLock<(&'static str, String)> = OnceLock::new();

pub(crate) fn commands() -> Vec<Rpc> {
    vec![
        rpc("cfgutils.rand_set_prob", set_probability)
            .args("percent")
            .doc("Sets the percentage of rand_event() that are true."),
        rpc("cfgutils.rand_reset_prob", |_| {
            crate::reset_probability();
            Ok(vec![])
        })
        .doc("Sets the percentage back to its first value."),
        rpc("cfgutils.rand_get_prob", |_| {
            Ok(vec![text(format!(
                "actual probability: {} percent",
                crate::probability()
            ))])
        })
        .doc("The percentage of rand_event() that are true."),
        rpc("cfgutils.set_gflag", |p| {
            crate::set_gflags(bits(p)?);
            Ok(vec![])
        })
        .args("bitmap")
        .doc("Sets the global flags of a bitmap."),
        rpc("cfgutils.reset_gflag", |p| {
            crate::reset_gflags(bits(p)?);
            Ok(vec![])
        })
        .args("bitmap")
        .doc("Clears the global flags of a bitmap."),
        rpc("cfgutils.is_gflag", |p| {
            let b = bits(p)?;
            Ok(vec![text(if crate::gflags() & b == b {
                "TRUE"
            } else {
                "FALSE"
            })])
        })
        .args("bitmap")
        .doc("Whether all flags of a bitmap are set."),
        rpc("cfgutils.get_gflags", |_| {
            let f = crate::gflags();
            Ok(vec![text(format!("0x{f:X} ({f})"))])
        })
        .doc("The global flags."),
        rpc("cfgutils.get_config_hash", |_| {
            Ok(vec![text(stored()?.1.clone())])
        })
        .doc("The hash of hash_file at the start."),
        rpc("cfgutils.check_config_hash", check_hash)
            .doc("Whether hash_file still is what it was at the start."),
    ]
}

/// Takes the hash of the file, if one is configured.
pub(crate) fn remember_hash(file: Option<&'static str>) -> Result<(), String> {
    if let Some(file) = file {
        let h = hash_of(file).map_err(|e| format!("can't read hash_file {file}: {e}"))?;
        let _ = HASH.set((file, h));
    }
    Ok(())
}

fn hash_of(file: &str) -> std::io::Result<String> {
    let digest = Md5::digest(std::fs::read(file)?);
    Ok(digest.iter().map(|b| format!("{b:02x}")).collect())
}

fn stored() -> Result<&'static (&'static str, String), Fault> {
    HASH.get()
        .ok_or_else(|| Fault::new(404, "No hash file configured"))
}

fn check_hash(_: &Params) -> Answer {
    let (file, before) = stored()?;
    let now = hash_of(file)
        .map_err(|e| Fault::new(500, format!("Failed to hash the file {file}: {e}")))?;
    let verdict = if now == *before {
        "Identical hash"
    } else {
        "Different hash"
    };
    Ok(vec![text(verdict)])
}

fn set_probability(p: &Params) -> Answer {
    if crate::set_probability(p.int(0, "percent")?) {
        Ok(vec![])
    } else {
        Err(Fault::new(500, "Invalid Percent"))
    }
}

/// A bitmap in decimal or hexadecimal.
fn bits(p: &Params) -> Result<u32, Fault> {
    let given = p.text(0, "bitmap")?;
    parse_int(given.as_bytes())
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| Fault::new(400, format!("\"{given}\" is no bitmap of 32 flags")))
}
