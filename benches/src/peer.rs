//! A server under test: Olelo or Kamailio, with the same configuration and Lua script.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server's program and where its modules are.
#[derive(Debug, Clone)]
pub struct Program {
    /// Path of the program.
    pub path: PathBuf,
    /// Directory of its modules; none where they are linked in.
    pub modules: Option<PathBuf>,
    /// More options.
    pub args: Vec<String>,
}

/// A running server.
pub struct Running {
    child: Child,
    dir: PathBuf,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// The routing that is measured: a registrar and record-routing proxy.
const SCRIPT: &str = include_str!("route.lua");

impl Program {
    /// Starts it and waits until it answers an OPTIONS.
    pub fn start(&self, workers: usize) -> io::Result<Running> {
        let dir = std::env::temp_dir().join(format!("olelo-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        std::fs::write(dir.join("route.lua"), SCRIPT)?;
        std::fs::write(dir.join("server.cfg"), self.config(&dir, port, workers))?;
        let child = Command::new(&self.path)
            .args([
                "-f",
                "server.cfg",
                "-DD",
                "-E",
                "-m",
                "512",
                "-M",
                "16",
                "-w",
            ])
            .arg(&dir)
            .arg("-Y")
            .arg(&dir)
            .args(&self.args)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Running {
            child,
            dir,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        };
        server.wait()?;
        Ok(server)
    }

    fn config(&self, dir: &Path, port: u16, workers: usize) -> String {
        let mut c = format!(
            "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nchildren={workers}\ntcp_children={workers}\nauto_aliases=no\nalias=\"bench.local\"\nlisten=udp:127.0.0.1:{port}\nlisten=tcp:127.0.0.1:{port}\n"
        );
        if let Some(m) = &self.modules {
            c.push_str(&format!("mpath=\"{}/\"\n", m.display()));
        }
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
            "siputils",
            "sanity",
            "ctl",
            "kemix",
            "app_lua",
        ] {
            c.push_str(&format!("loadmodule \"{m}.so\"\n"));
        }
        let d = dir.display();
        c.push_str(&format!(
            "modparam(\"ctl\", \"binrpc\", \"unix:{d}/ctl\")\nmodparam(\"usrloc\", \"hash_size\", 14)\nmodparam(\"usrloc\", \"preload\", \"location\")\nmodparam(\"registrar\", \"max_expires\", 3600)\nmodparam(\"app_lua\", \"load\", \"{d}/route.lua\")\ncfgengine \"lua\"\n"
        ));
        c
    }
}

impl Running {
    fn wait(&self) -> io::Result<()> {
        let s = UdpSocket::bind("127.0.0.1:0")?;
        s.set_read_timeout(Some(Duration::from_millis(50)))?;
        let me = s.local_addr()?;
        let end = Instant::now() + Duration::from_secs(20);
        let mut n = 0;
        while Instant::now() < end {
            n += 1;
            let _ = s.send_to(crate::load::options(me, n).as_bytes(), self.addr);
            if s.recv(&mut [0u8; 2048]).is_ok() {
                return Ok(());
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer from the server in {}", self.dir.display()),
        ))
    }

    /// Nanoseconds of CPU that all its processes have used.
    pub fn cpu_ns(&self) -> u64 {
        self.pids().into_iter().map(cpu_of).sum()
    }

    /// Bytes of memory of all its processes, shared pages counted once.
    pub fn memory(&self) -> u64 {
        self.pids().into_iter().map(pss_of).sum()
    }

    fn pids(&self) -> Vec<u32> {
        let mut parents = Vec::new();
        for e in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some(pid) = e.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                let parent = stat
                    .rsplit(')')
                    .next()
                    .and_then(|r| r.split_whitespace().nth(1))
                    .and_then(|p| p.parse::<u32>().ok());
                parents.push((pid, parent.unwrap_or(0)));
            }
        }
        let mut all = vec![self.child.id()];
        let mut i = 0;
        while i < all.len() {
            let of = all[i];
            all.extend(parents.iter().filter(|(_, p)| *p == of).map(|(c, _)| *c));
            i += 1;
        }
        all
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn cpu_of(pid: u32) -> u64 {
    let mut sum = 0;
    for t in std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = std::fs::read_to_string(t.path().join("schedstat")).unwrap_or_default();
        sum += text
            .split_whitespace()
            .next()
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0);
    }
    sum
}

fn pss_of(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kb = text
        .lines()
        .find_map(|l| l.strip_prefix("Pss:"))
        .and_then(|r| r.split_whitespace().next())
        .and_then(|n| n.parse::<u64>().ok());
    kb.unwrap_or(0) * 1024
}
