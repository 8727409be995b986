//! Who files of the server belong to, and where those named without a directory go.

use nix::unistd::{Gid, Group, Uid, User, chown};
use std::path::{Path, PathBuf};

/// The group of this name or number.
pub fn group_id(name: &str) -> Result<Gid, String> {
    match name.parse() {
        Ok(n) => Ok(Gid::from_raw(n)),
        Err(_) => match Group::from_name(name) {
            Ok(Some(g)) => Ok(g.gid),
            _ => Err(format!("no group \"{name}\"")),
        },
    }
}

/// The user of this name or number.
pub fn user_id(name: &str) -> Result<Uid, String> {
    match name.parse() {
        Ok(n) => Ok(Uid::from_raw(n)),
        Err(_) => match User::from_name(name) {
            Ok(Some(u)) => Ok(u.uid),
            _ => Err(format!("no user \"{name}\"")),
        },
    }
}

/// Gives a file to a user and group, each by name or number.
pub fn give(path: &Path, user: Option<&str>, group: Option<&str>) -> Result<(), String> {
    let uid = user.map(user_id).transpose()?;
    let gid = group.map(group_id).transpose()?;
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    chown(path, uid, gid).map_err(|e| format!("can't give {} to its owner: {e}", path.display()))
}

/// A path of a socket or pipe: one without a directory goes to the run directory (`-Y`).
pub fn run_path(name: &str) -> PathBuf {
    let given = crate::server::try_server().and_then(|s| s.config.text("rundir"));
    Path::new(given.unwrap_or("/run/kamailio")).join(name)
}
