//! Runs the binary in a folder of its own and looks at what came of it.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The binary under test.
pub(crate) const P2PSIM: &str = env!("CARGO_BIN_EXE_p2psim");

/// A folder in which commands run.
pub(crate) struct Sandbox(TempDir);

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and returns its name, which commands of this folder find.
    pub(crate) fn write<'a>(&self, name: &'a str, bytes: impl AsRef<[u8]>) -> &'a str {
        std::fs::write(self.path().join(name), bytes).unwrap();
        name
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn p2psim(&self, arguments: &[&str]) -> Ran {
        self.ran(Command::new(P2PSIM).args(arguments))
    }

    /// Lets a shell carry out a line, as a person pastes it.
    pub(crate) fn sh(&self, line: &str) -> Ran {
        self.ran(Command::new("sh").args(["-c", line]))
    }

    /// Whatever happens, nothing panics.
    pub(crate) fn ran(&self, command: &mut Command) -> Ran {
        let output = command.current_dir(self.path()).output().unwrap();
        let ran = Ran {
            code: output.status.code().expect("an exit code, not a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.stdout.contains("panicked") && !ran.stderr.contains("panicked"), "{ran:#?}");
        ran
    }

    /// Every file below a folder, by its path there.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let root = self.path().join(folder);
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.strip_prefix(&root).unwrap().to_owned(), std::fs::read(&path).unwrap());
                }
            }
        }
        files
    }
}

impl Ran {
    pub(crate) fn last_line(&self) -> &str {
        self.stdout.trim_end().lines().last().unwrap_or("")
    }
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Three hosts for one second: passes, and is quick in a build without optimisation.
pub(crate) const SMALL: &str = "\
name: small
about: Three hosts for one second.
duration: 1s
topology: { hosts: 3 }
workload:
  - name: players
    arrivals: { poisson: 8/s }
    mix: [{ type: PLAYER_POSITION, critical: true }, { type: CHAT_MESSAGE }]
expect: { properties: [P5, P14, P19, P30] }
";

/// Every kind of fault and every imperfection of a link, in a few seconds.
pub(crate) const EVENTFUL: &str = "\
name: eventful
about: Everything that can go wrong goes wrong.
duration: 6s
settle: 60s
topology: { hosts: 6, maps: 2 }
network:
  to_server: { loss: 3%, duplicate: 3%, reorder: 5%, tamper: 2% }
  to_host: { loss: 3%, duplicate: 3%, reorder: 5%, tamper: 2% }
cache: { latency: { lognormal: { median: 300us, p99: 2ms } }, failures: 2% }
clocks: { skew: 300ms, drift_ppm: 200 }
workload:
  - name: players
    arrivals: { poisson: 12/s }
    mix:
      - { type: PLAYER_POSITION, critical: true, weight: 3 }
      - { type: PLAYER_DATA, weight: 2, bytes: 400 }
      - { type: PLAYER_DATA, kind: sync_from }
      - { type: CHAT_MESSAGE, priority: true }
  - name: maps
    arrivals: { constant: 2/s }
    mix: [{ type: MAP_STATE, bytes: 600 }]
faults:
  - { at: 1s, for: 500ms, inject: { partition: { hosts: { first: 2 }, direction: to_host } } }
  - { at: 1500ms, for: 1s, inject: { degrade: { hosts: { only: [3] }, loss: 30% } } }
  - { at: 2s, for: 500ms, inject: { crash: database } }
  - { at: 3s, for: 500ms, inject: { crash: main_server } }
  - { at: 3500ms, for: 500ms, inject: { crash: cache } }
  - { at: 4s, for: 1s, inject: { crash: { hosts: { only: [5] } } } }
  - { at: 4s, for: 1s, inject: { database: { latency: { constant: 150ms }, failures: 10% } } }
  - { at: 4500ms, inject: { clock_step: { hosts: { first: 3 }, by: -2s } } }
expect: { properties: [P5, P14, P30], critical_miss_ratio_max: 100% }
";
