//! What a live run leaves behind in its servers, held against what its hosts sent: rows, cached values and
//! published messages.

mod embeddings;

use std::collections::hash_map::Entry;
use std::hash::Hasher as _;

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use sync_core::data_type::{Nature, SyncDataType};
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::store::{Content, StateKey};

use embeddings::strange_texts;

use crate::history::{OpRef, WireId};
use crate::run::Threshold;
use crate::scenario::model::MixKind;
use crate::verdict::Verdict;
use crate::virtual_rig::services::{embedding_data, value, written_op};

/// An operation that took effect, as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: OperationId,
    /// What it synchronises.
    pub(super) data_type: SyncDataType,
    /// The map.
    pub(super) map: MapName,
    /// The state, for one that replaces.
    pub(super) key: Option<StateKey>,
    /// The state's version, or the event's sequence.
    pub(super) version: u64,
    /// When a main server took it, in microseconds since 1970.
    pub(super) created_us: u64,
    /// When it was committed, in microseconds since 1970, where the database tells.
    pub(super) committed_us: Option<u64>,
    /// An event's text; that of a state is in its own row.
    pub(super) event: Option<Quoted>,
}

/// A text that is to be the value of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoted {
    /// It is, byte for byte, what this operation writes at that length unless its value has a form of its own.
    Plain(OpRef, Digest),
    /// It names this operation.
    Formed(OpRef, Digest),
    /// No operation writes it.
    Broken,
}

/// A hash over a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn of(text: &str) -> Self {
        let mut hasher = FxHasher::default();
        hasher.write(text.as_bytes());
        Self(hasher.finish())
    }
}

impl Quoted {
    pub(super) fn read(text: &str) -> Self {
        match (written_op(text), u32::try_from(text.len())) {
            (Some(op), Ok(bytes)) if *value(op, bytes, &mut String::new()) == *text => {
                Self::Plain(op, Digest::of(text))
            }
            (Some(op), _) => Self::Formed(op, Digest::of(text)),
            _ => Self::Broken,
        }
    }
}

/// A value that was found outside the database: a state's in the cache, a state's or an event's in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) key: StateKey,
    pub(super) version: u64,
    pub(super) text: Quoted,
}

/// Which messages a subscriber was told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Publications {
    pub(super) sightings: Vec<Sighting>,
    /// How often it was told that it may have missed some.
    pub(super) gaps: u64,
    /// Whether faults of the plan may have taken some with them.
    pub(super) may_lack: bool,
}

/// Which operation travelled under which id, and what rows say of them.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    ids: FxHashMap<WireId, OpRef>,
    /// Rows seen, with the moment at which a main server took the operation (µs since 1970).
    seen: FxHashMap<WireId, u64>,
    states: FxHashMap<StateKey, Writes>,
    /// Events that rows account for.
    events: FxHashSet<OpRef>,
    /// Rows of operations that no host of this run sent.
    strangers: u64,
    /// Texts that are not those of their operations.
    misquoted: u64,
    /// Operations that were critical to their hosts.
    critical: FxHashSet<OpRef>,
    /// What operations write whose values have a form of their own.
    formed: FxHashMap<OpRef, Digest>,
}

/// The writes of one state that rows account for.
#[derive(Debug, Default)]
struct Writes {
    by_version: FxHashMap<u64, OpRef>,
    committed_us: FxHashMap<u64, u64>,
    /// Rows with a version that another row has, too.
    clashes: u64,
}

impl Evidence {
    /// An operation is critical to its host.
    pub(super) fn is_critical(&mut self, op: OpRef) {
        self.critical.insert(op);
    }

    /// An operation writes a value in a form of its own.
    pub(super) fn writes(&mut self, op: OpRef, text: &str) {
        self.formed.insert(op, Digest::of(text));
    }

