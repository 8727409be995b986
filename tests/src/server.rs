//! A server of the test's own.

use crate::language::{LUA, Language, PYTHON};
use crate::{PATIENCE, unique};
use nix::fcntl::{FcntlArg, fcntl};
use olelo_ipc::Value;
use olelo_ipc::binrpc::{self, Body, Packet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Modules that most tests need, in the order of a usual configuration.
const MODULES: &[&str] = &[
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
    "xlog",
    "sanity",
    "ctl",
    "cfg_rpc",
    "kemix",
    "counters",
    "htable",
    "auth",
    "pike",
    "nathelper",
    "acc",
    "jsonrpcs",
];

/// What a server is started with.
pub struct Setup {
    /// `None` for the native language.
    language: Option<Language>,
    script: String,
    cfg: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    modules: Vec<String>,
    files: Vec<(String, String)>,
    children: usize,
    shm_mb: usize,
    stderr: Option<Stdio>,
}

impl Setup {
    /// A server with this Lua script.
    pub fn lua(script: &str) -> Setup {
        Setup::script(LUA, script)
    }

    /// A server with this script.
    pub fn script(language: Language, script: &str) -> Setup {
        Setup::new(Some(language), script)
    }

    /// A server with this Python script.
    pub fn python(script: &str) -> Setup {
        Setup::script(PYTHON, script)
    }

    /// A server with these route blocks.
    pub fn native(routes: &str) -> Setup {
        Setup::new(None, routes)
    }

    fn new(language: Option<Language>, script: &str) -> Setup {
        Setup {
            language,
            script: script.to_string(),
            cfg: String::new(),
            args: Vec::new(),
            env: Vec::new(),
            modules: MODULES.iter().map(|m| m.to_string()).collect(),
            files: Vec::new(),
            children: 2,
            shm_mb: 64,
            stderr: None,
        }
    }

    /// More lines of configuration, after the modules are loaded. `{dir}` is the scratch directory.
    pub fn cfg(mut self, lines: &str) -> Setup {
        self.cfg.push_str(lines);
        self.cfg.push('\n');
        self
    }

    /// More options of the command line.
    pub fn args(mut self, args: &[&str]) -> Setup {
        self.args.extend(args.iter().map(|a| a.to_string()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_string(), value.to_string()));
        self
    }

    /// A file beside the script, or in a folder there.
    pub fn file(mut self, name: &str, text: &str) -> Setup {
        self.files.push((name.to_string(), text.to_string()));
        self
    }

    /// Workers per socket.
    pub fn children(mut self, n: usize) -> Setup {
        self.children = n;
        self
    }

    /// Shared memory.
    pub fn shm_mb(mut self, n: usize) -> Setup {
        self.shm_mb = n;
        self
    }

    /// Where its log goes instead of to the test, which then sees none of it.
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Setup {
        self.stderr = Some(to.into());
        self
    }

    /// Starts the server and waits until it serves.
    pub fn start(self) -> Server {
        Server::start(self)
    }

    /// Starts the server, which must not come to serve, and returns what it logged.
    pub fn refused(self) -> String {
        let mut server = Server::launch(self);
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = server.child.try_wait() {
                assert!(!status.success(), "olelo ended well");
                // Its log is whole once the reader has seen its end.
                while Arc::strong_count(&server.log) > 1 && Instant::now() < end {
                    server.wait_a_moment();
                }
                return server.logged();
            }
            assert!(
                Instant::now() < end && !server.has_logged("serves with"),
                "olelo was to refuse:\n{}",
                server.logged()
            );
            server.wait_a_moment();
        }
    }
}

/// A running server. Ends when dropped.
pub struct Server {
    child: Child,
    dir: PathBuf,
    log: Arc<Log>,
    script: PathBuf,
    /// Where it listens, UDP and TCP alike.
    pub addr: SocketAddr,
}

