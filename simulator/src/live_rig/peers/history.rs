//! A history out of what applications, processes and links have told, in the order in which it happened.
//!
//! A commit takes place at the moment that its database keeps of it, or somewhat later: that is when its record was
//! written, and others see it a little after. A read takes place when its snapshot was taken, so it stands behind each
//! commit that it saw and before each that it did not. All moments are of the one clock of the machine.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::store::DigestEntry;
use sync_core::peer_sync::version::Version;

use super::facts::Fact;
use super::mesh::Sent;
use super::told::{ReadRows, Told, Transaction};
use crate::history::peers::{HeldRow, MergeOutcome, PeerWhat};
use crate::history::{Event, OpRef, What};

/// What was told of one run, and what became of its transactions.
pub(super) struct Telling {
    /// When the run began, in microseconds since 1970.
    pub(super) start_us: u64,
    pub(super) peers: u32,
    pub(super) stock: Vec<HeldRow>,
    pub(super) told: Vec<Told>,
    /// By peer.
    pub(super) facts: Vec<Vec<Fact>>,
    pub(super) sent: Vec<Sent>,
    /// By peer: when transactions were committed, in microseconds since 1970.
    pub(super) committed: Vec<Commits>,
}

/// A transaction of a peer: which of the databases that it had one after the other, and the number there.
pub(super) type Number = (u32, u64);

/// Commits of one peer, with the moments at which they take place.
pub(super) type Commits = BTreeMap<Number, u64>;

/// An event before it has its place.
struct Draft {
    at_us: u64,
    /// The commit that it is of, and whose.
    commit: Option<(u32, Number)>,
    what: Draught,
}

/// What becomes an event.
enum Draught {
    Event(What),
    /// Rows that go from a peer, each if it is still held in that version.
    Drops(u32, Vec<HeldRow>),
    /// A row is altered where it is stored: nothing that anybody is told of.
    Damage(u32, RowId),
}

/// A merge that took in stamps: a clock goes by them from some moment of the merge on, before it is committed.
struct Absorbs {
    /// The peer's clock when it began.
    began_us: u64,
    committed_us: u64,
    /// The greatest of them.
    stamp_us: u64,
}

impl Telling {
    /// The events of the run, in their order; moments count from its start.
    pub(super) fn events(self) -> Vec<Event> {
        let Self { start_us, peers, stock, told, facts, sent, mut committed } = self;
        let writers = Writers::of(&told);
        let ops = told.iter().filter_map(|told| match told {
            Told::Transaction(of) => Some(((of.op.host, of.number()), of.op)),
            _ => None,
        });
        let ops = ops.collect();
        let mut drafts = Vec::new();
        let mut reads = Vec::new();
        let merges: Vec<Vec<Absorbs>> =
            facts.iter().zip(&committed).map(|(facts, committed)| absorbed(facts, committed)).collect();
        let at = |at_us: u64, what: What| Draft { at_us, commit: None, what: Draught::Event(what) };
        for told in told {
            match told {
                Told::At(at_us, what) => drafts.push(at(at_us, what)),
                Told::Read(read) => reads.push(read),
                Told::Damaged(at_us, peer, row) => {
                    drafts.push(Draft { at_us, commit: None, what: Draught::Damage(peer, row) });
                }
                Told::Transaction(transaction) => {
                    let merges = &merges[transaction.op.host as usize];
                    drafts.extend(of_transaction(transaction, &committed, merges));
                }
            }
        }
        let placed = place(&reads, &ops, &mut committed);
        for (peer, facts) in (0..).zip(facts) {
            // What a peer did before the run began shows in what it held then.
            for mut fact in facts.into_iter().filter(|fact| fact.wall_us >= start_us) {
                writers.overtake(peer, &mut fact, &committed[peer as usize]);
                drafts.extend(of_fact(peer, fact, &committed));
            }
        }
        drafts.extend(sent.into_iter().map(|(at_us, what)| at(at_us, What::Peer(what))));
        for (read, at_us) in reads.into_iter().zip(placed) {
            let ReadRows { op, session, rows, .. } = read;
            drafts.push(at(at_us, What::Peer(PeerWhat::Read { op, session, rows })));
        }
        for draft in &mut drafts {
            if let Some((peer, number)) = draft.commit
                && let Some(at_us) = committed[peer as usize].get(&number)
            {
                draft.at_us = draft.at_us.max(*at_us);
            }
        }
        // What follows from a commit is told behind it.
        drafts.sort_by_key(|draft| draft.at_us);
        let mut replay = Replay::new(peers, &stock);
        let mut events = Vec::with_capacity(drafts.len() + 2);
        if !stock.is_empty() {
            events.push(Event { at_us: 0, what: What::Peer(PeerWhat::Stocked { rows: stock }) });
        }
        for Draft { at_us, what, .. } in drafts {
            let at_us = at_us.saturating_sub(start_us);
            let mut what = match what {
                Draught::Event(what) => what,
                Draught::Drops(node, drops) => {
                    let rows = replay.dropped(node, drops);
                    What::Peer(PeerWhat::Dropped { node, rows })
                }
                Draught::Damage(peer, row) => {
                    replay.damaged.insert((peer, row));
                    continue;
                }
            };
            let equal = replay.take(&mut what);
            events.push(Event { at_us, what });
            events.extend(equal.map(|bytes| Event { at_us, what: What::Peer(PeerWhat::Equal { bytes }) }));
        }
        events
    }
}

