//! What the engines of a main server ask of database and cache, and what comes of it: facts that show in no row and
//! no answer. The process writes them down, a line each; the rig makes events of them (`inside`).
//!
//! A fact is in the file before what it tells of is done, so a process that is killed did nothing that the file does not
//! have: at most its last line is torn, and what that was to tell never happened. Lines are counted, so one that is
//! missing shows. No line holds a payload, a key of a cipher or an address.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use sync_core::cache::{CacheKey, CacheReply, CacheRequest};
use sync_core::host_sync::sealed::Body;
use sync_core::host_sync::server::{ServerEffect, ServerInput};
use sync_core::id::Token;
use sync_core::store::{StoreReply, StoreRequest};
use sync_core::time::Now;
use sync_core::wire::{self, OuterRequest};

use crate::history::{StateName, WireId};

/// Makes the file of a process: for this user alone, and for reading from here.
///
/// # Errors
/// Those of the file system.
pub(super) fn make(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// Counts the lines of one life of a main server, from 0.
    n: u64,
    /// When the engine was called, in microseconds since 1970: the clock by which the database tells its commits.
    pub(super) wall_us: u64,
    /// The same on a clock that is never set, from any moment.
    mono_us: u64,
    /// Whose it is: an engine of the main server, from 0.
    pub(super) shard: u32,
    /// What happened.
    pub(super) fact: Fact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fact {
    /// The database is asked to decide these operations together.
    Batch { ids: Vec<WireId> },
    /// The database has answered a write of these states.
    Written { keys: Vec<StateName> },
    /// The cache is asked for a state: a read begins, for this operation.
    Began { read: u64, key: StateName, id: WireId },
    /// The cache gave this version, and the read is over.
    Served { read: u64, version: u64 },
    /// The database has answered and the read is over: with this version, or with none.
    Loaded { read: u64, version: Option<u64> },
    /// An end in order; nothing follows.
    End,
}

/// The file of one process; clones write to the same.
#[derive(Clone, Debug)]
pub(super) struct FactFile(Arc<Mutex<Out>>);

#[derive(Debug)]
struct Out {
    file: File,
    lines: u64,
    text: Vec<u8>,
}

impl FactFile {
    /// Goes on with a file that the parent made.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().append(true).open(path)?;
        Ok(Self(Arc::new(Mutex::new(Out { file, lines: 0, text: Vec::new() }))))
    }

    /// Writes facts of one call down before anything follows from it. A process that cannot do so ends: what it did would
    /// be missing.
    fn write(&self, now: Now, shard: u32, facts: Vec<Fact>) {
        if facts.is_empty() {
            return;
        }
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = out.write(now, shard, facts) {
            let _ =
                writeln!(io::stderr().lock(), "what this main server does cannot be written down: {error}");
            std::process::exit(EXIT_UNWRITTEN);
        }
    }

    /// The process ends in order.
    pub(super) fn end(&self, now: Now) {
        self.write(now, 0, vec![Fact::End]);
    }
}

impl Out {
    fn write(&mut self, now: Now, shard: u32, facts: Vec<Fact>) -> io::Result<()> {
        self.text.clear();
        for fact in facts {
            let (wall_us, mono_us) = (now.wall.as_us(), now.monotonic.as_us());
            serde_json::to_writer(&mut self.text, &Line { n: self.lines, wall_us, mono_us, shard, fact })?;
            self.text.push(b'\n');
            self.lines += 1;
        }
        self.file.write_all(&self.text)
    }
}

/// Sees the calls of one engine.
#[derive(Debug)]
pub(super) struct FactTap {
    file: FactFile,
    shard: u32,
    /// Reads that wait for the cache.
    looks: FxHashSet<Token>,
    /// Reads that wait for the database, named by the token of their look.
    loads: FxHashMap<Token, u64>,
    writes: FxHashMap<Token, Vec<StateName>>,
}

