//! Scenarios that are for another rig than the one asked for.

use serde::Serialize;

use super::files::Found;
use super::runner::Rig;
use super::{INVALID, complain};
use crate::plan::Plan;
use crate::scenario::model::Only;

/// A scenario of a folder that was left out, since it is for another rig.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Skipped {
    pub(super) scenario: String,
    /// The rig that was asked for.
    pub(super) rig: &'static str,
    /// Always `skipped`.
    verdict: &'static str,
    /// Why it is not for this rig.
    pub(super) why: String,
}

impl Skipped {
    pub(super) fn line(&self) -> String {
        format!("skip  {}, {} rig: {}", self.scenario, self.rig, self.why)
    }
}

/// Leaves out what folders hold for another rig. The code for the end of the process when a scenario was named itself: then
/// that has been said.
pub(super) fn leave_out(found: Vec<Found>, rig: Rig) -> Result<(Vec<Found>, Vec<Skipped>), u8> {
    let (mut kept, mut skipped, mut refused) = (Vec::new(), Vec::new(), false);
    for found in found {
        match found.scenario.only.as_ref().filter(|only| !is_for(only, rig)) {
            None => kept.push(found),
            Some(only) if found.is_named => {
                complain(&refusal(&found.scenario.name, only));
                refused = true;
            }
            Some(only) => {
                let (scenario, why) = (found.scenario.name.clone(), only.because.clone());
                skipped.push(Skipped { scenario, rig: rig.name(), verdict: "skipped", why });
            }
        }
    }
    if refused { Err(INVALID) } else { Ok((kept, skipped)) }
}

/// What is said of a plan that is for another rig; none if it is for this one.
pub(super) fn refused(plan: &Plan, rig: Rig) -> Option<String> {
    let only = plan.world.only.as_ref().filter(|only| !is_for(only, rig))?;
    Some(refusal(&plan.world.name, only))
}

fn refusal(name: &str, only: &Only) -> String {
    let Only { rig, because } = only;
    format!("error: {name} is for the {rig} rig only: {because}\n  = help: run it with --rig {rig}")
}

fn is_for(only: &Only, rig: Rig) -> bool {
    only.rig.to_string() == rig.name()
}