    /// The operation whose value this is, whole and unaltered.
    fn quoted(&self, text: Quoted) -> Option<OpRef> {
        match text {
            Quoted::Plain(op, digest) => self.formed.get(&op).is_none_or(|own| *own == digest).then_some(op),
            Quoted::Formed(op, digest) => {
                let own = self.formed.get(&op).copied();
                // A text to be embedded follows from its operation.
                let own = own.unwrap_or_else(|| Digest::of(&embedding_data(op, MixKind::SyncTo)));
                (own == digest).then_some(op)
            }
            Quoted::Broken => None,
        }
    }

    /// The operation that left its host under this id.
    pub(super) fn op(&self, id: &WireId) -> Option<OpRef> {
        self.ids.get(id).copied()
    }

    /// An operation left its host under this id.
    pub(super) fn sent(&mut self, id: WireId, op: OpRef) {
        self.ids.entry(id).or_insert(op);
    }

    /// Takes a row; gives the operation back if it is a host's and its row was not seen before.
    pub(super) fn row(&mut self, row: Row) -> Option<OpRef> {
        let Row { id, key, version, created_us, committed_us, event, .. } = row;
        let id = WireId::from(id);
        if self.seen.insert(id, created_us).is_some() {
            return None;
        }
        let op = self.ids.get(&id).copied();
        let Some(op) = op else {
            self.strangers += 1;
            return None;
        };
        match key {
            None => {
                self.events.insert(op);
                self.misquoted += u64::from(event.and_then(|text| self.quoted(text)) != Some(op));
            }
            Some(key) => {
                let writes = self.states.entry(key).or_default();
                writes.committed_us.extend(committed_us.map(|us| (version, us)));
                match writes.by_version.entry(version) {
                    Entry::Vacant(entry) => {
                        entry.insert(op);
                    }
                    Entry::Occupied(_) => writes.clashes += 1,
                }
            }
        }
        Some(op)
    }

    /// The content with the names that the database held earlier and was allowed to forget since: those of
    /// operations taken before `forgotten_us`, microseconds since 1970.
    pub(super) fn remembered(&self, mut content: Content, forgotten_us: u64) -> Content {
        for (id, _) in self.seen.iter().filter(|(_, created_us)| **created_us < forgotten_us) {
            let session = (AccountId(id.account), Incarnation(id.incarnation));
            content.sessions.entry(session).or_default().applied.insert(id.counter);
        }
        content
    }

    /// Holds everything against everything else, once all rows have been taken. `cached` is what the cache
    /// holds under the keys of states; `None` where that could not be told.
    pub(super) fn judge(
        &self,
        content: &Content,
        cached: &[Option<Sighting>],
        published: &Publications,
    ) -> Vec<Threshold> {
        let foreign = |copy: &&Sighting| self.written(copy).is_none_or(|op| !self.critical.contains(&op));
        let mut judged = vec![
            none("rows of operations that no host sent", self.strangers),
            none("versions of states without exactly one row", self.misnumbered(content)),
            none(
                "rows with a text that their operation did not write",
                self.misquoted + self.misfiled(content),
            ),
            none(
                "cached values that were never written",
                cached
                    .iter()
                    .filter(|entry| entry.as_ref().is_none_or(|copy| self.written(copy).is_none()))
                    .count(),
            ),
            none(
                "published messages of what no host wrote as critical",
                published.sightings.iter().filter(foreign).count(),
            ),
        ];
        if !content.embeddings.is_empty() {
            judged.push(none("embeddings of texts that no host wrote", strange_texts(&self.events, content)));
        }
        // What a fault took with it, or a subscriber was told to ask for again, is missing for a reason; without
        // faults there is no reason.
        if !published.may_lack {
            const FIGURE: &str = "critical writes that were not published";
            judged.push(match published.gaps {
                0 => none(FIGURE, self.unpublished(published)),
                gaps => Threshold {
                    actual: format!("not known: a subscriber was told of {gaps} gaps without any fault"),
                    verdict: Verdict::Unknown,
                    ..none(FIGURE, 0_u64)
                },
            });
        }
        judged
    }