/// Lines that the server has logged.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Server {
    fn start(s: Setup) -> Server {
        let is_seen = s.stderr.is_none();
        let mut server = Server::launch(s);
        if is_seen {
            server.wait_for_start();
        } else {
            server.eventually("it serves", || {
                UnixStream::connect(server.dir.join("ctl")).is_ok()
                    && server.ctl().call("core.uptime", &[]).is_ok()
            });
        }
        server
    }

    fn launch(mut s: Setup) -> Server {
        let dir = std::env::temp_dir().join(format!("olelo-test-{}", unique()));
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        let port = free_port();
        let addr: SocketAddr = ([127, 0, 0, 1], port).into();
        let script = dir.join(s.language.map_or("routes.cfg".into(), |l| l.file()));
        std::fs::write(&script, &s.script).expect("the script");
        for (name, text) in &s.files {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let cfg = dir.join("olelo.cfg");
        std::fs::write(&cfg, config(&s, &dir, port)).expect("the configuration");
        let mut child = Command::new(program("olelo"))
            .args(["-DD", "-E", "-m", &s.shm_mb.to_string(), "-f"])
            .arg(&cfg)
            .args(["-w"])
            .arg(&dir)
            .args(["-Y"])
            .arg(&dir)
            .args(&s.args)
            .envs(s.env.iter().map(|(n, v)| (n, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(s.stderr.take().unwrap_or_else(Stdio::piped))
            .spawn()
            .expect("olelo starts");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take();
        if let Some(pipe) = &stderr {
            // The server loses lines rather than wait for a reader that gets no CPU.
            let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(1 << 20));
        }
        let sink = log.clone();
        std::thread::spawn(move || {
            let lines = stderr.map(|e| BufReader::new(e).split(b'\n'));
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                sink.lines
                    .lock()
                    .expect("log")
                    .push(String::from_utf8_lossy(&line).into_owned());
                sink.more.notify_all();
            }
        });
        Server {
            child,
            dir,
            log,
            script,
            addr,
        }
    }

    fn wait_for_start(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            if self.has_logged("serves with") {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!(
                    "olelo ended with {status} instead of serving:\n{}",
                    self.logged()
                );
            }
            assert!(
                Instant::now() < end,
                "olelo does not come up:\n{}",
                self.logged()
            );
            self.wait_a_moment();
        }
    }

    fn wait_a_moment(&self) {
        let lines = self.log.lines.lock().expect("log");
        let _ = self
            .log
            .more
            .wait_timeout(lines, std::time::Duration::from_millis(50));
    }

    /// All it has logged.
    pub fn logged(&self) -> String {
        self.log.lines.lock().expect("log").join("\n")
    }

    /// Whether a line with this text has been logged.
    pub fn has_logged(&self, text: &str) -> bool {
        self.log
            .lines
            .lock()
            .expect("log")
            .iter()
            .any(|l| l.contains(text))
    }

    /// Waits for a line with this text and returns it.
    pub fn wait_for_log(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(l) = self
                .log
                .lines
                .lock()
                .expect("log")
                .iter()
                .find(|l| l.contains(text))
            {
                return l.clone();
            }
            assert!(
                Instant::now() < end,
                "no line with \"{text}\" in:\n{}",
                self.logged()
            );
            self.wait_a_moment();
        }
    }

    /// Replaces a file beside the script.
    pub fn write_file(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).expect("a file");
    }

    /// Replaces the text of the script or of the route blocks; what a reload reads.
    pub fn write_script(&self, text: &str) {
        std::fs::write(&self.script, text).expect("the script");
    }

    /// Pid of main.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Its scratch directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A control client.
    pub fn ctl(&self) -> Ctl {
        Ctl::connect(&self.dir.join("ctl"))
    }

    /// Runs a control command that must succeed.
    pub fn call(&self, name: &str, args: &[&str]) -> Vec<Value> {
        self.ctl()
            .call(name, args)
            .unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.logged()))
    }

    /// (pid, description) of its processes.
    pub fn processes(&self) -> Vec<(i64, String)> {
        self.call("core.psx", &[])
            .iter()
            .map(|p| {
                let Some(Value::Int(pid)) = field(p, "PID") else {
                    panic!("no PID in {p:?}")
                };
                let Some(Value::Str(d)) = field(p, "DSC") else {
                    panic!("no DSC in {p:?}")
                };
                (*pid, d.clone())
            })
            // It is there for the moment of a load.
            .filter(|(_, d)| d != "canary")
            .collect()
    }

    /// The value of a statistic, `group.name`.
    pub fn stat(&self, name: &str) -> i64 {
        match self
            .call("stats.fetchn", &[&name.replace('.', ":")])
            .first()
            .and_then(|v| field(v, name).cloned())
        {
            Some(Value::Int(i)) => i,
            other => panic!("no statistic {name}: {other:?}"),
        }
    }

    /// Waits until `done` says so.
    pub fn eventually(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(
                Instant::now() < end,
                "{what} did not come about:\n{}",
                self.logged()
            );
            self.wait_a_moment();
        }
    }

    /// Ends it as an operator does and returns whether it ended well.
    pub fn stop(mut self) -> bool {
        let _ = nix_kill(self.pid(), 15);
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(s)) = self.child.try_wait() {
                return s.success();
            }
            assert!(Instant::now() < end, "olelo does not end");
            self.wait_a_moment();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its children die with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the server's log ----\n{}", self.logged());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A member of a structure.
