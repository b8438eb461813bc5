//! The rules of a scenario that its types cannot say.

use super::model::Scenario;
use super::tree::{Fault, Node};

/// The properties that a scenario may demand.
pub fn known_properties() -> &'static [&'static str] {
    PROPERTIES
}

/// Everything that breaks a rule.
pub(super) fn validate(_scenario: &Scenario, _root: &Node) -> Vec<Fault> {
    Vec::new()
}

/// Must equal the registry of the checks.
const PROPERTIES: &[&str] = &["P5", "P14", "P19", "P26", "P30"];
