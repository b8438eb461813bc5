//! A team's whole own engine: the example passes what can be judged from the outside, and what is broken in it is found.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

#[allow(dead_code, reason = "its main function is for `cargo run`")]
#[path = "../../examples/own_engine.rs"]
mod example;

use example::{Gossip, Message, SCENARIO};
use simulator::own_engine::{LocalWrite, Outbox, PeerEngine, PeerEngines, Place, Refused};
use simulator::sim::{Outcome, Sim, SimError};
use simulator::verdict::Verdict;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::RowId;
use sync_core::time::{Instant, Now};

fn gossip(place: Place) -> Box<dyn PeerEngine> {
    Box::new(Gossip::new(place))
}

#[test]
fn the_example_passes_under_many_seeds_and_the_same_seed_gives_the_same_run() {
    let outcome = Sim::text(SCENARIO).engine(gossip).seeds(1..=20).run().unwrap();
    outcome.assert_passes();
    Sim::text(CRASH).engine(gossip).run().unwrap().assert_passes();
    let again = Sim::text(SCENARIO).engine(gossip).seed(7).run().unwrap();
    assert_eq!(again.runs[0].summary, outcome.runs[6].summary);
    assert!(again.runs[0].history == outcome.runs[6].history);
}

#[test]
fn what_needs_stamps_or_positions_is_unknown_and_never_passes() {
    let demanded = "[P3, P4, P12, P13, P15, P17]";
    let outcome = Sim::text(SCENARIO).set("expect.properties", demanded).engine(gossip).run().unwrap();
    assert_eq!(outcome.verdict(), Verdict::Unknown);
    for property in ["P3", "P4", "P12", "P13", "P15", "P17"] {
        let judgement = outcome.runs[0].judgement(property).unwrap();
        assert_eq!(judgement.verdict, Verdict::Unknown, "{property}");
        assert_eq!(judgement.basis, "this rig cannot observe [Merged]", "{property}");
    }
}

/// The example, broken in one way.
#[derive(Clone, Copy, PartialEq)]
enum Defect {
    NoTombstones,
    LastToArriveWins,
    ForgetsInACrash,
    RowsTravelAlone,
    DeafToStamps,
    CutsTexts,
    Silent,
}

struct Broken {
    inner: Gossip,
    defect: Defect,
}

impl PeerEngine for Broken {
    fn load(&mut self, rows: &[LocalWrite]) {
        self.inner.load(rows);
    }

    fn start(&mut self, now: Now, out: &mut Outbox) {
        if self.defect == Defect::ForgetsInACrash {
            self.inner = Gossip::new(self.inner.place.clone());
        }
        self.inner.start(now, out);
    }

    fn commit(&mut self, now: Now, writes: &[LocalWrite], out: &mut Outbox) -> Result<(), Refused> {
        self.inner.commit(now, writes, out)?;
        if self.defect == Defect::NoTombstones {
            self.inner.rows.retain(|_, (_, content)| content.is_some());
        }
        Ok(())
    }

    fn read(&self, row: &RowId) -> Option<Content> {
        self.inner.read(row)
    }

    fn receive(&mut self, now: Now, from: u32, message: &[u8], out: &mut Outbox) {
        match self.defect {
            Defect::LastToArriveWins => {
                for (row, stamp, content) in serde_json::from_slice::<Message>(message).unwrap() {
                    self.inner.rows.insert(row, (stamp, content));
                }
            }
            Defect::DeafToStamps => {
                let last = self.inner.last;
                self.inner.receive(now, from, message, out);
                self.inner.last = last;
            }
            Defect::CutsTexts => {
                let mut rows = serde_json::from_slice::<Message>(message).unwrap();
                for content in rows.iter_mut().filter_map(|(_, _, content)| content.as_mut()) {
                    let cut = content.columns().map(|text| text.map(|text| text.get(..40).unwrap_or(text)));
                    *content = Content::new(cut.map(|text| text.map(|text| text.trim_end_matches('7'))));
                }
                self.inner.receive(now, from, &serde_json::to_vec(&rows).unwrap(), out);
            }
            Defect::RowsTravelAlone => {
                // Whatever comes is taken in row by row, the next only with the next message.
                let rows = serde_json::from_slice::<Message>(message).unwrap();
                let place = now.monotonic.as_us() as usize % rows.len().max(1);
                let one: Message = rows.into_iter().skip(place).take(1).collect();
                self.inner.receive(now, from, &serde_json::to_vec(&one).unwrap(), out);
            }
            _ => self.inner.receive(now, from, message, out),
        }
    }