impl FactTap {
    /// The tap of the engine of this number.
    pub(super) fn new(file: FactFile, shard: u32) -> Self {
        let (looks, loads, writes) = Default::default();
        Self { file, shard, looks, loads, writes }
    }

    /// One call.
    pub(super) fn call(
        &mut self,
        now: Now,
        input: Option<&ServerInput<Body>>,
        effects: &[ServerEffect<Body>],
    ) {
        let facts = self.facts(input, effects);
        self.file.write(now, self.shard, facts);
    }

    fn facts(&mut self, input: Option<&ServerInput<Body>>, effects: &[ServerEffect<Body>]) -> Vec<Fact> {
        let mut facts = Vec::new();
        // The read that goes on with the database.
        let mut missed = None;
        match input {
            Some(ServerInput::Cached { token, answer }) if self.looks.remove(token) => match answer {
                Ok(CacheReply::Value(Some(value))) => {
                    facts.push(Fact::Served { read: token.0, version: value.version });
                }
                _ => missed = Some(token.0),
            },
            Some(ServerInput::Stored { token, answer }) => {
                if let Some(read) = self.loads.remove(token) {
                    let version = match answer {
                        Ok(StoreReply::Loaded(Some(row))) => Some(row.version),
                        _ => None,
                    };
                    facts.push(Fact::Loaded { read, version });
                }
                let written = self.writes.remove(token).filter(|_| answer.is_ok());
                facts.extend(written.map(|keys| Fact::Written { keys }));
            }
            _ => {}
        }
        for effect in effects {
            match effect {
                ServerEffect::Cache {
                    token: Some(token),
                    request: CacheRequest::Get(CacheKey::State(key)),
                } => {
                    let Some(id) = input.and_then(asked_by) else { continue };
                    self.looks.insert(*token);
                    facts.push(Fact::Began { read: token.0, key: StateName(key.clone()), id });
                }
                ServerEffect::Store { token, request: StoreRequest::Load(_) } => {
                    self.loads.extend(missed.map(|read| (*token, read)));
                }
                ServerEffect::Store { token, request } if !request.operations().is_empty() => {
                    let operations = request.operations();
                    let ids = operations.iter().map(|apply| WireId::from(apply.operation)).collect();
                    facts.push(Fact::Batch { ids });
                    let keys: Vec<_> = operations.iter().filter_map(|apply| apply.state_key()).collect();
                    if let (StoreRequest::ApplyBatch(_), false) = (request, keys.is_empty()) {
                        self.writes.insert(*token, keys.into_iter().map(StateName).collect());
                    }
                }
                _ => {}
            }
        }
        facts
    }
}

/// The operation of a request, which stands outside its frame.
fn asked_by(input: &ServerInput<Body>) -> Option<WireId> {
    let ServerInput::Request { request, .. } = input else { return None };
    let outer: OuterRequest<'_> = wire::read(request).ok()?;
    Some(outer.operation().ok()?.into())
}

/// Reads the facts of one life, which ended in order or was killed.
///
/// # Errors
/// Why they are not all there, or cannot be held against other moments.
pub(super) fn read(mut file: &File, was_killed: bool) -> Result<Vec<Line>, String> {
    let failed = |error: io::Error| format!("the file of a main server cannot be read: {error}");
    file.rewind().map_err(failed)?;
    let mut reader = BufReader::new(file);
    let (mut lines, mut text) = (Vec::<Line>::new(), Vec::new());
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).map_err(failed)? == 0 {
            break;
        }
        if text.last() != Some(&b'\n') && was_killed {
            // What it was to tell was not done.
            break;
        }
        let line: Line = serde_json::from_slice(&text)
            .map_err(|_| format!("line {} of a main server's file is damaged", lines.len() + 1))?;
        if line.n != lines.len() as u64 {
            return Err(format!("line {} of a main server's file is missing", lines.len() + 1));
        }
        if lines.len() >= LINES_MAX {
            return Err(format!("more than {LINES_MAX} lines of one main server"));
        }
        lines.push(line);
    }
    match lines.last() {
        Some(Line { fact: Fact::End, .. }) => {}
        _ if was_killed => {}
        _ => return Err("a main server ended in order, and the end of its file is missing".to_owned()),
    }
    let offset = |line: &Line| line.wall_us.abs_diff(line.mono_us);
    // The end is no call of an engine, and of another clock.
    let offsets = || lines.iter().filter(|line| line.fact != Fact::End).map(offset);
    let spread_us = offsets().max().unwrap_or(0) - offsets().min().unwrap_or(0);
    if spread_us > SET_US_MAX {
        return Err(format!("the machine's clock was set by {} ms meanwhile", spread_us / 1_000));
    }
    Ok(lines)
}