pub fn field<'a>(v: &'a Value, name: &str) -> Option<&'a Value> {
    match v {
        Value::Struct(f) => f.iter().find(|(n, _)| n == name).map(|(_, v)| v),
        _ => None,
    }
}

fn nix_kill(pid: i32, signal: i32) -> std::io::Result<()> {
    let done = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()?;
    if done.success() {
        Ok(())
    } else {
        Err(std::io::Error::other("kill failed"))
    }
}

fn config(s: &Setup, dir: &Path, port: u16) -> String {
    let mut c = format!(
        "#!KAMAILIO\ndebug=2\nlog_stderror=yes\nchildren={0}\ntcp_children={0}\nauto_aliases=no\nalias=\"test.local\"\nlisten=udp:127.0.0.1:{port}\nlisten=tcp:127.0.0.1:{port}\n",
        s.children
    );
    for m in &s.modules {
        c.push_str(&format!("loadmodule \"{m}.so\"\n"));
    }
    let d = dir.display();
    c.push_str(&format!(
        "modparam(\"ctl\", \"binrpc\", \"unix:{d}/ctl\")\n"
    ));
    if let Some(l) = s.language {
        c.push_str(&format!(
            "loadmodule \"{0}.so\"\nmodparam(\"{0}\", \"load\", \"{d}/{1}\")\ncfgengine \"{2}\"\n",
            l.module,
            l.file(),
            l.engine
        ));
    }
    c.push_str(&s.cfg.replace("{dir}", &d.to_string()));
    if s.language.is_none() {
        c.push_str(&format!("include_file \"{d}/routes.cfg\"\n"));
    }
    c
}

/// A port that is free for UDP and TCP, and no other test's until this process ends.
///
/// Ports that the system hands out by itself (to phones, to clients' ends of connections) are
/// never among these: one of them could be taken between this question and the server's bind.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 16_000;
    let dir = std::env::temp_dir().join("olelo-test-ports");
    std::fs::create_dir_all(&dir).expect("a directory for the ports' locks");
    let start = std::process::id() as u16 % COUNT;
    for i in 0..COUNT {
        let port = FIRST + (start + i) % COUNT;
        let lock = File::create(dir.join(port.to_string())).expect("a port's lock");
        if lock.try_lock().is_ok()
            && UdpSocket::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
        {
            HELD.lock().expect("held ports").push(lock);
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// A program of this workspace, beside the test that runs.
pub fn program(name: &str) -> PathBuf {
    let me = std::env::current_exe().expect("the test's own path");
    let mut dir = me.parent().expect("a directory").to_path_buf();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join(name);
    if !path.exists() {
        let built = Command::new("cargo")
            .args(["build", "-p", name])
            .status()
            .expect("cargo");
        assert!(built.success(), "can't build {name}");
    }
    path
}

/// A control client.
pub struct Ctl(UnixStream);

impl Ctl {
    /// Connects to a server's control socket.
    pub fn connect(path: &Path) -> Ctl {
        let s = UnixStream::connect(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Ctl(s)
    }

    /// Runs a command; arguments that look like numbers are sent as such.
    pub fn call(&mut self, name: &str, args: &[&str]) -> Result<Vec<Value>, String> {
        let args = args
            .iter()
            .map(|a| {
                a.parse()
                    .map_or_else(|_| Value::Str(a.to_string()), Value::Int)
            })
            .collect();
        let packet = Packet {
            cookie: 7,
            body: Body::Request(name.into(), args),
        };
        self.0
            .write_all(&binrpc::encode(&packet))
            .map_err(|e| e.to_string())?;
        let (mut input, mut buf) = (Vec::new(), [0u8; 8192]);
        loop {
            if let Some((p, _)) = binrpc::decode(&input, 1 << 28).map_err(|e| e.to_string())? {
                return match p.body {
                    Body::Reply(v) => Ok(v),
                    Body::Fault(code, why) => Err(format!("{code} {why}")),
                    Body::Request(..) => Err("a request".into()),
                };
            }
            let n = self.0.read(&mut buf).map_err(|e| e.to_string())?;
            if n == 0 {
                return Err("hung up".into());
            }
            input.extend_from_slice(&buf[..n]);
        }
    }
}