/// Which transactions of applications wrote a row, by its peer.
struct Writers(BTreeMap<(u32, RowId), Vec<(Number, Version)>>);

impl Writers {
    fn of(told: &[Told]) -> Self {
        let mut writers = BTreeMap::<_, Vec<_>>::new();
        for told in told {
            let Told::Transaction(transaction) = told else { continue };
            for write in &transaction.writes {
                let of_row = writers.entry((transaction.op.host, write.row.clone())).or_default();
                of_row.push((transaction.number(), write.version.clone()));
            }
        }
        Self(writers)
    }

    /// Corrects what a merge tells of rows which applications wrote while it was at work. A row that is held in the same
    /// version, or that is absent, is not locked: an application may write a greater version of it and commit first. The
    /// merge tells what it read; in the order of commits that version was beaten by the time. Had the merge stored it all
    /// the same, the greater one would be missing from then on.
    fn overtake(&self, peer: u32, fact: &mut Fact, committed: &Commits) {
        let Some((began_with, number)) = fact.began_with.as_ref().zip(fact.number()) else { return };
        let Some(merged_us) = committed.get(&number) else { return };
        let rows = fact.what.iter_mut().flat_map(|what| match what {
            PeerWhat::Merged { rows, .. } => rows.as_mut_slice(),
            _ => &mut [],
        });
        for row in rows.filter(|row| row.holds.as_ref() == Some(&row.version)) {
            let wrote = self.0.get(&(peer, row.row.clone())).into_iter().flatten();
            let first = wrote.filter(|((era, xid), version)| {
                *era == fact.era
                    && !began_with.sees(*xid)
                    && *version > row.version
                    && committed.get(&(*era, *xid)).is_some_and(|at_us| at_us <= merged_us)
            });
            if let Some(version) = first.map(|(_, version)| version).max() {
                row.holds = Some(version.clone());
                row.outcome = MergeOutcome::Beaten;
            }
        }
    }
}

/// The merges of a peer that were committed.
fn absorbed(facts: &[Fact], committed: &Commits) -> Vec<Absorbs> {
    let of = |fact: &Fact| {
        let committed_us = *committed.get(&fact.number()?)?;
        let stamps = fact.what.iter().flat_map(|what| match what {
            PeerWhat::Merged { rows, .. } => rows.as_slice(),
            _ => &[],
        });
        let taken =
            stamps.filter(|row| !matches!(row.outcome, MergeOutcome::TooFarAhead | MergeOutcome::Unsound));
        let stamp_us = taken.map(|row| row.version.stamp.us).max()?;
        Some(Absorbs { began_us: fact.began_us, committed_us, stamp_us })
    };
    facts.iter().filter_map(of).collect()
}

