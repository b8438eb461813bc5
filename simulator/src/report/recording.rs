//! The recording of a run in its folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder_name;
use crate::plan::Plan;

/// Inputs, draws and effects of every engine, one file a process and life; a folder.
pub const RECORDING: &str = "recording";

/// Where a run is recorded until its folder is written: beside that, and empty.
///
/// # Errors
/// Those of the file system, and `InvalidInput` for a scenario whose name is not one.
pub fn begin(root: &Path, plan: &Plan, rig: &str) -> io::Result<PathBuf> {
    let name = folder_name(&plan.world.name, plan.seed, plan.defect, rig)?;
    let part = root.join(format!(".{name}.{RECORDING}.part"));
    remove(&part)?;
    fs::create_dir_all(&part)?;
    Ok(part)
}

/// Replaces the recording of an earlier run by this one's, if it has one.
pub(super) fn put(folder: &Path, part: Option<&Path>) -> io::Result<()> {
    let place = folder.join(RECORDING);
    remove(&place)?;
    match part {
        Some(part) => fs::rename(part, place),
        None => Ok(()),
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
