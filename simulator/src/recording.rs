//! Recordings of runs: made in a rig, repeated without one.
//!
//! The format, the recorder and the replay are the core's ([`sync_core::recording`]); what is added here is what
//! a recording does not hold: the keys that derive from a rig's seed, modelled frames, and planted defects.

use std::fs::{self, File};
use std::io::{self, BufRead};
use std::path::Path;

use sync_core::host_sync::policy::Standard;
use sync_core::id::AccountId;
use sync_core::recording::{
    EffectForm, FORMAT, Header, KeyBag, KeyError, KeyMark, Parts, Recording, RecordingError, Replayed,
    SealedParts, Tape,
};
use thiserror::Error;

use crate::draw::Draws;
use crate::own_resolvers::OwnResolvers;
use crate::plan::Plan;
use crate::run::{RunResult, run_recorded};
use crate::scenario::model::Frames;
use crate::virtual_rig::variant::{Modelled, Sealed, Variant, WorldKeys};
use crate::zoo;

/// How the files of a recording end.
pub const EXTENSION: &str = "jsonl";
/// The recording of all engines of a virtual world.
const VIRTUAL: &str = "virtual.jsonl";
const SEALED: &str = "sealed";
const MODELLED: &str = "modelled";

/// A recording that this program cannot replay.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It is damaged, or a key is missing.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// It was made with a defect that the zoo does not have.
    #[error("the recording was made with the planted defect {0}, and the zoo has none of that number")]
    UnknownDefect(u32),
    /// Defects are planted in rigs only.
    #[error("the recording was made with the planted defect {0} and without the seed of a rig")]
    DefectWithoutSeed(u32),
    /// Its frames have a form of which nothing is known here.
    #[error(
        "the recording's frames are `{0}`: `{SEALED}` can be replayed, and `{MODELLED}` with the seed of a rig"
    )]
    UnknownFrames(String),
}

impl ReplayError {
    /// What to do about it.
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Recording(error) => error.help(),
            Self::UnknownDefect(_) => {
                "`p2psim list --zoo` shows them; replay it with the version that wrote it"
            }
            Self::DefectWithoutSeed(_) | Self::UnknownFrames(_) => {
                "check the first line of the file against reports/README.md"
            }
        }
    }
}

/// The header of a recording of this plan.
pub fn header(plan: &Plan, effects: EffectForm) -> Header {
    // A planted defect always has sealed frames.
    let modelled = plan.defect.is_none() && plan.world.network.frames == Frames::Modelled;
    Header {
        format: FORMAT,
        frames: if modelled { MODELLED } else { SEALED }.to_owned(),
        effects,
        rig_seed: Some(plan.seed),
        defect: plan.defect,
    }
}

/// Carries a plan out in the virtual rig and records it in this folder.
///
/// # Errors
/// Those of the file system; the run is then carried out all the same and its result lost.
pub fn record(plan: &Plan, own: &OwnResolvers, effects: EffectForm, folder: &Path) -> io::Result<RunResult> {
    fs::create_dir_all(folder)?;
    let file = File::create(folder.join(VIRTUAL))?;
    let tape: Tape = Tape::new(Box::new(file), &header(plan, effects));
    let result = run_recorded(plan, own, Some(tape.clone()));
    tape.finish()?;
    Ok(RunResult { recording: Some(folder.to_owned()), ..result })
}

/// Repeats a recording with fresh engines. `keys` are looked at only when the recording has no rig's seed.
///
/// # Errors
/// When it cannot be replayed. A difference is no error.
pub fn replay<R: BufRead>(reader: R, keys: &KeyBag) -> Result<Replayed, ReplayError> {
    let recording = Recording::open(reader)?;
    let Header { frames, rig_seed, defect, .. } = recording.header().clone();
    match (rig_seed, defect, frames.as_str()) {
        (Some(seed), Some(defect), SEALED) => {
            let planted = zoo::planted(defect).ok_or(ReplayError::UnknownDefect(defect))?;
            replay_in(recording, planted, seed)
        }
        (Some(seed), None, SEALED) => replay_in(recording, Sealed, seed),
        (Some(seed), None, MODELLED) => replay_in(recording, Modelled, seed),
        (None, None, SEALED) => {
            Ok(recording.replay(&mut SealedParts { keys: keys.clone(), policy: Standard })?)
        }
        (None, Some(defect), _) => Err(ReplayError::DefectWithoutSeed(defect)),
        _ => Err(ReplayError::UnknownFrames(frames)),
    }
}

fn replay_in<R: BufRead, V: Variant>(
    recording: Recording<R>,
    variant: V,
    seed: u64,
) -> Result<Replayed, ReplayError> {
    let mut parts = RigParts { variant, draws: Draws::new(seed) };
    Ok(recording.replay(&mut parts)?)
}

/// What the engines of a rig are made of.
struct RigParts<V> {
    variant: V,
    draws: Draws,
}

impl<V> RigParts<V> {
    /// The keys of a world that names so many at each engine: one, and another for each rotation.
    fn keys(&self, marks: &[KeyMark]) -> WorldKeys {
        WorldKeys::rotating(self.draws, marks.len().saturating_sub(1))
    }
}

impl<V: Variant> Parts for RigParts<V> {
    type HostCodec = V::HostCodec;
    type ServerCodec = V::ServerCodec;
    type Policy = V::Policy;

    fn session(
        &mut self,
        account: AccountId,
        marks: &[KeyMark],
    ) -> Result<(V::HostCodec, V::Policy), KeyError> {
        let keys = self.keys(marks);
        derived(marks, || KeyMark::host(&keys.host(account)))?;
        Ok((self.variant.host_codec(&keys, account), self.variant.policy()))
    }

    fn server(&mut self, _: u32, marks: &[KeyMark]) -> Result<V::ServerCodec, KeyError> {
        let keys = self.keys(marks);
        derived(marks, || KeyMark::server(&keys.server()))?;
        Ok(self.variant.server_codec(&keys))
    }
}

/// Whether the keys named are those that the seed gives.
fn derived(marks: &[KeyMark], expected: impl FnOnce() -> Vec<KeyMark>) -> Result<(), KeyError> {
    if marks.is_empty() {
        return Ok(());
    }
    let expected = expected();
    match marks.iter().find(|mark| !expected.contains(mark)) {
        Some(mark) => Err(KeyError::NotDerived(mark.clone())),
        None => Ok(()),
    }
}
