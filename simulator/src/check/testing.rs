//! Small histories for the tests of checks.

use super::{Basis, Check, Findings};
use sync_core::host_sync::operation::Lane;
use sync_core::id::MapName;

use crate::history::{End, Event, OpRef, What, WireId};

pub(super) fn op(ticket: u64) -> OpRef {
    OpRef { host: 0, ticket }
}

pub(super) fn id(counter: u64) -> WireId {
    WireId { account: 1, incarnation: 1, counter }
}

pub(super) fn applied(ticket: u64, key: Option<&str>, version: u64) -> What {
    applied_as(ticket, ticket, key, version)
}

/// The same under the id with this counter.
pub(super) fn applied_as(ticket: u64, counter: u64, key: Option<&str>, version: u64) -> What {
    What::Applied {
        op: Some(op(ticket)),
        id: id(counter),
        data_type: sync_core::data_type::SyncDataType::PlayerData,
        map: MapName::new("m").unwrap(),
        key: key.map(|key| key.parse().unwrap()),
        version,
        value: None,
    }
}

/// An asking for a write on the map and type of number `key`.
pub(super) fn asked_on(ticket: u64, lane: Lane, key: u32) -> What {
    let (critical, priority) = (lane == Lane::Critical, lane == Lane::Priority);
    let data_type = sync_core::data_type::SyncDataType::ChatMessage;
    What::Asked {
        op: op(ticket),
        intended_us: 0,
        critical,
        priority,
        writes: true,
        is_report: false,
        data_type,
        map: key,
        value: None,
    }
}

/// A host reports.
pub(super) fn reports(ticket: u64) -> What {
    What::Asked {
        op: op(ticket),
        intended_us: 0,
        critical: false,
        priority: false,
        writes: false,
        is_report: true,
        data_type: sync_core::data_type::SyncDataType::HostMetrics,
        map: 0,
        value: None,
    }
}

pub(super) fn finished(ticket: u64, end: End) -> What {
    What::Finished {
        op: op(ticket),
        id: id(ticket),
        critical: false,
        writes: true,
        data_type: sync_core::data_type::SyncDataType::PlayerData,
        end,
        intended_us: 0,
        asked_us: 0,
        sent_us: None,
    }
}

fn judge(mut check: impl Check, history: Vec<Event>) -> (Findings, Basis) {
    let mut findings = Findings::default();
    for event in &history {
        assert!(
            check.property().needs.contains(&event.what.kind()),
            "the check does not name {:?} among what it needs",
            event.what.kind()
        );
        check.observe(event, &mut findings);
    }
    let basis = check.finish(&mut findings);
    (findings, basis)
}

pub(super) fn passes_at(check: impl Check, history: Vec<Event>) {
    let (findings, basis) = judge(check, history);
    assert!(findings.count == 0, "{findings:?}");
    assert!(basis.count > 0, "a pass that decides nothing: {basis:?}");
}

/// Nothing in it can break the property: that is no pass.
pub(super) fn decides_nothing_at(check: impl Check, history: Vec<Event>) {
    let (findings, basis) = judge(check, history);
    assert!(findings.count == 0, "{findings:?}");
    assert!(basis.count == 0, "{basis:?}");
}

pub(super) fn fails_at(check: impl Check, history: Vec<Event>, expected: &str) {
    let (findings, _) = judge(check, history);
    assert!(findings.kept.iter().any(|finding| finding.message.contains(expected)), "{findings:?}");
}

pub(super) fn passes(check: impl Check, history: Vec<What>) {
    passes_at(check, history.into_iter().map(|what| Event { at_us: 0, what }).collect());
}

pub(super) fn decides_nothing(check: impl Check, history: Vec<What>) {
    decides_nothing_at(check, history.into_iter().map(|what| Event { at_us: 0, what }).collect());
}

pub(super) fn fails(check: impl Check, history: Vec<What>, expected: &str) {
    fails_at(check, history.into_iter().map(|what| Event { at_us: 0, what }).collect(), expected);
}