fn of_transaction(transaction: Transaction, committed: &[Commits], merges: &[Absorbs]) -> Vec<Draft> {
    let number = transaction.number();
    let Transaction { op, session, incarnation, xid, mut writes, clock_us, answered_us, .. } = transaction;
    let Some(at_us) = committed[op.host as usize].get(&number).copied() else { return Vec::new() };
    // Stamps that a merge under way had taken in by then are told with the merge, later than this.
    let under_way = merges.iter().filter(|merge| merge.began_us <= clock_us && merge.committed_us >= at_us);
    let absorbed_us = under_way.map(|merge| merge.stamp_us.saturating_add(1)).max().unwrap_or(0);
    for write in &mut writes {
        write.clock_us_max = write.clock_us_max.max(absorbed_us);
    }
    let draft = |at_us: u64, what: PeerWhat| {
        let commit = Some((op.host, number));
        Draft { at_us, commit, what: Draught::Event(What::Peer(what)) }
    };
    let mut drafts = vec![draft(at_us, PeerWhat::Committed { op, session, incarnation, xid, writes })];
    drafts.extend(answered_us.map(|answered_us| draft(answered_us, PeerWhat::Acknowledged { op })));
    drafts
}

fn of_fact(peer: u32, fact: Fact, committed: &[Commits]) -> Vec<Draft> {
    let number = fact.number();
    let Fact { wall_us, what, drops, .. } = fact;
    let commit = number.map(|number| (peer, number));
    let at_us = match number.map(|number| committed[peer as usize].get(&number)) {
        // Given up, or lost with its process.
        Some(None) => return Vec::new(),
        Some(Some(at_us)) => *at_us,
        None => wall_us,
    };
    let draft = |what| Draft { at_us, commit, what };
    let mut drafts: Vec<Draft> =
        what.into_iter().map(|what| draft(Draught::Event(What::Peer(what)))).collect();
    if !drops.is_empty() {
        let held = |entry: DigestEntry| HeldRow { row: entry.row, version: entry.version, deleted: false };
        drafts.push(draft(Draught::Drops(peer, drops.into_iter().map(held).collect())));
    }
    drafts
}

/// The moments of reads, in their order; commits that were written down earlier than a read which did not see them are
/// moved behind it. A read inside a transaction does not count its own commit among those that it saw, as its snapshot does.
fn place(reads: &[ReadRows], ops: &BTreeMap<(u32, Number), OpRef>, committed: &mut [Commits]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..reads.len()).collect();
    order.sort_by_key(|place| reads[*place].sent_us);
    let by_moment = |commits: &Commits| commits.iter().map(|(number, at_us)| (*at_us, *number)).collect();
    let mut by_moment: Vec<BTreeSet<(u64, Number)>> = committed.iter().map(by_moment).collect();
    let mut placed = vec![0; reads.len()];
    // A commit that was moved may have been seen by a read that was placed before it.
    for _ in 0..ROUNDS_MAX {
        let mut is_settled = true;
        for &number in &order {
            let ReadRows { op, era, snapshot, sent_us, .. } = &reads[number];
            let by_moment = &mut by_moment[op.host as usize];
            let near = (sent_us.saturating_sub(NEAR_US), (0, 0))..(sent_us.saturating_add(NEAR_US), (0, 0));
            let is_own = |number: &Number| ops.get(&(op.host, *number)) == Some(op);
            let near = by_moment.range(near).filter(|(_, number)| number.0 == *era && !is_own(number));
            let near: Vec<(u64, Number)> = near.copied().collect();
            let seen = near.iter().filter(|(_, (_, xid))| snapshot.sees(*xid)).map(|(at_us, _)| *at_us);
            let at_us = seen.max().unwrap_or(0).max(*sent_us);
            is_settled &= placed[number] == at_us;
            placed[number] = at_us;
            for unseen in near.iter().filter(|(moment, (_, xid))| *moment <= at_us && !snapshot.sees(*xid)) {
                by_moment.remove(unseen);
                by_moment.insert((at_us + 1, unseen.1));
                committed[op.host as usize].insert(unseen.1, at_us + 1);
                is_settled = false;
            }
        }
        if is_settled {
            break;
        }
    }
    placed
}

/// What everybody holds as the history goes on: for what a refusal leaves unsaid, and for the moment at which all hold the
/// same of what they held differently when the last fault was over.
struct Replay {
    held: Vec<FxHashMap<RowId, (Version, bool)>>,
    /// Rows that are stored otherwise than they were written.
    damaged: BTreeSet<(u32, RowId)>,
    /// Since the last fault: rows that are held differently, and the bytes sent.
    healed: Option<(BTreeSet<RowId>, u64)>,
}