    fn wake(&mut self, now: Now, out: &mut Outbox) {
        let mut silent = Outbox::default();
        let out = if self.defect == Defect::Silent { &mut silent } else { out };
        self.inner.wake(now, out);
    }

    fn next_wakeup(&self) -> Option<Instant> {
        self.inner.next_wakeup()
    }
}

/// A peer dies between a write that it has acknowledged and the next round.
const CRASH: &str = "
name: crash
about: What was acknowledged outlives the process.
duration: 20s
peers:
  count: 2
  sync_interval: 5s
  tables: { declared: [{ name: notes, columns: [id, text] }] }
  rows: { notes: 2 }
steps:
  - { at: 6s, peer: 1, do: [{ put: { table: notes, row: 1, set: { text: mine } } }] }
faults:
  - { at: 7s, for: 1s, inject: { peers: { crash: { only: [1] } } } }
expect: { properties: [P1, P2, P5] }
";

fn with(defect: Defect) -> Outcome {
    let engine =
        move |place: Place| -> Box<dyn PeerEngine> { Box::new(Broken { inner: Gossip::new(place), defect }) };
    let scenario = if defect == Defect::ForgetsInACrash { CRASH } else { SCENARIO };
    Sim::text(scenario).engine(engine).seeds(1..=5).run().unwrap()
}

#[test]
fn each_way_of_being_broken_is_found() {
    for (defect, properties) in [
        (Defect::NoTombstones, &["P7", "P5"][..]),
        (Defect::LastToArriveWins, &["P9", "P11", "P14"]),
        (Defect::ForgetsInACrash, &["P5"]),
        (Defect::RowsTravelAlone, &["P16"]),
        (Defect::DeafToStamps, &["P5"]),
        (Defect::CutsTexts, &["P6", "P1"]),
        (Defect::Silent, &["P1", "P2", "P18"]),
    ] {
        let outcome = with(defect);
        for property in properties {
            let (_, finding) = outcome.assert_fails(property);
            assert!(!finding.message.is_empty());
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let hosts = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/smoke/normal-load.yaml");
    let said = |sim: Sim| sim.engine(gossip).run().unwrap_err().to_string();
    assert!(said(Sim::scenario(hosts)).contains("no use for an engine"));
    let back = "[{at: 9s, inject: {peers: {set_back: {peers: all, by: 2s}}}}]";
    assert!(said(Sim::text(SCENARIO).set("faults", back)).contains("`set_back` needs an older copy"));
    let both = Sim::text(SCENARIO).resolver(simulator::own_resolvers::best_score::BestScore).engine(gossip);
    assert!(matches!(both.run(), Err(SimError::ResolverAndEngine)));
}

/// An engine may say that it joins versions: then nothing is traced to a write.
#[test]
fn what_joins_versions_is_judged_by_less() {
    struct Joins;
    impl PeerEngines for Joins {
        fn engine(&self, place: Place) -> Box<dyn PeerEngine> {
            gossip(place)
        }

        fn joins_versions(&self) -> bool {
            true
        }
    }
    let outcome = Sim::text(SCENARIO).engine(Joins).run().unwrap();
    let verdict = |property| outcome.runs[0].judgement(property).unwrap().verdict;
    assert_eq!(verdict("P1"), Verdict::Pass);
    assert_eq!(verdict("P6"), Verdict::Unknown);
}
