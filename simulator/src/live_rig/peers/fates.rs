//! What became of transactions.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::database::Database;
use super::facts;
use super::facts::Fact;
use super::history::{Commits, Number};
use crate::live_rig::LiveError;

/// Asks a peer's database which of these transactions were committed, and of those that its processes wrote down in `files`.
///
/// # Errors
/// When a file cannot be read, or the database refuses.
pub(super) async fn fates(
    database: &Database,
    told: Vec<Number>,
    files: &[(u32, PathBuf)],
) -> Result<Commits, LiveError> {
    let facts = read(files)?;
    let numbers: BTreeSet<Number> = told.into_iter().chain(facts.iter().filter_map(Fact::number)).collect();
    of(database, &numbers).await
}

/// Asks a peer's database which of these were committed.
///
/// # Errors
/// When it refuses.
pub(super) async fn of(database: &Database, numbers: &BTreeSet<Number>) -> Result<Commits, LiveError> {
    let xids: Vec<u64> = numbers.iter().map(|(_, xid)| *xid).collect();
    let fates = database.fates(&xids).await?;
    let committed =
        numbers.iter().zip(fates).filter_map(|(number, fate)| Some((*number, fate.committed_us?)));
    Ok(committed.collect())
}

/// What a peer's processes wrote down, one after the other.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn read(files: &[(u32, PathBuf)]) -> Result<Vec<Fact>, LiveError> {
    let mut all = Vec::new();
    for (era, file) in files {
        let unreadable =
            |error| LiveError::Mesh(format!("cannot read what a peer wrote down of itself: {error}"));
        all.extend(facts::read(file, *era).map_err(unreadable)?);
    }
    Ok(all)
}
