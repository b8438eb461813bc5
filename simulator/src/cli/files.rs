//! Finding and reading scenario files.

use std::path::{Path, PathBuf};

use sync_core::diagnostic::{Diagnostic, nearest};

use crate::own_resolvers::OwnResolvers;
use crate::scenario::{FILE_BYTES_MAX, Scenario, read_bounded, read_named};

/// A scenario and where it came from.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) scenario: Scenario,
    /// Whether it was named itself, and not a folder that it is in.
    pub(super) is_named: bool,
}

/// Reads every file named, and every `.yaml` and `.yml` file below every folder named, in the order
/// of their names. Everything wrong in any of them is reported.
pub(super) fn read(
    own: &OwnResolvers,
    paths: &[PathBuf],
    sets: &[String],
) -> Result<Vec<Found>, Vec<Diagnostic>> {
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        if let Err(found) = collect(path, &mut files) {
            wrong.push(found);
        }
    }
    let mut scenarios = Vec::new();
    for (path, is_named) in files {
        let name = path.display().to_string();
        let parsed = read_bounded(&path, FILE_BYTES_MAX)
            .map_err(|error| vec![unreadable(&name, &error)])
            .and_then(|bytes| parse(own, &path, &bytes, sets));
        match parsed {
            Ok(scenario) => scenarios.push(Found { path, scenario, is_named }),
            Err(found) => wrong.extend(found),
        }
    }
    if wrong.is_empty() { Ok(scenarios) } else { Err(wrong) }
}

/// Reads a scenario with the files that it names.
pub(super) fn parse(
    own: &OwnResolvers,
    path: &Path,
    bytes: &[u8],
    sets: &[String],
) -> Result<Scenario, Vec<Diagnostic>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut read = |file: &str| read_named(folder, file);
    Scenario::parse_for(own, &path.display().to_string(), bytes, sets, &mut read)
}

fn collect(path: &Path, files: &mut Vec<(PathBuf, bool)>) -> Result<(), Diagnostic> {
    let name = path.display().to_string();
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(&name, &error))?;
    if !metadata.is_dir() {
        files.push((path.to_owned(), true));
        return Ok(());
    }
    let before = files.len();
    walk(path, 0, files).map_err(|error| unreadable(&name, &error))?;
    if files.len() == before {
        let message = "the folder holds no scenario";
        return Err(Diagnostic::file_error(&name, message, "scenarios are files that end in .yaml or .yml"));
    }
    Ok(())
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<(PathBuf, bool)>) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        // Links are not followed, so that no circle is walked.
        if entry.file_type()?.is_dir() && depth < DEPTH_MAX {
            walk(&path, depth + 1, files)?;
        } else if yaml {
            files.push((path, false));
        }
    }
    Ok(())
}

pub(super) fn unreadable(name: &str, error: &std::io::Error) -> Diagnostic {
    let help = match error.kind() {
        std::io::ErrorKind::NotFound => near(Path::new(name)).map_or_else(
            || "check the path; it counts from the folder you are in".to_owned(),
            |near| format!("did you mean `{near}`? paths count from the folder you are in"),
        ),
        _ => "check that the file can be read".to_owned(),
    };
    Diagnostic::file_error(name, format!("cannot read this: {error}"), help)
}

/// What lies where the path leads and is named nearly the same.
fn near(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).ok()?.take(ENTRIES_MAX).filter_map(Result::ok);
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let near = nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).display().to_string())
}

/// Entries of a folder that are looked at for one that may have been meant.
const ENTRIES_MAX: usize = 10_000;

/// Folders below folders that are looked into.
const DEPTH_MAX: usize = 16;
