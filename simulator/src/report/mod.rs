//! What is written about a run: its folder, and each form of its report.
//!
//! A run's folder has fixed names. Every file follows from the plan, and the page and the JUnit
//! file from the command that repeats it besides: the same plan gives the same bytes, so folders can
//! be compared with any tool for files.

mod chart;
mod facts;
pub mod html;
pub mod junit;
mod peers;
pub mod recording;
pub mod schema;
pub mod text;
pub mod timeline;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::plan::Plan;
use crate::run::{RunResult, Summary};
use crate::scenario::model::HistoryMode;

/// What came of the run; it is written last, so a folder that has it is whole.
pub const SUMMARY: &str = "summary.json";
/// What was carried out, to be replayed and shrunk.
pub const PLAN: &str = "plan.txt";
/// What happened, one event a line.
pub const HISTORY: &str = "history.jsonl";
/// Latencies in full.
pub const LATENCY: &str = "latency.hgrm";
/// For a person, in a browser.
pub const HTML: &str = "report.html";
/// For the test page of a CI server.
pub const JUNIT: &str = "junit.xml";

/// The folder of one run.
pub struct RunFolder;

impl RunFolder {
    /// Writes `<root>/<scenario>-seed<seed>[-defect<n>][-live]/` and returns its path. What an earlier run
    /// left there under these names is replaced; other files stay.
    ///
    /// The summary is removed first and written last, and every file is written beside its place,
    /// synced and moved there: a crash leaves a folder without summary, never half a file.
    /// At most one process may write the same folder at a time.
    ///
    /// # Errors
    /// Those of the file system, and `InvalidInput` for a scenario whose name is not one.
    pub fn write(root: &Path, result: &RunResult, plan: &Plan, repeat: &str) -> io::Result<PathBuf> {
        let summary = &result.summary;
        let folder = root.join(name(summary)?);
        fs::create_dir_all(&folder)?;
        remove(&folder.join(SUMMARY))?;
        sync(&folder)?;
        put(&folder, PLAN, plan.to_text().as_bytes())?;
        match plan.world.history {
            HistoryMode::None => remove(&folder.join(HISTORY))?,
            HistoryMode::Full | HistoryMode::FailingKeys => put(&folder, HISTORY, &result.history)?,
        }
        recording::put(&folder, result.recording.as_deref())?;
        put(&folder, LATENCY, result.latencies.to_hgrm().as_bytes())?;
        let page = html::render(summary, &result.latencies, &timeline::bands(plan), repeat);
        put(&folder, HTML, page.as_bytes())?;
        let runs = (std::slice::from_ref(summary), [repeat.to_owned()]);
        put(&folder, JUNIT, junit::render(runs.0, &runs.1).as_bytes())?;
        sync(&folder)?;
        put(&folder, SUMMARY, to_json(summary)?.as_bytes())?;
        sync(&folder)?;
        Ok(folder)
    }
}

/// Whether the folder of such a run below `root` already holds what came of another plan.
///
/// # Errors
/// As [`RunFolder::write`].
pub fn holds_another(root: &Path, plan: &Plan, rig: &str) -> io::Result<bool> {
    let folder = root.join(folder_name(&plan.world.name, plan.seed, plan.defect, rig)?);
    let held = match fs::read(folder.join(PLAN)) {
        Ok(held) => held,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Written out in full or not, it is the same plan.
    let same = |held: Plan| held.expand().to_text() == plan.clone().expand().to_text();
    Ok(!Plan::parse(PLAN, &held).is_ok_and(same))
}

/// The summary as `summary.json` holds it.
///
/// # Errors
/// None that is known: a summary is plain data.
pub fn to_json(summary: &Summary) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(summary)? + "\n")
}

/// The folder's name.
fn name(summary: &Summary) -> io::Result<String> {
    folder_name(&summary.scenario, summary.seed, summary.defect, &summary.rig)
}

fn folder_name(scenario: &str, seed: u64, defect: Option<u32>, rig: &str) -> io::Result<String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if scenario.is_empty() || !scenario.chars().all(legal) {
        let message = format!("`{scenario}` is not a scenario's name: lower-case letters, digits and -");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let defect = defect.map(|number| format!("-defect{number}")).unwrap_or_default();
    let rig = if rig == "virtual" { String::new() } else { format!("-{rig}") };
    Ok(format!("{scenario}-seed{seed}{defect}{rig}"))
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part = folder.join(format!(".{name}.part"));
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(part, folder.join(name))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes renames and removals last. Only Unix lets a folder be opened as a file.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
