//! `p2psim replay --recording`.

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use sync_core::diagnostic::Diagnostic;
use sync_core::limits;
use sync_core::recording::{KeyBag, Replayed};
use sync_core::secret::Secret;

use super::files::unreadable;
use super::{INVALID, complain, say};
use crate::recording::{self, EXTENSION};
use crate::report::recording::RECORDING;

/// Exit code when a replay differs.
const DIFFERENT: u8 = 1;

/// Replays every recording named, and says how the process ends.
pub(super) fn replay(path: &Path, key_files: &[PathBuf], quiet: bool) -> u8 {
    let found = keys(key_files).and_then(|keys| Ok((keys, files(path)?)));
    let (keys, files) = match found {
        Ok(found) => found,
        Err(diagnostic) => {
            complain(&format!("{diagnostic}\n"));
            return INVALID;
        }
    };
    let codes = files.iter().map(|file| match replay_file(file, &keys) {
        Ok(replayed) => show(file, &replayed, quiet),
        Err(diagnostic) => {
            complain(&format!("{diagnostic}\n"));
            INVALID
        }
    });
    // The greater code counts: what cannot be read hides more than a difference shows.
    codes.max().unwrap_or(INVALID)
}

fn show(file: &Path, Replayed { totals, cut_short, difference }: &Replayed, quiet: bool) -> u8 {
    let name = file.display();
    if !quiet || difference.is_some() {
        say(&format!(
            "{} {name}: {} engines, {} calls, {} operations, {} requests, {} effects",
            if difference.is_some() { "DIFFERENT" } else { "equal" },
            totals.engines,
            totals.calls,
            totals.operations,
            totals.requests,
            totals.effects
        ));
    }
    if let Some(why) = cut_short {
        complain(&format!("note: {name}: {why}; everything before was replayed"));
    }
    match difference {
        Some(difference) => {
            say(&format!("{name}: {difference}"));
            DIFFERENT
        }
        None => 0,
    }
}

fn replay_file(file: &Path, keys: &KeyBag) -> Result<Replayed, Diagnostic> {
    let name = file.display().to_string();
    let reader = File::open(file).map_err(|error| unreadable(&name, &error))?;
    recording::replay(BufReader::new(reader), keys)
        .map_err(|error| Diagnostic::file_error(&name, error.to_string(), error.help()))
}

/// The file itself, or every recording of a folder in the order of their names; of a run's folder, those in its
/// `recording/`.
fn files(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| unreadable(&name, &error);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let inner = path.join(RECORDING);
    let folder = if inner.is_dir() { &inner } else { path };
    let entries = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let recordings = entries.into_iter().map(|entry| entry.path());
    let mut files: Vec<_> =
        recordings.filter(|path| path.extension().is_some_and(|end| end == EXTENSION)).collect();
    files.sort();
    if files.is_empty() {
        let message = "the folder holds no recording";
        let help = "`p2psim run --record` makes one; recordings are files that end in .jsonl";
        return Err(Diagnostic::file_error(&name, message, help));
    }
    Ok(files)
}

/// Reads files of keys: one a line, empty lines and lines that begin with `#` left out.
fn keys(files: &[PathBuf]) -> Result<KeyBag, Diagnostic> {
    let mut keys = KeyBag::default();
    for file in files {
        let name = file.display().to_string();
        let help =
            "a key file holds a host's key (p2p-host:...) or a main server's (p2p-master:...), one a line";
        let mut text = String::new();
        let read = File::open(file).and_then(|f| f.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text));
        read.map_err(|error| unreadable(&name, &error))?;
        let text = Secret::new(text);
        let lines =
            text.expose().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut found = false;
        for line in lines {
            keys.add(line).map_err(|error| Diagnostic::file_error(&name, error.to_string(), help))?;
            found = true;
        }
        if !found {
            return Err(Diagnostic::file_error(&name, "the file holds no key", help));
        }
    }
    Ok(keys)
}

const KEY_FILE_BYTES_MAX: u64 = limits::CONFIG_BYTES_MAX as u64;
