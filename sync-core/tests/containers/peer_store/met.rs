//! What random runs came to.

use std::collections::BTreeMap;

use sync_core::peer_sync::store::{Outcome, PeerReply, Standing};

/// What runs came to: a test that meets none of something says nothing about it.
#[derive(Debug, Default)]
pub(super) struct Met(pub(super) BTreeMap<&'static str, u64>);

impl Met {
    /// All that runs have to meet.
    pub(super) const ALL: [&'static str; 23] = [
        "page",
        "known",
        "omitted",
        "whole group of several rows",
        "end of the feed",
        "must reconcile",
        "inserted",
        "updated",
        "equal",
        "beaten",
        "too far ahead",
        "expired",
        "unsound",
        "changed",
        "revived",
        "cascaded",
        "orphaned",
        "natural key",
        "visible again",
        "purged",
        "dropped",
        "ahead",
        "late commit",
    ];

    pub(super) fn count(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    pub(super) fn reply(&mut self, reply: &PeerReply) {
        match reply {
            PeerReply::Page(page) => {
                self.count("page", 1);
                self.count("known", page.known.len() as u64);
                self.count("omitted", page.omitted);
                self.count(
                    "whole group of several rows",
                    page.groups.iter().filter(|rows| **rows > 1).count() as u64,
                );
                self.count("end of the feed", u64::from(page.frontier.is_some()));
            }
            PeerReply::MustReconcile(_) => self.count("must reconcile", 1),
            PeerReply::Merged(merged) => {
                for outcome in &merged.outcomes {
                    let what = match outcome {
                        Outcome::Inserted => "inserted",
                        Outcome::Updated { .. } => "updated",
                        Outcome::Equal => "equal",
                        Outcome::Beaten { .. } => "beaten",
                        Outcome::TooFarAhead { .. } => "too far ahead",
                        Outcome::Expired => "expired",
                        Outcome::Unsound(_) => "unsound",
                        Outcome::Changed => "changed",
                    };
                    self.count(what, 1);
                }
                for change in &merged.aside {
                    let what = match change.standing {
                        Standing::Visible => "visible again",
                        Standing::Revived => "revived",
                        Standing::Deleted => "deleted again",
                        Standing::Cascaded { .. } => "cascaded",
                        Standing::Orphaned { .. } => "orphaned",
                        Standing::NaturalKey { .. } => "natural key",
                    };
                    self.count(what, 1);
                }
            }
            PeerReply::Purged(rows) => self.count("purged", *rows),
            PeerReply::Dropped(rows) => self.count("dropped", rows.len() as u64),
            PeerReply::Noted { ahead } => self.count("ahead", u64::from(*ahead)),
            _ => {}
        }
    }
}
