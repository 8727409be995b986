//! `olctl top`: what the server does now, drawn anew each second. `q` ends.

use crate::client::Client;
use crate::show;
use crossterm::event::{Event, KeyCode, KeyModifiers, poll, read};
use crossterm::{cursor, execute, terminal};
use olelo_ipc::Value;
use std::collections::HashMap;
use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

/// Draws until `q`. Where the output is no terminal, one picture is printed.
pub fn run(socket: Option<&str>) -> Result<(), String> {
    let mut c = Client::connect(socket)?;
    let mut before = Sample::take(&mut c)?;
    if !stdout().is_terminal() {
        std::thread::sleep(Duration::from_secs(1));
        print!("{}", Sample::take(&mut c)?.draw(&before));
        return Ok(());
    }
    let fail = |e: std::io::Error| e.to_string();
    terminal::enable_raw_mode().map_err(fail)?;
    execute!(stdout(), terminal::EnterAlternateScreen, cursor::Hide).map_err(fail)?;
    let ended = (|| {
        loop {
            let end = Instant::now() + Duration::from_secs(1);
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                if poll(left).map_err(fail)?
                    && let Event::Key(k) = read().map_err(fail)?
                    && (k.code == KeyCode::Char('q')
                        || (k.code == KeyCode::Char('c')
                            && k.modifiers.contains(KeyModifiers::CONTROL)))
                {
                    return Ok(());
                }
            }
            let now = Sample::take(&mut c)?;
            let text = now.draw(&before).replace('\n', "\r\n");
            execute!(
                stdout(),
                terminal::Clear(terminal::ClearType::All),
                cursor::MoveTo(0, 0)
            )
            .map_err(fail)?;
            let _ = stdout().write_all(text.as_bytes());
            let _ = stdout().flush();
            before = now;
        }
    })();
    let _ = execute!(stdout(), cursor::Show, terminal::LeaveAlternateScreen);
    let _ = terminal::disable_raw_mode();
    ended
}

/// What the server said at one moment.
struct Sample {
    at: Instant,
    processes: Vec<Value>,
    numbers: HashMap<String, i64>,
    memory: HashMap<String, i64>,
    uptime: i64,
}

impl Sample {
    fn take(c: &mut Client) -> Result<Sample, String> {
        let processes = c.call("core.psx", &[])?;
        let numbers = c
            .call("stats.fetchn", &["all".into()])
            .map(|v| numbers(v.first()))
            .unwrap_or_default();
        let memory = numbers_of(c, "core.shmmem")?;
        let uptime = numbers_of(c, "core.uptime")?
            .get("uptime")
            .copied()
            .unwrap_or(0);
        Ok(Sample {
            at: Instant::now(),
            processes,
            numbers,
            memory,
            uptime,
        })
    }

    fn draw(&self, before: &Sample) -> String {
        let seconds = self.at.duration_since(before.at).as_secs_f64().max(0.001);
        let n = |k: &str| self.numbers.get(k).copied().unwrap_or(0);
        let rate = |k: &str| (n(k) - before.numbers.get(k).copied().unwrap_or(0)) as f64 / seconds;
        let mem = |k: &str| self.memory.get(k).copied().unwrap_or(0) as f64 / 1_048_576.0;
        let mut out = format!(
            "olelo, up {} s\nrequests {:.0}/s  replies {:.0}/s  transactions {}  contacts {}  tcp connections {}\nshared memory {:.1} of {:.0} MB, most {:.1} MB\n",
            self.uptime,
            rate("core.rcv_requests"),
            rate("core.rcv_replies"),
            n("tmx.inuse_transactions").max(n("tm.inuse_transactions")),
            n("usrloc.location-contacts"),
            n("tcp.current_opened_connections"),
            mem("real_used"),
            mem("total"),
            mem("max_used"),
        );
        let old: HashMap<i64, i64> = before
            .processes
            .iter()
            .map(|p| (int(p, "IDX"), int(p, "MESSAGES")))
            .collect();
        let rows: Vec<Value> = self
            .processes
            .iter()
            .map(|p| {
                let done = int(p, "MESSAGES") - old.get(&int(p, "IDX")).copied().unwrap_or(0);
                Value::Struct(vec![
                    ("slot".into(), Value::Int(int(p, "IDX"))),
                    ("pid".into(), Value::Int(int(p, "PID"))),
                    ("process".into(), Value::Str(string(p, "DSC"))),
                    (
                        "messages/s".into(),
                        Value::Str(format!("{:.0}", done as f64 / seconds)),
                    ),
                    ("generation".into(), Value::Int(int(p, "GENERATION"))),
                    ("deaths".into(), Value::Int(int(p, "DEATHS"))),
                ])
            })
            .collect();
        if let Some(t) = show::table(&rows) {
            out.push_str(&t.to_string());
            out.push('\n');
        }
        out
    }
}

fn numbers_of(c: &mut Client, command: &str) -> Result<HashMap<String, i64>, String> {
    Ok(numbers(c.call(command, &[])?.first()))
}

fn numbers(v: Option<&Value>) -> HashMap<String, i64> {
    match v {
        Some(Value::Struct(f)) => f
            .iter()
            .filter_map(|(k, v)| {
                if let Value::Int(i) = v {
                    Some((k.clone(), *i))
                } else {
                    None
                }
            })
            .collect(),
        _ => HashMap::new(),
    }
}

fn field<'a>(v: &'a Value, name: &str) -> Option<&'a Value> {
    match v {
        Value::Struct(f) => f.iter().find(|(n, _)| n == name).map(|(_, v)| v),
        _ => None,
    }
}

fn int(v: &Value, name: &str) -> i64 {
    match field(v, name) {
        Some(Value::Int(i)) => *i,
        _ => 0,
    }
}

fn string(v: &Value, name: &str) -> String {
    match field(v, name) {
        Some(Value::Str(s)) => s.clone(),
        _ => String::new(),
    }
}