impl Replay {
    fn new(peers: u32, stock: &[HeldRow]) -> Self {
        let stock: FxHashMap<RowId, (Version, bool)> =
            stock.iter().map(|held| (held.row.clone(), (held.version.clone(), held.deleted))).collect();
        Self { held: vec![stock; peers as usize], damaged: BTreeSet::new(), healed: None }
    }

    /// Of these rows those that a peer holds in just this version, or does not hold any more.
    fn dropped(&self, node: u32, drops: Vec<HeldRow>) -> Vec<RowId> {
        let held = &self.held[node as usize];
        let goes = |drop: &HeldRow| held.get(&drop.row).is_none_or(|(version, _)| *version == drop.version);
        drops.into_iter().filter(goes).map(|drop| drop.row).collect()
    }

    /// Takes one event, and says what it leaves unsaid. The bytes since the heal, if with it all hold the same.
    fn take(&mut self, what: &mut What) -> Option<u64> {
        let what = match what {
            What::Healed => {
                let rows: BTreeSet<RowId> = self.held.iter().flat_map(|held| held.keys().cloned()).collect();
                let differing: BTreeSet<RowId> = rows.into_iter().filter(|row| !self.is_alike(row)).collect();
                let none = differing.is_empty();
                self.healed = Some((differing, 0));
                return none.then_some(0);
            }
            What::Peer(what) => what,
            _ => return None,
        };
        let mut changed = Vec::new();
        match what {
            PeerWhat::Sent { bytes, .. } => {
                if let Some((_, sent)) = &mut self.healed {
                    *sent += *bytes;
                }
            }
            PeerWhat::Committed { op, writes, .. } => {
                for write in writes.iter() {
                    let held = (write.version.clone(), write.deleted);
                    self.held[op.host as usize].insert(write.row.clone(), held);
                    self.damaged.remove(&(op.host, write.row.clone()));
                    changed.push(write.row.clone());
                }
            }
            PeerWhat::Merged { node, rows, .. } => {
                let held = &mut self.held[*node as usize];
                for merged in rows.iter_mut() {
                    if matches!(merged.outcome, MergeOutcome::TooFarAhead | MergeOutcome::Unsound) {
                        merged.holds = held.get(&merged.row).map(|(version, _)| version.clone());
                    }
                    match &merged.holds {
                        Some(version) if *version == merged.version => {
                            held.insert(merged.row.clone(), (version.clone(), merged.deleted));
                            if merged.outcome != MergeOutcome::Equal {
                                self.damaged.remove(&(*node, merged.row.clone()));
                            }
                        }
                        Some(_) => {}
                        None => drop(held.remove(&merged.row)),
                    }
                    changed.push(merged.row.clone());
                }
            }
            PeerWhat::SetBack { node, holds } => {
                let holds = holds.iter().map(|held| (held.row.clone(), (held.version.clone(), held.deleted)));
                let before = std::mem::replace(&mut self.held[*node as usize], holds.collect());
                changed.extend(before.into_keys());
                changed.extend(self.held[*node as usize].keys().cloned());
                self.damaged.retain(|(peer, _)| peer != node);
            }
            PeerWhat::Dropped { node, rows } => {
                for row in rows.iter() {
                    self.held[*node as usize].remove(row);
                    changed.push(row.clone());
                }
            }
            _ => {}
        }
        self.watch(&changed)
    }

    fn watch(&mut self, changed: &[RowId]) -> Option<u64> {
        let (mut differing, sent) = self.healed.take()?;
        let was_empty = differing.is_empty();
        for row in changed {
            if differing.contains(row) && self.is_alike(row) {
                differing.remove(row);
            }
        }
        let is_empty = differing.is_empty();
        self.healed = Some((differing, sent));
        (is_empty && !was_empty).then_some(sent)
    }

    /// Whether everybody holds the same of a row that lives, undamaged: tombstones are purged at different moments.
    fn is_alike(&self, row: &RowId) -> bool {
        if self.damaged.iter().any(|(_, damaged)| damaged == row) {
            return false;
        }
        let living = |held: &FxHashMap<RowId, (Version, bool)>| {
            held.get(row).filter(|(_, deleted)| !deleted).map(|(version, _)| version.clone())
        };
        let mut all = self.held.iter().map(living);
        let first = all.next().flatten();
        all.all(|other| other == first)
    }
}

/// How far from a read commits are looked at.
const NEAR_US: u64 = 20_000_000;
const ROUNDS_MAX: usize = 10;

#[cfg(test)]
mod tests;
