//! The death test: calls at a steady rate while processes of the server are killed, one after
//! another.
//!
//! It starts a server of its own (Olelo, or any that reads `kamailio.cfg` and forks its workers),
//! makes calls with clients that retransmit, and every so often kills one process: a UDP worker, a
//! TCP worker, a timer, a control process, in turn. In the end it says what became of the calls, and
//! for Olelo what the server says of itself: `mem.check`, and shared memory before and after.
//!
//!     deaths --seconds 300 --every 50 --rate 1000
//!     deaths --seconds 10 --server /usr/sbin/kamailio
//!
//! Exit code 0: every call was completed, nothing is corrupt, memory came back.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use olelo_ipc::Value;
use olelo_tests::{Ctl, field, free_port, program, unique};
use olload::{Load, Plan};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let args = Args::parse();
    let server = Server::start(&args);
    let before = server.memory();
    let stop = Arc::new(AtomicBool::new(false));
    let killer = {
        let (stop, main, every) = (stop.clone(), server.pid(), args.every);
        std::thread::spawn(move || kill_in_turn(main, every, &stop))
    };
    let mut plan = Plan::new(server.addr);
    plan.rate = args.rate;
    plan.lasting = Duration::from_secs(args.seconds);
    plan.users = 10_000;
    plan.domain = "test.local".into();
    let begun = Instant::now();
    let report = Load::new(plan).expect("the load begins").run();
    stop.store(true, Ordering::Relaxed);
    let kills = killer.join().expect("the killer ends");
    println!("{report}");
    println!("seconds        {:>9.0}", begun.elapsed().as_secs_f64());
    println!("kills          {:>9}", kills.values().sum::<u64>());
    for (kind, n) in &kills {
        println!("               {n:>9}  {kind}");
    }
    let sound = server.verdict(before);
    if sound && report.failures() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Args {
    server: PathBuf,
    seconds: u64,
    rate: f64,
    /// Milliseconds between kills; 0 kills nobody.
    every: u64,
    shm_mb: u64,
    engine: String,
}

impl Args {
    fn parse() -> Args {
        let mut args = Args {
            server: PathBuf::new(),
            seconds: 20,
            rate: 200.0,
            every: 50,
            shm_mb: 512,
            engine: "native".into(),
        };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let value = given.next().unwrap_or_default();
            let number = || {
                value
                    .parse()
                    .unwrap_or_else(|_| panic!("{name} needs a number"))
            };
            match name.as_str() {
                "--server" => args.server = value.into(),
                "--engine" => args.engine = value,
                "--seconds" => args.seconds = number(),
                "--rate" => args.rate = number() as f64,
                "--every" => args.every = number(),
                "--shm" => args.shm_mb = number(),
                _ => panic!(
                    "unknown option {name}; there are --server --engine --seconds --rate --every --shm"
                ),
            }
        }
        args
    }
}

/// The server under test.
struct Server {
    child: Child,
    dir: PathBuf,
    addr: SocketAddr,
    /// Olelo answers questions about itself.
    ours: bool,
}