    /// When this version of the state took effect, in microseconds since 1970, if there is one and that is known.
    pub(super) fn committed_us(&self, key: &StateKey, version: u64) -> Option<u64> {
        self.states.get(key)?.committed_us.get(&version).copied()
    }

    /// The operation that wrote this version of the state, if it did so with this value, or this event.
    pub(super) fn written(&self, Sighting { key, version, text }: &Sighting) -> Option<OpRef> {
        if key.data_type.nature() == Nature::Event {
            return self.quoted(*text).filter(|op| self.events.contains(op));
        }
        let written = self.states.get(key)?.by_version.get(version)?;
        (self.quoted(*text) == Some(*written)).then_some(*written)
    }

    /// A version grows by one with each write, so an effect without a row shows, and so does one with two.
    fn misnumbered(&self, content: &Content) -> u64 {
        let mut wrong = 0;
        for (key, row) in &content.states {
            let accounted = self.states.get(key).map_or(0, |writes| {
                writes.by_version.keys().filter(|version| (1..=row.version).contains(version)).count()
            });
            wrong += row.version - accounted as u64;
        }
        for (key, writes) in &self.states {
            let last = content.states.get(key).map_or(0, |row| row.version);
            let beyond = writes.by_version.keys().filter(|version| !(1..=last).contains(*version)).count();
            wrong += writes.clashes + beyond as u64;
        }
        wrong
    }

    /// States whose value is not that of the operation which they name.
    fn misfiled(&self, content: &Content) -> u64 {
        let is_wrong = |id: OperationId, text: &str| match self.ids.get(&WireId::from(id)) {
            Some(op) => self.quoted(Quoted::read(text)) != Some(*op),
            // Counted among the strangers.
            None => false,
        };
        content.states.values().filter(|row| is_wrong(row.operation, &row.data)).count() as u64
    }

    fn unpublished(&self, published: &Publications) -> u64 {
        let told: std::collections::HashSet<_> =
            published.sightings.iter().map(|copy| (&copy.key, copy.version)).collect();
        let events: std::collections::HashSet<_> = published
            .sightings
            .iter()
            .filter(|copy| copy.key.data_type.nature() == Nature::Event)
            .filter_map(|copy| self.written(copy))
            .collect();
        let is_untold = |op: &&OpRef| self.critical.contains(op) && !events.contains(op);
        let mut missing = self.events.iter().filter(is_untold).count() as u64;
        for (key, writes) in &self.states {
            let is_missing = |(version, op): &(&u64, &OpRef)| {
                self.critical.contains(*op) && !told.contains(&(key, **version))
            };
            missing += writes.by_version.iter().filter(is_missing).count() as u64;
        }
        missing
    }
}

