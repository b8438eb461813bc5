//! A whole engine of one's own in the world of peers: every row with its latest writer's stamp, all of it sent to
//! everybody now and then.
//!
//! ```text
//! cargo run -p simulator --example own_engine
//! ```
//!
//! Prints the report of a run with lost messages, a partition, a crash and clocks that differ; ends with 0, as it should.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example")]

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use simulator::own_engine::{LocalWrite, Outbox, PeerEngine, Place, Refused};
use simulator::sim::Sim;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::RowId;
use sync_core::time::{Instant, Now};

/// When and by whom a row was written. The greater one wins, deletes included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Stamp {
    us: u64,
    counter: u32,
    peer: u32,
}

/// One peer. All of it is on its disk but the time of the next sending.
pub(crate) struct Gossip {
    pub(crate) place: Place,
    /// What was deleted stays as a row without content.
    pub(crate) rows: BTreeMap<RowId, (Stamp, Option<Content>)>,
    /// The greatest stamp given or seen: whatever is written next is greater (a hybrid logical clock).
    pub(crate) last: Stamp,
    next_round: Option<Instant>,
}

/// What travels: the whole state, so that no transaction comes in parts.
pub(crate) type Message = Vec<(RowId, Stamp, Option<Content>)>;

impl Gossip {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, rows: BTreeMap::new(), last: Stamp::default(), next_round: None }
    }

    pub(crate) fn state(&self) -> Message {
        self.rows.iter().map(|(row, (stamp, content))| (row.clone(), *stamp, content.clone())).collect()
    }
}

impl PeerEngine for Gossip {
    fn load(&mut self, rows: &[LocalWrite]) {
        for LocalWrite { row, content } in rows {
            self.rows.insert(row.clone(), (Stamp::default(), content.clone()));
        }
    }

    fn start(&mut self, now: Now, _: &mut Outbox) {
        self.next_round = Some(now.monotonic + self.place.sync_interval);
    }

    fn commit(&mut self, now: Now, writes: &[LocalWrite], _: &mut Outbox) -> Result<(), Refused> {
        let after = Stamp { counter: self.last.counter + 1, ..self.last };
        let stamp = after.max(Stamp { us: now.wall.as_us(), counter: 0, peer: 0 });
        let stamp = Stamp { peer: self.place.peer, ..stamp };
        self.last = stamp;
        for LocalWrite { row, content } in writes {
            self.rows.insert(row.clone(), (stamp, content.clone()));
        }
        Ok(())
    }

    fn read(&self, row: &RowId) -> Option<Content> {
        self.rows.get(row)?.1.clone()
    }

    fn receive(&mut self, _: Now, _: u32, message: &[u8], _: &mut Outbox) {
        let Ok(rows) = serde_json::from_slice::<Message>(message) else { return };
        for (row, stamp, content) in rows {
            self.last = self.last.max(stamp);
            if self.rows.get(&row).is_none_or(|(known, _)| *known < stamp) {
                self.rows.insert(row, (stamp, content));
            }
        }
    }

    fn wake(&mut self, now: Now, out: &mut Outbox) {
        if self.next_round.is_none_or(|due| now.monotonic < due) {
            return;
        }
        self.next_round = Some(now.monotonic + self.place.sync_interval);
        // What has no JSON form is not sent; rows always have one.
        let message = serde_json::to_vec(&self.state()).unwrap_or_default();
        self.place.neighbours.iter().for_each(|to| out.send(*to, message.clone()));
    }

    fn next_wakeup(&self) -> Option<Instant> {
        self.next_round
    }
}

pub(crate) const SCENARIO: &str = "
name: own-engine
about: Sessions at four peers write and read the same few rows, whatever happens to links, processes and clocks.
duration: 40s
settle: 60s
clocks: { skew: 300ms }
peers:
  count: 4
  links: ring
  sync_interval: 1s
  network: { latency: { uniform: { min: 5ms, max: 80ms } }, loss: 10%, duplicate: 5%, reorder: 10% }
  tables: { declared: [{ name: notes, columns: [id, text, author] }] }
  rows: { notes: 10 }
transactions:
  - name: sessions
    arrivals: { poisson: 3/s }
    sessions: 2
    statements_max: 4
    mix:
      - { do: put, table: notes, rows: 12, weight: 3 }
      - { do: delete, table: notes, rows: 12 }
      - { do: read, table: notes, rows: 12, weight: 4 }
faults:
  - { at: 5s, for: 8s, inject: { peers: { cut: { from: { only: [0, 1] }, to: { only: [2, 3] } } } } }
  - { at: 15s, for: 3s, inject: { peers: { crash: { only: [2] } } } }
  - { at: 20s, inject: { peers: { clock_step: { peers: { only: [3] }, by: -5s } } } }
expect:
  properties: [P1, P2, P5, P6, P7, P8, P9, P10, P11, P14, P16, P18, P30]
";

fn main() -> ExitCode {
    let sim =
        Sim::text(SCENARIO).engine(|place: Place| -> Box<dyn PeerEngine> { Box::new(Gossip::new(place)) });
    match sim.run() {
        Ok(outcome) => {
            outcome.runs.iter().for_each(|run| println!("{}", run.report()));
            ExitCode::from(outcome.verdict().exit_code())
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