impl Server {
    fn start(args: &Args) -> Server {
        let ours = args.server.as_os_str().is_empty();
        let path = if ours {
            program("olelo")
        } else {
            args.server.clone()
        };
        let dir = std::env::temp_dir().join(format!("olelo-deaths-{}", unique()));
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        let addr: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let cfg = dir.join("deaths.cfg");
        std::fs::write(&cfg, config(&dir, addr.port(), &args.engine)).expect("a configuration");
        std::fs::write(dir.join("route.lua"), LUA).expect("a script");
        let log = std::fs::File::create(dir.join("log")).expect("a log");
        println!("log            {}", dir.join("log").display());
        let child = Command::new(path)
            .args(["-DD", "-E", "-m", &args.shm_mb.to_string(), "-M", "16"])
            .arg("-f")
            .arg(&cfg)
            .args([
                "-w".as_ref(),
                dir.as_os_str(),
                "-Y".as_ref(),
                dir.as_os_str(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let server = Server {
            child,
            dir,
            addr,
            ours,
        };
        server.wait_until_it_answers();
        server
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn wait_until_it_answers(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout");
        let own = socket.local_addr().expect("an address");
        let ask = format!(
            "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKup\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:{0}>\r\nCall-ID: up\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            self.addr
        );
        for _ in 0..200 {
            let _ = socket.send_to(ask.as_bytes(), self.addr);
            if socket.recv(&mut [0; 2048]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not answer; see its log");
    }

    fn call(&self, name: &str, args: &[&str]) -> Option<Vec<Value>> {
        // The control process may have been the last to be killed.
        for _ in 0..100 {
            let ctl = self.dir.join("ctl");
            if std::os::unix::net::UnixStream::connect(&ctl).is_ok()
                && let Ok(v) = Ctl::connect(&ctl).call(name, args)
            {
                return Some(v);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Bytes of shared memory in use.
    fn memory(&self) -> i64 {
        if !self.ours {
            return 0;
        }
        let answer = self.call("core.shmmem", &[]).unwrap_or_default();
        match answer.first().and_then(|v| field(v, "used")) {
            Some(Value::Int(n)) => *n,
            _ => 0,
        }
    }

    /// What the server says of itself after all. Memory of ended transactions goes within their
    /// wait time, so it is looked at until it has.
    fn verdict(&self, before: i64) -> bool {
        if !self.ours {
            let lives = kill(Pid::from_raw(self.pid()), None).is_ok()
                && std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))
                    .is_ok_and(|s| !s.contains(") Z "));
            println!(
                "server         {}",
                if lives {
                    "still runs"
                } else {
                    "has ended as a whole"
                }
            );
            return lives;
        }
        let end = Instant::now() + Duration::from_secs(60);
        let mut after = self.memory();
        while after > before + before / 100 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(200));
            after = self.memory();
        }
        let check = self.call("mem.check", &[]).unwrap_or_default();
        let faults = check.first().and_then(|v| field(v, "faults")).cloned();
        println!("memory before  {before:>9} bytes");
        println!("memory after   {after:>9} bytes");
        println!("mem.check      {faults:?}");
        for row in self
            .call("stats.get_statistics", &["core:"])
            .unwrap_or_default()
        {
            if let Value::Str(s) = &row
                && (s.contains("worker_") || s.contains("panics") || s.contains("quarantine"))
            {
                println!("               {s}");
            }
        }
        if after > before + before / 100 {
            for row in self.call("mem.top", &[]).unwrap_or_default() {
                println!("               {row:?}");
            }
        }
        faults == Some(Value::Int(0)) && after <= before + before / 100
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Kills a process of each kind in turn; returns how many of each.
fn kill_in_turn(main: i32, every_ms: u64, stop: &AtomicBool) -> BTreeMap<String, u64> {
    let mut kills = BTreeMap::new();
    if every_ms == 0 {
        return kills;
    }
    let mut random = std::process::id().wrapping_mul(2_654_435_761);
    let mut turn = 0;
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        next += Duration::from_millis(every_ms);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let mut kinds: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for pid in children(main) {
            kinds.entry(kind_of(pid)).or_default().push(pid);
        }
        let Some((kind, pids)) = kinds.iter().nth(turn % kinds.len().max(1)) else {
            continue;
        };
        turn += 1;
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let victim = pids[(random >> 8) as usize % pids.len()];
        if kill(Pid::from_raw(victim), Signal::SIGKILL).is_ok() {
            *kills.entry(kind.clone()).or_default() += 1;
        }
    }
    kills
}

fn children(main: i32) -> Vec<i32> {
    std::fs::read_to_string(format!("/proc/{main}/task/{main}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|p| p.parse().ok())
        .collect()
}

/// What a process is, by its name: Olelo's are named after what they do.
fn kind_of(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim();
    let kind = name.trim_start_matches("olelo/");
    kind.trim_end_matches(|c: char| c.is_ascii_digit())
        .trim_end()
        .to_string()
}

fn config(dir: &Path, port: u16, engine: &str) -> String {
    let mut text = String::new();
    text.push_str("#!KAMAILIO\ndebug=2\nlog_stderror=yes\nchildren=4\ntcp_children=2\nauto_aliases=no\nalias=\"test.local\"\n");
    text.push_str(&format!(
        "listen=udp:127.0.0.1:{port}\nlisten=tcp:127.0.0.1:{port}\n"
    ));
    for m in [
        "kex",
        "corex",
        "tm",
        "tmx",
        "sl",
        "rr",
        "pv",
        "maxfwd",
        "usrloc",
        "registrar",
        "textops",
        "siputils",
        "ctl",
        "counters",
    ] {
        text.push_str(&format!("loadmodule \"{m}.so\"\n"));
    }
    text.push_str(&format!(
        "modparam(\"ctl\", \"binrpc\", \"unix:{}/ctl\")\nmodparam(\"registrar\", \"max_contacts\", 10)\n",
        dir.display()
    ));
    if engine == "lua" {
        text.push_str(&format!(
            "loadmodule \"app_lua.so\"\nmodparam(\"app_lua\", \"load\", \"{}/route.lua\")\ncfgengine \"lua\"\n",
            dir.display()
        ));
    } else {
        text.push_str(ROUTES);
    }
    text
}

/// A registrar and proxy, as small as it can be.
const ROUTES: &str = r#"
request_route {
	if (!mf_process_maxfwd_header("10")) {
		sl_send_reply("483", "Too Many Hops");
		exit;
	}
	if (is_method("OPTIONS")) {
		sl_send_reply("200", "OK");
		exit;
	}
	if (has_totag()) {
		if (loose_route()) {
			t_relay();
		} else if (is_method("ACK")) {
			if (t_check_trans()) {
				t_relay();
			}
		} else {
			sl_send_reply("404", "Not here");
		}
		exit;
	}
	if (is_method("CANCEL")) {
		if (t_check_trans()) {
			t_relay();
		}
		exit;
	}
	t_check_trans();
	if (is_method("REGISTER")) {
		if (!save("location")) {
			sl_reply_error();
		}
		exit;
	}
	record_route();
	if (!lookup("location")) {
		t_newtran();
		t_reply("404", "Not Found");
		exit;
	}
	if (!t_relay()) {
		sl_reply_error();
	}
	exit;
}
"#;

/// The same in Lua.
const LUA: &str = r#"
function ksr_request_route()
	if KSR.maxfwd.process_maxfwd(10) < 0 then
		KSR.sl.sl_send_reply(483, "Too Many Hops")
		return 1
	end
	if KSR.is_OPTIONS() then
		KSR.sl.sl_send_reply(200, "OK")
		return 1
	end
	if KSR.siputils.has_totag() > 0 then
		if KSR.rr.loose_route() > 0 then
			KSR.tm.t_relay()
		elseif KSR.is_ACK() then
			if KSR.tm.t_check_trans() > 0 then KSR.tm.t_relay() end
		else
			KSR.sl.sl_send_reply(404, "Not here")
		end
		return 1
	end
	if KSR.is_CANCEL() then
		if KSR.tm.t_check_trans() > 0 then KSR.tm.t_relay() end
		return 1
	end
	KSR.tm.t_check_trans()
	if KSR.is_REGISTER() then
		if KSR.registrar.save("location", 0) < 0 then KSR.sl.sl_reply_error() end
		return 1
	end
	KSR.rr.record_route()
	if KSR.registrar.lookup("location") < 0 then
		KSR.tm.t_newtran()
		KSR.tm.t_reply(404, "Not Found")
		return 1
	end
	if KSR.tm.t_relay() < 0 then KSR.sl.sl_reply_error() end
	return 1
end
"#;
