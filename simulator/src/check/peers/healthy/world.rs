//! Peers with real databases in memory, that do as they are told and tell what happens.

use std::collections::BTreeMap;

use sync_core::id::Incarnation;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::position::{Frontier, Position};
use sync_core::peer_sync::row::{RowId, RowVersion};
use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::store::memory::{MemoryPeerStore, TransactionId, Write, WriteError};
use sync_core::peer_sync::store::{
    Advance, DigestEntry, DropRows, MergeRows, Outcome, PeerReply, PeerRequest, Purge, ReadFeed,
};
use sync_core::peer_sync::version::{NodeId, Version};
use sync_core::time::{Span, Timestamp};

use super::super::super::{Findings, moment};
use super::super::{PeerTerms, all, testing};
use super::Step;
use crate::by_rules::oughts;
use crate::history::peers::{FinalState, HeldRow, MergeOutcome, MergedRow, PeerWhat, Seen, Written};
use crate::history::{Event, OpRef, What};

pub(super) const PEERS: usize = 3;
pub(super) const SESSIONS: usize = 2;
pub(super) const ROWS: u32 = 6;
/// How far ahead of a database's clock a stamp may lie.
pub(super) const AHEAD_US_MAX: u64 = 200;
/// How old tombstones grow that somebody has not passed.
const RETENTION_US: u64 = 50;
/// How far ahead a clock may be.
pub(super) const SKEW_US_MAX: u64 = 2 * AHEAD_US_MAX;

/// A transaction of a session that is under way.
struct Open {
    transaction: TransactionId,
    op: OpRef,
    writes: BTreeMap<RowId, Written>,
}

pub(super) struct World {
    now: u64,
    tickets: u64,
    lives: u64,
    stores: Vec<MemoryPeerStore>,
    copies: Vec<MemoryPeerStore>,
    /// How far each database's clock is ahead, and the greatest that it has shown.
    skews_us: [u64; PEERS],
    clocks_us_max: [u64; PEERS],
    open: BTreeMap<(usize, usize), Open>,
    pub(super) told: Vec<Event>,
}

fn name(peer: usize) -> NodeId {
    NodeId::new(&format!("p{peer}")).unwrap()
}

fn terms() -> PeerTerms {
    PeerTerms {
        stamp_ahead_us_max: AHEAD_US_MAX,
        converge_within_us: 1_000_000,
        transaction_rows_max: 100,
        ..testing::terms()
    }
}

