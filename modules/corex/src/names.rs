//! Names that the operator knows: records for the core's DNS cache, given at start.
//!
//! `modparam("corex", "dns_cache", "type=A;name=pbx.example;addr=192.0.2.1;ttl=3600;flags=2")`, as
//! often as wanted, or a file of such lines (`dns_file`). They are read with the parameters and go
//! into the cache when the module is initialised.

use olelo_core::dns::{Record, cache};
use olelo_core::route::module::ParamValue;
use std::net::IpAddr;
use std::sync::Mutex;

/// One record for the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    name: String,
    record: Record,
    ttl: u32,
    flags: u8,
}

static GIVEN: Mutex<Vec<Given>> = Mutex::new(Vec::new());

/// The parameter `dns_cache`.
pub(crate) fn add(value: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(text) = value else {
        return Err("a record is a text like \"type=A;name=…;addr=…\"".into());
    };
    keep(parse(text)?)
}

/// The parameter `dns_file`.
pub(crate) fn add_file(value: &ParamValue) -> Result<(), String> {
    let ParamValue::Str(path) = value else {
        return Err("the name of a file is a text".into());
    };
    let text = std::fs::read_to_string(path).map_err(|e| format!("can't read {path}: {e}"))?;
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            keep(parse(line).map_err(|e| format!("{path}, line {}: {e}", i + 1))?)?;
        }
    }
    Ok(())
}

/// Puts what was given into the cache; main, before the forks.
pub(crate) fn init() -> Result<(), String> {
    let all = std::mem::take(&mut *GIVEN.lock().map_err(|e| e.to_string())?);
    for g in all {
        if !cache::add(&g.name, g.record, g.ttl, g.flags) {
            let name = g.name;
            return Err(format!(
                "dns_cache: no room for {name}; see dns_cache_mem and dns_cache_init"
            ));
        }
    }
    Ok(())
}

fn keep(g: Given) -> Result<(), String> {
    GIVEN.lock().map_err(|e| e.to_string())?.push(g);
    Ok(())
}

fn parse(text: &str) -> Result<Given, String> {
    let find = |name: &str| {
        text.split(';').find_map(|item| {
            let (n, v) = item.split_once('=')?;
            n.trim().eq_ignore_ascii_case(name).then(|| v.trim())
        })
    };
    let need = |name: &str| find(name).ok_or_else(|| format!("\"{text}\" has no {name}"));
    let number = |name: &str, most: u32| match find(name) {
        None => Ok(0),
        Some(v) => v
            .parse::<u32>()
            .ok()
            .filter(|n| *n <= most)
            .ok_or_else(|| format!("{name} \"{v}\" is no number up to {most}")),
    };
    let short = |name: &str| Ok::<u16, String>(number(name, 65_535)? as u16);
    let addr = need("addr")?;
    let ip = |fits: fn(&IpAddr) -> bool| {
        let ip: Option<IpAddr> = addr.parse().ok();
        let ip = ip.filter(fits);
        ip.map(Record::Address)
            .ok_or_else(|| format!("\"{addr}\" is no address of this type"))
    };
    let record = match need("type")?.to_ascii_uppercase().as_str() {
        "A" => ip(IpAddr::is_ipv4)?,
        "AAAA" => ip(IpAddr::is_ipv6)?,
        "SRV" => Record::Srv {
            priority: short("priority")?,
            weight: short("weight")?,
            port: short("port")?,
            target: addr.trim_end_matches('.').to_ascii_lowercase(),
        },
        other => return Err(format!("the type is A, AAAA or SRV, not {other}")),
    };
    Ok(Given {
        name: need("name")?.to_string(),
        record,
        ttl: number("ttl", u32::MAX)?,
        flags: number("flags", 255)? as u8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let g = parse("type=A; name=pbx.example;addr=192.0.2.1;ttl=3600;flags=2").unwrap();
        assert_eq!((g.name.as_str(), g.ttl, g.flags), ("pbx.example", 3600, 2));
        assert_eq!(g.record, Record::Address([192, 0, 2, 1].into()));
        let g = parse("type=srv;name=_sip._udp.x;addr=PBX.example.;priority=1;weight=2;port=5070");
        assert_eq!(
            g.unwrap().record,
            Record::Srv {
                priority: 1,
                weight: 2,
                port: 5070,
                target: "pbx.example".into()
            }
        );
        for bad in [
            "",
            "type=A;name=x",
            "type=A;name=x;addr=::1",
            "type=MX;name=x;addr=y",
            "type=A;addr=192.0.2.1",
            "type=SRV;name=x;addr=y;port=70000",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
