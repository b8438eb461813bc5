//! What comes to a peer from outside, mutated: HTTP, announcements, WebSocket.
//!
//! `P2P_FUZZ_INPUTS` says how many inputs each target gets, `PROPTEST_RNG_SEED` which; `UPDATE_FIXTURES=1` writes the valid
//! messages that all begin with. An input that was found is kept: add its bytes to `fixtures/fuzz/<target>`, under a name
//! that says what was wrong.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod mutate;
mod panics;
mod seeds;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use sync_core::peer_sync::row::TableName;
use sync_core::peer_sync::store::{PeerReply, PeerRequest};
use sync_core::runtime::peer_node::database::{DatabaseError, PeerDatabase, ReadRow, ReadRows, Statement};

use self::mutate::{Draws, input};
use crate::fuzz_support::{Became, Fuzz, Plant, THREAD, Target};

/// Mutated inputs of each target: some seconds in a debug build.
const INPUTS: u64 = 1_500;

fn folder(target: Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/fuzz").join(target.name())
}

/// The seeds and what was found once, by name.
fn corpus(target: Target) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder(target)).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())).collect()
}

/// What was found, with the input.
struct Found {
    what: String,
    input: Vec<u8>,
}

/// A run over one target: what became of its inputs, or the first one that should not have been.
fn run(
    target: Target,
    plant: Plant,
    inputs: impl Iterator<Item = Vec<u8>> + Send,
) -> Result<BTreeMap<Became, u64>, Found> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    panics::watch();
    let name = format!("{THREAD}-{}", RUNS.fetch_add(1, Ordering::Relaxed));
    std::thread::scope(|scope| {
        let work = move || {
            let mut fuzz = Fuzz::with(target, plant);
            let mut became = BTreeMap::new();
            for input in inputs {
                let fed = catch_unwind(AssertUnwindSafe(|| fuzz.feed(&input)));
                // One that was survived is one, too.
                let what = match (panics::take(), fed) {
                    (Some(panic), _) => panic,
                    (None, Err(panic)) => panic_text(panic),
                    (None, Ok(Err(finding))) => finding.to_string(),
                    (None, Ok(Ok(one))) => {
                        *became.entry(one).or_default() += 1;
                        continue;
                    }
                };
                return Err(Found { what, input });
            }
            Ok(became)
        };
        std::thread::Builder::new().name(name).spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

fn panic_text(panic: Box<dyn Any + Send>) -> String {
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panics".to_owned())
}

/// Inputs that follow from the seed, out of those of the corpus that are named so.
fn mutated(target: Target, named: &str, seed: u64, count: u64) -> impl Iterator<Item = Vec<u8>> + Send {
    let corpus = corpus(target).into_iter().filter(|(name, _)| name.contains(named));
    let corpus: Vec<Vec<u8>> = corpus.map(|(_, bytes)| bytes).collect();
    let mut draws = Draws::new(seed);
    (0..count).map(move |_| input(&mut draws, &corpus))
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn check(target: Target) {
    let (seed, count) = (number("PROPTEST_RNG_SEED", 1), number("P2P_FUZZ_INPUTS", INPUTS));
    let name = target.name();
    let again = format!(
        "PROPTEST_RNG_SEED={seed} P2P_FUZZ_INPUTS={count} cargo test -p sync-core --features programs --test it \
         peer_fuzz::{name}"
    );
    let kept = corpus(target).into_values();
    match run(target, |database| database, kept.chain(mutated(target, "", seed, count))) {
        // Blind is who is always refused, or never.
        Ok(became) => {
            println!("{name}: {became:?}; the same again: {again}");
            let of = |what| became.get(&what).copied().unwrap_or(0);
            let is_awake = match target {
                Target::Http => of(Became::Accepted) * 20 > count && of(Became::Refused) * 4 > count,
                Target::Announcement => of(Became::Accepted) * 20 > count && of(Became::Refused) * 4 > count,
                Target::Socket => of(Became::Read) > count,
            };
            assert!(is_awake, "{name}: {became:?} shows little");
        }
        Err(Found { what, input }) => panic!(
            "{name}: {what}\nthe input, of {} bytes:\n{}\nas a file: printf '{}' > input\nagain: {again}",
            input.len(),
            String::from_utf8_lossy(&input),
            input.iter().map(|byte| format!("\\{byte:03o}")).collect::<String>()
        ),
    }
}

#[test]
fn http() {
    check(Target::Http);
}

#[test]
fn announcement() {
    check(Target::Announcement);
}

#[test]
fn socket() {
    check(Target::Socket);
}

#[test]
fn the_corpus_begins_with_valid_messages_of_every_kind() {
    for target in Target::ALL {
        let seeds = seeds::of(target);
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::create_dir_all(folder(target)).unwrap();
            for (name, bytes) in &seeds {
                std::fs::write(folder(target).join(format!("valid-{name}")), bytes).unwrap();
            }
        }
        let mut corpus = corpus(target);
        corpus.retain(|name, _| name.starts_with("valid-"));
        let seeds: BTreeMap<_, _> =
            seeds.into_iter().map(|(name, bytes)| (format!("valid-{name}"), bytes)).collect();
        let same = corpus == seeds;
        assert!(same, "fixtures/fuzz/{} is not what the code says: UPDATE_FIXTURES=1", target.name());
    }
}

/// What is planted is found, and the input that finds it is shown to be at fault.
fn is_found(named: &str, plant: Plant, expected: &str) {
    let inputs = mutated(Target::Http, named, 1, 10_000);
    let found = run(Target::Http, plant, inputs).err().unwrap_or_else(|| panic!("not found: {expected}"));
    assert!(found.what.contains(expected), "{}", found.what);
    let again = run(Target::Http, plant, std::iter::once(found.input)).err().unwrap();
    assert!(again.what.contains(expected), "{}", again.what);
}

#[test]
fn a_planted_panic_is_found() {
    let plant: Plant = |inner| Arc::new(Planted { inner, what: Defect::PanicsOnAnEmptyKey });
    is_found("table-data", plant, "an empty key");
}

#[test]
fn a_planted_panic_beside_the_handler_is_found() {
    let plant: Plant = |inner| Arc::new(Planted { inner, what: Defect::PanicsOnLeaves });
    is_found("ask-entries", plant, "no such leaf");
}

#[test]
fn a_planted_change_by_a_refused_body_is_found() {
    let plant: Plant = |inner| Arc::new(Planted { inner, what: Defect::WritesRowByRow });
    is_found("valid-rows", plant, "refused, and yet the database changed");
}

/// A defect behind the handlers.
enum Defect {
    /// Of a page that begins behind a key of no text.
    PanicsOnAnEmptyKey,
    /// In a task of the engine's, when somebody asks for other leaves than the valid question does.
    PanicsOnLeaves,
    /// Each row in a transaction of its own: what stands before a row that is refused is written.
    WritesRowByRow,
}

struct Planted {
    inner: Arc<dyn PeerDatabase>,
    what: Defect,
}

impl PeerDatabase for Planted {
    fn execute(&self, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(async move {
            if let (Defect::PanicsOnLeaves, PeerRequest::Entries(parts)) = (&self.what, &request) {
                assert!(parts.iter().all(|part| part.prefix <= 1), "no such leaf");
            }
            self.inner.execute(request).await
        })
    }

    fn changed(&self) -> BoxFuture<'_, Result<Vec<TableName>, DatabaseError>> {
        self.inner.changed()
    }

    fn is_up(&self) -> BoxFuture<'_, bool> {
        self.inner.is_up()
    }

    fn read(&self, read: ReadRows) -> BoxFuture<'_, Result<Vec<ReadRow>, DatabaseError>> {
        if let (Defect::PanicsOnAnEmptyKey, Some(after)) = (&self.what, &read.after) {
            assert!(after.columns().any(|column| column.is_some_and(|text| text.len() > 1)), "an empty key");
        }
        self.inner.read(read)
    }

    fn write(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<u64, DatabaseError>> {
        Box::pin(async move {
            if !matches!(self.what, Defect::WritesRowByRow) {
                return self.inner.write(statements).await;
            }
            let mut written = 0;
            for statement in statements {
                written += self.inner.write(vec![statement]).await?;
            }
            Ok(written)
        })
    }
}