impl World {
    pub(super) fn new() -> Self {
        let store = |peer| {
            let schema = Schema::new([Table::new("users", &["id", "name"], &["id"]).unwrap()]).unwrap();
            MemoryPeerStore::new(
                name(peer),
                schema,
                Incarnation(1),
                Span::from_us(terms().stamp_ahead_us_max),
            )
        };
        let stores: Vec<_> = (0..PEERS).map(store).collect();
        Self {
            now: 1_000,
            tickets: 0,
            lives: 1,
            copies: stores.clone(),
            stores,
            skews_us: [0; PEERS],
            clocks_us_max: [0; PEERS],
            open: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn tell(&mut self, what: PeerWhat) {
        self.told.push(Event { at_us: self.now, what: What::Peer(what) });
    }

    /// What a peer's database takes for the present.
    fn at(&self, peer: usize) -> Timestamp {
        Timestamp::from_us(self.now + self.skews_us[peer])
    }

    fn op(&mut self, peer: usize) -> OpRef {
        self.tickets += 1;
        OpRef { host: peer as u32, ticket: self.tickets }
    }

    pub(super) fn step(&mut self, step: &Step) {
        self.now += 7;
        match *step {
            Step::Write { peer, session, row, delete } => self.write(peer, session, row, delete),
            Step::Commit { peer, session } => self.commit(peer, session),
            Step::Rollback { peer, session } => {
                if let Some(open) = self.open.remove(&(peer, session)) {
                    self.stores[peer].rollback(open.transaction);
                    self.tell(PeerWhat::Aborted { op: open.op, why: "asked for".to_owned() });
                }
            }
            Step::Read { peer } => self.read(peer),
            Step::Pull { reader, source, rows_max, lost } => {
                self.pull(reader, source, rows_max, lost);
            }
            Step::Skew { peer, ahead_us } => {
                self.clocks_us_max[peer] = self.clocks_us_max[peer].max(self.at(peer).as_us());
                self.skews_us[peer] = ahead_us;
            }
            Step::Crash(peer) => {
                self.stores[peer].crash();
                self.broken(peer);
            }
            Step::Purge(peer) => self.purge(peer, u64::MAX),
            Step::Expire(peer) => self.purge(peer, RETENTION_US),
            Step::Copy(peer) => self.copies[peer] = self.stores[peer].durable_copy(),
            Step::SetBack { peer, noticed } => {
                self.stores[peer] = self.copies[peer].clone();
                self.broken(peer);
                let holds = self.stores[peer].versions().into_iter().map(|(held, _)| HeldRow {
                    row: held.row.clone(),
                    version: held.version.clone(),
                    deleted: held.image.is_tombstone(),
                });
                let holds = holds.collect();
                self.tell(PeerWhat::SetBack { node: peer as u32, holds });
                if noticed {
                    self.renew(peer);
                }
            }
        }
    }

    /// The transactions of a peer that ended are never heard of again.
    fn broken(&mut self, peer: usize) {
        let ended: Vec<_> = (0..SESSIONS).filter_map(|session| self.open.remove(&(peer, session))).collect();
        ended.into_iter().for_each(|open| self.tell(PeerWhat::Indefinite { op: open.op }));
    }

    fn write(&mut self, peer: usize, session: usize, key: u32, delete: bool) {
        if !self.open.contains_key(&(peer, session)) {
            let (transaction, op) = (self.stores[peer].begin(), self.op(peer));
            self.open.insert((peer, session), Open { transaction, op, writes: BTreeMap::new() });
            self.tell(PeerWhat::Began { op, session: session as u32, intended_us: self.now });
        }
        let (at, row) = (self.at(peer), testing::row(key));
        let (now, clock_us) = (self.now, at.as_us());
        let (text, id) = (format!("{now} by {peer}"), key.to_string());
        let Some(open) = self.open.get_mut(&(peer, session)) else { return };
        let write = match delete {
            true => Write::Delete(row.clone()),
            false => Write::Put {
                table: row.table.clone(),
                content: Content::new([Some(id.as_str()), Some(text.as_str())]),
            },
        };
        let seen = self.stores[peer].stored(&row).map(|stored| stored.version.clone());
        match self.stores[peer].write(open.transaction, at, write) {
            Ok(Some(version)) => {
                let written = Written {
                    row: row.clone(),
                    version,
                    deleted: delete,
                    seen,
                    clock_us,
                    clock_us_max: clock_us.max(self.clocks_us_max[peer]),
                    content: None,
                };
                open.writes.insert(row, written);
            }
            Ok(None) | Err(WriteError::Locked { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }

    fn commit(&mut self, peer: usize, session: usize) {
        let Some(open) = self.open.remove(&(peer, session)) else { return };
        let at = self.at(peer);
        let committed = self.stores[peer].commit(open.transaction, at).unwrap();
        let Some(xid) = committed.xid else {
            return self.tell(PeerWhat::Aborted { op: open.op, why: "wrote nothing".to_owned() });
        };
        let incarnation = self.stores[peer].incarnation();
        let (op, session, writes) = (open.op, session as u32, open.writes.into_values().collect());
        self.tell(PeerWhat::Committed { op, session, incarnation, xid, writes });
        self.tell(PeerWhat::Acknowledged { op });
    }

    fn read(&mut self, peer: usize) {
        // A session that only reads, so that it is not in the middle of a transaction.
        let (op, session) = (self.op(peer), SESSIONS as u32);
        self.tell(PeerWhat::Began { op, session, intended_us: self.now });
        let store = &self.stores[peer];
        let seen = (0..ROWS).map(testing::row).map(|row| Seen {
            version: store.stored(&row).map(|stored| stored.version.clone()),
            visible: store.read(&row).map(Content::hash),
            row,
        });
        let rows = seen.collect();
        self.tell(PeerWhat::Read { op, session, rows });
    }

    fn purge(&mut self, peer: usize, retention_us: u64) {
        let peers = (0..PEERS).filter(|other| *other != peer).map(name).collect();
        let retention = Span::from_us(retention_us);
        let at = self.at(peer);
        let request = PeerRequest::Purge(Purge { peers, retention, rows_max: 100 });
        if let PeerReply::Purged(rows @ 1..) = self.stores[peer].execute(at, request) {
            self.tell(PeerWhat::Purged { node: peer as u32, rows });
        }
    }

    fn merge(
        &mut self,
        reader: usize,
        source: usize,
        request: MergeRows,
        reconcile: bool,
    ) -> Option<Vec<Outcome>> {
        let (at, rows, advance) = (self.at(reader), request.rows.clone(), request.advance.clone());
        let merged = match self.stores[reader].execute(at, PeerRequest::Merge(request)) {
            PeerReply::Merged(merged) => merged,
            PeerReply::Unavailable => return None,
            other => panic!("{other:?}"),
        };
        let store = &self.stores[reader];
        let told = rows.into_iter().zip(&merged.outcomes).map(|(row, outcome)| MergedRow {
            outcome: match outcome {
                Outcome::Inserted => MergeOutcome::Inserted,
                Outcome::Updated { .. } => MergeOutcome::Updated,
                Outcome::Equal => MergeOutcome::Equal,
                Outcome::Beaten { .. } => MergeOutcome::Beaten,
                Outcome::TooFarAhead { .. } => MergeOutcome::TooFarAhead,
                Outcome::Expired => MergeOutcome::Expired,
                Outcome::Unsound(_) | Outcome::Changed => panic!("{outcome:?}"),
            },
            holds: store.stored(&row.row).map(|stored| stored.version.clone()),
            ahead_us: row.version.stamp.us.saturating_sub(at.as_us()),
            deleted: row.image.is_tombstone(),
            origin: row.origin.incarnation,
            origin_xid: row.origin.xid,
            version: row.version,
            row: row.row,
        });
        let told: Vec<_> = told.collect();
        // What it stored is committed, so its transaction is the last one that a snapshot sees.
        let stored = |outcome: &Outcome| matches!(outcome, Outcome::Inserted | Outcome::Updated { .. });
        let xid = merged.outcomes.iter().any(stored).then(|| store.snapshot().xmax() - 1);
        let (node, from) = (reader as u32, source as u32);
        if !told.is_empty() {
            self.tell(PeerWhat::Merged { node, from, xid, rows: told, repair: false, reconcile });
        }
        if let Some(Advance { position, .. }) = advance.filter(|_| merged.advanced) {
            let Position { incarnation, snapshot, .. } = position;
            self.tell(PeerWhat::Advanced { node, of: from, incarnation, snapshot, reconciled: reconcile });
        }
        Some(merged.outcomes)
    }

    fn renew(&mut self, peer: usize) {
        self.lives += 1;
        let (at, life) = (self.at(peer), Incarnation(self.lives));
        self.stores[peer].execute(at, PeerRequest::Renew(life));
        self.tell(PeerWhat::Renewed { node: peer as u32, incarnation: life });
    }

    /// Reads a page; whether there is more.
    fn pull(&mut self, reader: usize, source: usize, rows_max: usize, lost: bool) -> bool {
        let at = self.at(source);
        let PeerReply::Described(described) = self.stores[reader].execute(at, PeerRequest::Describe) else {
            panic!("it can be described")
        };
        let since = described.positions.get(&name(source)).cloned();
        if let Some(position) = since.clone() {
            let refused = described.refused.contains(&name(source));
            let passed = PeerRequest::Passed { peer: name(reader), position, refused };
            if self.stores[source].execute(at, passed) == (PeerReply::Noted { ahead: true }) {
                self.renew(source);
            }
        }
        let request = ReadFeed { since, frontier: described.reads_with(), rows_max, bytes_max: usize::MAX };
        match self.stores[source].execute(at, PeerRequest::Feed(request)) {
            PeerReply::Page(page) if lost => page.frontier.is_none(),
            PeerReply::Page(page) => {
                let end = page.frontier.is_some();
                let advance =
                    Advance { position: page.position, frontier: page.frontier.unwrap_or_default() };
                let from = name(source);
                let request = MergeRows {
                    from,
                    rows: page.rows,
                    groups: page.groups,
                    known: page.known,
                    advance: Some(advance),
                    repair: false,
                };
                self.merge(reader, source, request, false);
                !end
            }
            PeerReply::MustReconcile(then) => {
                self.compare(reader, source, Some(then));
                true
            }
            other => panic!("{other:?}"),
        }
    }

    /// Everything that the two differ in goes both ways.
    fn compare(&mut self, reader: usize, source: usize, then: Option<Position>) {
        let (gave, refused) = self.give(source, reader);
        if gave && !refused {
            let at = self.at(reader);
            self.stores[reader].execute(at, PeerRequest::Settle(name(source)));
        }
        let done = gave && self.give(reader, source).0;
        if let (true, Some(position)) = (done, then) {
            let advance = Some(Advance { position, frontier: Frontier::default() });
            let request = MergeRows {
                from: name(source),
                rows: vec![],
                groups: vec![],
                known: vec![],
                advance,
                repair: false,
            };
            self.merge(reader, source, request, true);
        }
    }

    /// Gives what the other lacks; whether it took, dropped or refused everything, and whether it refused some.
    fn give(&mut self, from: usize, to: usize) -> (bool, bool) {
        let all = |store: &MemoryPeerStore| -> Vec<RowVersion> {
            store.versions().into_iter().map(|(version, _)| version.clone()).collect()
        };
        let theirs: BTreeMap<RowId, Version> =
            all(&self.stores[to]).into_iter().map(|held| (held.row, held.version)).collect();
        let lacking =
            all(&self.stores[from]).into_iter().filter(|row| theirs.get(&row.row) < Some(&row.version));
        let rows: Vec<_> = lacking.collect();
        let names: Vec<_> = rows
            .iter()
            .map(|row| DigestEntry { row: row.row.clone(), version: row.version.clone() })
            .collect();
        let request =
            MergeRows { from: name(from), rows, groups: vec![], known: vec![], advance: None, repair: false };
        let Some(outcomes) = self.merge(to, from, request, true) else { return (false, false) };
        let refused = outcomes.iter().any(|outcome| matches!(outcome, Outcome::TooFarAhead { .. }));
        let expired = names.into_iter().zip(outcomes).filter(|(_, outcome)| *outcome == Outcome::Expired);
        let expired: Vec<_> = expired.map(|(entry, _)| entry).collect();
        if !expired.is_empty() {
            let at = self.at(from);
            self.stores[from]
                .execute(at, PeerRequest::Drop(DropRows { entries: expired.clone(), readers: Vec::new() }));
            let stays = |row: &RowId| self.stores[from].stored(row).is_some();
            let (kept, rows): (Vec<_>, Vec<_>) = expired.into_iter().map(|entry| entry.row).partition(stays);
            self.tell(PeerWhat::Dropped { node: from as u32, rows });
            // An application has it locked: it is for the next time.
            return (kept.is_empty(), refused);
        }
        (true, refused)
    }

    /// Ends what is under way, heals, lets everybody read everybody, and tells how it ends.
    pub(super) fn settle(&mut self) {
        for (peer, session) in (0..PEERS).flat_map(|peer| (0..SESSIONS).map(move |session| (peer, session))) {
            self.step(&Step::Commit { peer, session });
        }
        for peer in 0..PEERS {
            self.step(&Step::Skew { peer, ahead_us: 0 });
        }
        // Whatever was written is no more than so far ahead.
        self.now += SKEW_US_MAX;
        self.told.push(Event { at_us: self.now, what: What::Healed });
        for _ in 0..2 * PEERS {
            for (reader, source) in [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)] {
                self.now += 7;
                while self.pull(reader, source, 100, false) {}
                self.compare(reader, source, None);
            }
        }
        self.tell(PeerWhat::Equal { bytes: 1 });
        (0..PEERS).for_each(|peer| self.read(peer));
        let schema = self.stores[0].schema().clone();
        let of =
            |store: &MemoryPeerStore| oughts(&schema, store.versions().iter().map(|(stored, _)| *stored));
        let oughts: Vec<_> = self.stores.iter().map(of).collect();
        for row in (0..ROWS).map(testing::row) {
            for (peer, store) in (0..).zip(&self.stores) {
                let holds = store.stored(&row).map(|stored| FinalState {
                    version: stored.version.clone(),
                    deleted: stored.image.is_tombstone(),
                    standing: store.standing(&row).unwrap(),
                    content: stored.image.hash(),
                    visible: store.read(&row).map(Content::hash),
                    ought: oughts[peer as usize].get(&row).cloned(),
                });
                let what = PeerWhat::FinalRow { row: row.clone(), nodes: vec![peer], holds };
                self.told.push(Event { at_us: self.now, what: What::Peer(what) });
            }
        }
        self.told.push(Event { at_us: self.now, what: What::Settled { open: 0 } });
        let mut planned = [(0, 0); PEERS];
        for event in &self.told {
            if let What::Peer(PeerWhat::Began { op, intended_us, .. }) = &event.what {
                let (arrivals, moments) = &mut planned[op.host as usize];
                *arrivals += 1;
                *moments = moment(op.ticket, *intended_us).wrapping_add(*moments);
            }
        }
        for (host, (arrivals, moments)) in (0..).zip(planned) {
            self.told.push(Event { at_us: self.now, what: What::Planned { host, arrivals, moments } });
        }
    }

    /// What every check says, and how much it looked at.
    pub(super) fn judged(&self) -> BTreeMap<&'static str, (Findings, u64)> {
        let mut judged = BTreeMap::new();
        for mut check in all(&terms()) {
            let property = check.property();
            let mut findings = Findings::default();
            for event in self.told.iter().filter(|event| property.needs.contains(&event.what.kind())) {
                check.observe(event, &mut findings);
            }
            let basis = check.finish(&mut findings);
            judged.insert(property.id, (findings, basis.count));
        }
        judged
    }
}