/// The exit code of a main server that could not write down what it does.
const EXIT_UNWRITTEN: i32 = 5;
/// Lines of one life that are looked at.
const LINES_MAX: usize = 4_000_000;
/// How far the two clocks may part, in microseconds: they are read one after the other, on a busy machine.
const SET_US_MAX: u64 = 250_000;

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use sync_core::time::{Instant, Timestamp};

    use super::*;

    /// A line of the first engine at this moment.
    pub(in crate::live_rig) fn line(wall_us: u64, fact: Fact) -> Line {
        Line { n: 0, wall_us, mono_us: wall_us, shard: 0, fact }
    }

    fn served(read: u64) -> Fact {
        Fact::Served { read, version: 1 }
    }

    fn written(facts: &[Fact]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let out = FactFile::open(file.path()).unwrap();
        for (us, fact) in (0..).zip(facts) {
            let now = Now { monotonic: Instant::from_us(us), wall: Timestamp::from_us(1_000 + us) };
            out.write(now, 0, vec![fact.clone()]);
        }
        file
    }

    fn facts(file: &tempfile::NamedTempFile, was_killed: bool) -> Result<Vec<Fact>, String> {
        let lines = read(file.as_file(), was_killed)?;
        Ok(lines.into_iter().map(|line| line.fact).collect())
    }

    #[test]
    fn what_was_written_is_read_and_only_a_killed_life_may_lack_its_end() {
        let ended = written(&[served(1), Fact::End]);
        assert_eq!(facts(&ended, false), Ok(vec![served(1), Fact::End]));
        let cut = written(&[served(1), served(2)]);
        assert_eq!(facts(&cut, true), Ok(vec![served(1), served(2)]));
        assert!(facts(&cut, false).unwrap_err().contains("the end of its file is missing"));
        assert!(facts(&written(&[]), false).is_err());
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_all_other_damage_is_told() {
        let torn = written(&[served(1)]);
        let mut end = File::options().append(true).open(torn.path()).unwrap();
        end.write_all(b"{\"n\":1,\"wa").unwrap();
        assert_eq!(facts(&torn, true), Ok(vec![served(1)]));
        assert!(facts(&torn, false).unwrap_err().contains("line 2"));
        end.write_all(b"\n").unwrap();
        assert!(facts(&torn, true).unwrap_err().contains("line 2 of a main server's file is damaged"));
        let lacking = written(&[served(1), served(2), Fact::End]);
        let text = std::fs::read_to_string(lacking.path()).unwrap();
        let without: Vec<_> = text.lines().filter(|line| !line.contains("\"n\":1,")).collect();
        std::fs::write(lacking.path(), without.join("\n") + "\n").unwrap();
        assert!(facts(&lacking, false).unwrap_err().contains("line 2 of a main server's file is missing"));
    }

    #[test]
    fn a_clock_that_was_set_is_told() {
        let file = written(&[served(1)]);
        let out = FactFile::open(file.path()).unwrap();
        out.0.lock().unwrap().lines = 1;
        let at = |us| Now { monotonic: Instant::from_us(9), wall: Timestamp::from_us(us) };
        out.write(at(1_000_000), 0, vec![served(2)]);
        out.end(at(2_000_000));
        assert!(facts(&file, false).unwrap_err().contains("the machine's clock was set by 998 ms"));
    }
}