/// A figure that must be nought.
pub(super) fn none(figure: &str, count: impl TryInto<u64>) -> Threshold {
    let count = count.try_into().unwrap_or(u64::MAX);
    Threshold {
        figure: figure.to_owned(),
        bound: "none".to_owned(),
        actual: count.to_string(),
        verdict: if count == 0 { Verdict::Pass } else { Verdict::Fail },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use sync_core::store::StateRow;
    use sync_core::time::Timestamp;

    use super::*;

    fn id(counter: u64) -> OperationId {
        OperationId { account: AccountId(1), incarnation: Incarnation(1), counter }
    }

    fn op(counter: u64) -> OpRef {
        OpRef { host: 0, ticket: counter }
    }

    pub(in crate::live_rig) fn key() -> StateKey {
        StateKey::new(SyncDataType::PlayerData, AccountId(1), MapName::new("map0").unwrap())
    }

    pub(in crate::live_rig) fn text(counter: u64) -> std::sync::Arc<str> {
        value(op(counter), 40, &mut String::new())
    }

    /// What an operation writes, as it is read.
    fn quoted(counter: u64) -> Quoted {
        Quoted::read(&text(counter))
    }

    fn row(counter: u64, version: u64) -> Row {
        Row {
            id: id(counter),
            data_type: key().data_type,
            map: key().map,
            key: Some(key()),
            version,
            created_us: 10,
            committed_us: Some(1_000 + 10 * version),
            event: None,
        }
    }

    fn copy(counter: u64, version: u64) -> Sighting {
        Sighting { key: key(), version, text: quoted(counter) }
    }

    fn content(version: u64, last: u64) -> Content {
        let row = StateRow { version, data: text(last), operation: id(last), updated: Timestamp::from_us(0) };
        Content { states: [(key(), row)].into(), ..Content::default() }
    }

    /// Operations 1 to 3 were sent, and wrote the state in this order, at 1,010, 1,020 and 1,030.
    pub(in crate::live_rig) fn evidence() -> Evidence {
        let mut evidence = Evidence::default();
        for counter in 1..=3 {
            evidence.is_critical(op(counter));
            evidence.sent(id(counter).into(), op(counter));
            assert_eq!(evidence.row(row(counter, counter)), Some(op(counter)));
        }
        evidence
    }

    fn told() -> Publications {
        Publications { sightings: vec![copy(1, 1), copy(2, 2), copy(3, 3)], gaps: 0, may_lack: false }
    }

    /// What is not in order, by the first words of its figure.
    fn failed(judged: &[Threshold]) -> Vec<&str> {
        let failed = judged.iter().filter(|threshold| threshold.verdict == Verdict::Fail);
        failed.map(|threshold| threshold.figure.as_str()).collect()
    }

    #[test]
    fn what_hosts_wrote_is_in_order() {
        let judged = evidence().judge(&content(3, 3), &[Some(copy(2, 2))], &told());
        assert_eq!(failed(&judged), Vec::<&str>::new());
        assert_eq!(judged.len(), 6);
    }

    #[test]
    fn a_state_that_was_written_more_often_than_rows_say_is_told() {
        let judged = evidence().judge(&content(4, 3), &[], &told());
        assert_eq!(failed(&judged), ["versions of states without exactly one row"]);
    }

    #[test]
    fn a_version_with_two_rows_is_told() {
        let mut evidence = evidence();
        evidence.sent(id(4).into(), op(4));
        evidence.row(row(4, 3));
        let judged = evidence.judge(&content(3, 4), &[], &told());
        assert_eq!(failed(&judged), ["versions of states without exactly one row"]);
    }

    #[test]
    fn a_row_of_nobody_is_told() {
        let mut evidence = evidence();
        assert_eq!(evidence.row(row(9, 4)), None);
        let judged = evidence.judge(&content(3, 3), &[], &told());
        assert_eq!(failed(&judged), ["rows of operations that no host sent"]);
    }

    #[test]
    fn the_text_of_another_operation_is_told() {
        let mut state = content(3, 3);
        state.states.get_mut(&key()).unwrap().data = text(2);
        let figure = "rows with a text that their operation did not write";
        assert_eq!(failed(&evidence().judge(&state, &[], &told())), [figure]);
        for event in [None, Some(Quoted::Broken), Some(quoted(1))] {
            let mut evidence = evidence();
            evidence.sent(id(4).into(), op(4));
            evidence.row(Row { key: None, event, ..row(4, 1) });
            assert_eq!(failed(&evidence.judge(&content(3, 3), &[], &told())), [figure], "{event:?}");
        }
    }

    #[test]
    fn a_text_is_read_byte_for_byte() {
        let evidence = Evidence::default();
        assert_eq!(evidence.quoted(quoted(7)), Some(op(7)));
        for broken in ["", "{}", "{\"w\":\"0.7\"", "{\"w\":\"0.7\"} ", "{\"w\":\"0.07\"}"] {
            assert_eq!(evidence.quoted(Quoted::read(broken)), None, "{broken}");
        }
    }

    #[test]
    fn a_value_in_a_form_of_its_own_is_known_by_that() {
        let mut evidence = Evidence::default();
        let text = embedding_data(op(6), MixKind::SyncTo);
        assert_eq!(evidence.quoted(Quoted::read(&text)), Some(op(6)));
        assert_eq!(evidence.quoted(Quoted::read(&text.replace("0.6 ", "0.6  "))), None);
        let formed = "{\"w\":\"0.7\",\"map_name\":\"m\"}";
        assert_eq!(evidence.quoted(Quoted::read(formed)), None, "nobody said so");
        evidence.writes(op(7), formed);
        assert_eq!(evidence.quoted(Quoted::read(formed)), Some(op(7)));
        // Cut short it has the plain form.
        for broken in
            ["{\"w\":\"0.7\"}", "{\"w\":\"0.7\",\"map_name\":\"n\"}", "{\"w\":\"0.7\",\"map_name\":\"m\""]
        {
            assert_eq!(evidence.quoted(Quoted::read(broken)), None, "{broken}");
        }
    }

    #[test]
    fn a_cached_value_that_nobody_wrote_is_told() {
        for wrong in
            [None, Some(copy(3, 2)), Some(copy(3, 4)), Some(Sighting { text: Quoted::Broken, ..copy(3, 3) })]
        {
            let judged = evidence().judge(&content(3, 3), &[wrong], &told());
            assert_eq!(failed(&judged), ["cached values that were never written"]);
        }
    }

    #[test]
    fn messages_of_nothing_and_missing_ones_are_told() {
        let mut published = told();
        published.sightings[1].version = 5;
        let judged = evidence().judge(&content(3, 3), &[], &published);
        let figures = [
            "published messages of what no host wrote as critical",
            "critical writes that were not published",
        ];
        assert_eq!(failed(&judged), figures);
        // Where some may have been lost nobody can say that there were none.
        published.may_lack = true;
        assert_eq!(failed(&evidence().judge(&content(3, 3), &[], &published)), figures[..1]);
        published.may_lack = false;
        published.gaps = 1;
        let judged = evidence().judge(&content(3, 3), &[], &published);
        assert_eq!(failed(&judged), figures[..1]);
        assert_eq!(judged.last().unwrap().verdict, Verdict::Unknown);
    }

    #[test]
    fn a_message_of_what_was_not_critical_is_told() {
        let mut evidence = Evidence::default();
        evidence.sent(id(1).into(), op(1));
        evidence.row(row(1, 1));
        let published = Publications { sightings: vec![copy(1, 1)], ..Publications::default() };
        let judged = evidence.judge(&content(1, 1), &[], &published);
        assert_eq!(failed(&judged), ["published messages of what no host wrote as critical"]);
    }

    #[test]
    fn a_critical_event_must_be_told_of_like_a_state() {
        let mut evidence = evidence();
        evidence.is_critical(op(4));
        evidence.sent(id(4).into(), op(4));
        evidence.row(Row { key: None, event: Some(quoted(4)), ..row(4, 1) });
        let judged = evidence.judge(&content(3, 3), &[], &told());
        assert_eq!(failed(&judged), ["critical writes that were not published"]);
        let chat = StateKey { data_type: SyncDataType::ChatMessage, ..key() };
        let mut published = told();
        published.sightings.push(Sighting { key: chat.clone(), ..copy(4, 1) });
        assert_eq!(failed(&evidence.judge(&content(3, 3), &[], &published)), Vec::<&str>::new());
        published.sightings.push(Sighting { key: chat, ..copy(5, 2) });
        let judged = evidence.judge(&content(3, 3), &[], &published);
        assert_eq!(failed(&judged), ["published messages of what no host wrote as critical"]);
    }

    #[test]
    fn only_names_that_the_database_may_have_forgotten_are_remembered_for_it() {
        let mut evidence = Evidence::default();
        evidence.row(Row { created_us: 10, ..row(1, 1) });
        evidence.row(Row { created_us: 20, ..row(2, 2) });
        let content = evidence.remembered(Content::default(), 20);
        let session = &content.sessions[&(AccountId(1), Incarnation(1))];
        assert!(session.applied.contains(1) && !session.applied.contains(2));
    }
}
