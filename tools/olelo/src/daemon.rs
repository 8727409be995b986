//! The process as the operating system sees it: background, pid file, user, directories.

use crate::cli::Options;
use nix::unistd::User;
use olelo_ipc::signals;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// Tells the shell that waits for the start how it went.
pub struct Ready(Option<UnixStream>);

impl Ready {
    /// All is well; the waiting shell gets its prompt back.
    pub fn done(mut self, keep_stderr: bool) {
        if let Some(mut s) = self.0.take() {
            let _ = signals::detach_streams(keep_stderr);
            let _ = s.write_all(&[0]);
        }
    }
}

/// Goes to the background unless told not to, and into the working directory.
pub fn enter(o: &Options, foreground: bool) -> Result<Ready, String> {
    signals::raise_open_files(65536);
    let stream = if foreground {
        None
    } else {
        Some(signals::daemonise().map_err(|e| format!("can't go to the background: {e}"))?)
    };
    if let Some(root) = &o.chroot {
        nix::unistd::chroot(root).map_err(|e| {
            format!(
                "can't change the root to {}: {e}; that needs root",
                root.display()
            )
        })?;
    }
    if let Some(dir) = &o.workdir {
        std::env::set_current_dir(dir)
            .map_err(|e| format!("can't work in {}: {e}", dir.display()))?;
    } else if !foreground {
        std::env::set_current_dir("/").map_err(|e| format!("can't work in /: {e}"))?;
    }
    Ok(Ready(stream))
}

/// Becomes the user and group asked for, after the sockets are open.
pub fn become_user(o: &Options) -> Result<(), String> {
    if let Some(name) = &o.group {
        let gid = olelo_core::proc::owner::group_id(name)?;
        nix::unistd::setgid(gid)
            .map_err(|e| format!("can't become group \"{name}\": {e}; that needs root"))?;
    }
    if let Some(name) = &o.user {
        let found = match name.parse() {
            Ok(n) => User::from_uid(nix::unistd::Uid::from_raw(n)),
            Err(_) => User::from_name(name),
        };
        let user = found.ok().flatten().ok_or(format!("no user \"{name}\""))?;
        if o.group.is_none() {
            nix::unistd::setgid(user.gid)
                .map_err(|e| format!("can't become the group of \"{name}\": {e}"))?;
        }
        nix::unistd::setuid(user.uid)
            .map_err(|e| format!("can't become user \"{name}\": {e}; that needs root"))?;
    }
    Ok(())
}

/// Writes the pid file. One that names a living process is an error.
pub fn write_pid(o: &Options) -> Result<(), String> {
    let Some(path) = &o.pid_file else {
        return Ok(());
    };
    if let Ok(old) = std::fs::read_to_string(path)
        && let Ok(pid) = old.trim().parse::<i32>()
        && pid != std::process::id() as i32
        && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok()
        && std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|c| c.starts_with("olelo"))
    {
        return Err(format!(
            "{} names the running process {pid}; is Olelo running already?",
            path.display()
        ));
    }
    std::fs::write(path, format!("{}\n", std::process::id()))
        .map_err(|e| format!("can't write {}: {e}", path.display()))
}

/// Removes the pid file.
pub fn remove_pid(o: &Options) {
    if let Some(path) = &o.pid_file {
        let _ = std::fs::remove_file(path);
    }
}
