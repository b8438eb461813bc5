use sync_core::id::Incarnation;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::schema::Table;
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::version::{ContentHash, Stamp};

use super::*;
use crate::history::peers::{MergedRow, Written};
use crate::peer_schema::node_id;

const START: u64 = 1_000_000;

fn row(number: &str) -> RowId {
    let table = Table::new("notes", &["id"], &["id"]).unwrap().name;
    RowId { table, key: Content::new([Some(number)]) }
}

fn version(us: u64) -> Version {
    let stamp = Stamp { us, counter: 0 };
    Version { stamp, node: node_id(0, 2), hash: ContentHash::default() }
}

fn op(ticket: u64) -> OpRef {
    OpRef { host: 0, ticket }
}

fn wrote(ticket: u64, xid: u64, answered_us: Option<u64>) -> Told {
    let write = Written {
        row: row("1"),
        version: version(xid),
        deleted: false,
        seen: None,
        clock_us: 0,
        clock_us_max: 0,
        content: None,
    };
    let (writes, incarnation) = (vec![write], Incarnation(1));
    let op = op(ticket);
    Told::Transaction(Transaction {
        op,
        session: 0,
        era: 0,
        incarnation,
        xid,
        writes,
        clock_us: 50,
        answered_us,
    })
}

fn read(ticket: u64, sent_us: u64, snapshot: Snapshot) -> Told {
    let rows = Vec::new();
    Told::Read(ReadRows { op: op(ticket), session: 1, era: 0, rows, snapshot, sent_us })
}

fn merged(outcome: MergeOutcome, xid: Option<u64>, wall_us: u64) -> Fact {
    let came = matches!(outcome, MergeOutcome::Inserted | MergeOutcome::Equal).then(|| version(10));
    let row = MergedRow {
        row: row("1"),
        version: version(10),
        deleted: false,
        origin: Incarnation(1),
        origin_xid: 10,
        outcome,
        holds: came,
        ahead_us: 0,
    };
    let what = PeerWhat::Merged { node: 1, from: 0, xid, rows: vec![row], repair: false, reconcile: false };
    Fact { wall_us, xid, what: vec![what], ..Fact::default() }
}

fn telling(told: Vec<Told>, facts: Vec<Fact>, committed: [&[(u64, u64)]; 2]) -> Vec<Event> {
    let of_first = |(xid, at_us): &(u64, u64)| ((0, *xid), *at_us);
    let committed = committed.map(|commits| commits.iter().map(of_first).collect());
    let facts = vec![Vec::new(), facts];
    let (start_us, stock, sent) = (START, Vec::new(), Vec::new());
    Telling { start_us, peers: 2, stock, told, facts, sent, committed: committed.into() }.events()
}

fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match &event.what {
        What::Healed => "healed".to_owned(),
        What::Peer(PeerWhat::Committed { op, .. }) => format!("committed {}", op.ticket),
        What::Peer(PeerWhat::Acknowledged { op }) => format!("acknowledged {}", op.ticket),
        What::Peer(PeerWhat::Read { op, .. }) => format!("read {}", op.ticket),
        What::Peer(PeerWhat::Merged { rows, .. }) => {
            format!("merged {:?}", rows[0].holds.as_ref() == Some(&rows[0].version))
        }
        What::Peer(PeerWhat::Equal { bytes }) => format!("equal {bytes}"),
        other => format!("{other:?}"),
    };
    events.iter().map(name).collect()
}

#[test]
fn a_read_stands_between_what_it_saw_and_what_it_did_not() {
    // 11 was written down first and became visible last: the read saw 12 alone.
    let told = vec![
        wrote(1, 11, Some(START + 900)),
        wrote(2, 12, Some(START + 800)),
        read(3, START + 400, Snapshot::new(13, [11])),
    ];
    let events = telling(told, Vec::new(), [&[(11, START + 500), (12, START + 600)], &[]]);
    assert_eq!(names(&events), ["committed 2", "read 3", "committed 1", "acknowledged 2", "acknowledged 1"]);
    assert_eq!(events[1].at_us, 600);
}

#[test]
fn a_read_inside_a_transaction_comes_before_its_commit() {
    // Operation 1 reads when its transaction, number 11, has begun to write: a snapshot does not name its own transaction
    // as one under way. Operation 2 commits in between.
    let own = Told::Read(ReadRows {
        op: op(1),
        session: 1,
        era: 0,
        rows: Vec::new(),
        snapshot: Snapshot::new(12, []),
        sent_us: START + 100,
    });
    let told = vec![wrote(1, 11, Some(START + 900)), wrote(2, 12, Some(START + 300)), own];
    let events = telling(told, Vec::new(), [&[(11, START + 800), (12, START + 200)], &[]]);
    let expected = ["read 1", "committed 2", "acknowledged 2", "committed 1", "acknowledged 1"];
    assert_eq!(names(&events), expected);
}

#[test]
fn what_was_never_committed_is_not_told_and_what_was_never_answered_is() {
    let told = vec![wrote(1, 11, None), wrote(2, 12, None)];
    let lost = merged(MergeOutcome::Inserted, Some(21), START + 700);
    let events = telling(told, vec![lost], [&[(12, START + 5)], &[]]);
    assert_eq!(names(&events), ["committed 2"]);
}

#[test]
fn equality_is_told_when_the_last_row_is_held_alike() {
    let told = vec![wrote(1, 10, Some(START + 3)), Told::At(START + 10, What::Healed)];
    let refused = merged(MergeOutcome::TooFarAhead, None, START + 20);
    let taken = merged(MergeOutcome::Inserted, Some(21), START + 30);
    let events = telling(told, vec![refused, taken], [&[(10, START + 2)], &[(21, START + 31)]]);
    let expected = ["committed 1", "acknowledged 1", "healed", "merged false", "merged true", "equal 0"];
    assert_eq!(names(&events), expected);
}

#[test]
fn stamps_that_a_merge_under_way_has_taken_in_count_for_the_clock() {
    let shown = |began_us, merged_us| {
        let write = wrote(1, 11, Some(START + 8));
        let mut taken = merged(MergeOutcome::Inserted, Some(21), START + 9);
        taken.began_us = began_us;
        let committed = [BTreeMap::from([((0, 11), START + 5), ((0, 21), merged_us)]), BTreeMap::new()];
        // The merge is at the writer's own peer.
        let facts = vec![vec![taken], Vec::new()];
        let (start_us, stock, sent, told) = (START, Vec::new(), Vec::new(), vec![write]);
        let telling = Telling { start_us, peers: 2, stock, told, facts, sent, committed: committed.into() };
        let shown = telling.events().into_iter().find_map(|event| match event.what {
            What::Peer(PeerWhat::Committed { writes, .. }) => Some(writes[0].clock_us_max),
            _ => None,
        });
        shown.unwrap()
    };
    assert_eq!(shown(40, START + 9), 11, "it began before the write and ended after it");
    assert_eq!(shown(60, START + 9), 0, "it began later");
    assert_eq!(shown(40, START + 4), 0, "it was over before");
}

#[test]
fn what_a_merge_could_not_see_has_beaten_what_it_brought() {
    let order = |began_with: Snapshot, taken: MergeOutcome| {
        let write = wrote(1, 11, Some(START + 8));
        let mut merge = merged(taken, Some(21), START + 9);
        merge.began_with = Some(began_with);
        let committed = [BTreeMap::from([((0, 11), START + 5), ((0, 21), START + 9)]), BTreeMap::new()];
        let facts = vec![vec![merge], Vec::new()];
        let (start_us, stock, sent, told) = (START, Vec::new(), Vec::new(), vec![write]);
        let telling = Telling { start_us, peers: 2, stock, told, facts, sent, committed: committed.into() };
        names(&telling.events())
    };
    // The merge stores version 10, the application wrote version 11.
    let beaten = ["committed 1", "acknowledged 1", "merged false"];
    assert_eq!(order(Snapshot::new(11, []), MergeOutcome::Inserted), beaten);
    assert_eq!(order(Snapshot::new(11, []), MergeOutcome::Equal), beaten, "what is equal is not locked");
    let seen = ["committed 1", "acknowledged 1", "merged true"];
    assert_eq!(order(Snapshot::new(12, []), MergeOutcome::Inserted), seen, "it was there: a finding");
    assert_eq!(order(Snapshot::new(11, []), MergeOutcome::Expired), beaten, "nothing was stored");
}

#[test]
fn a_number_of_one_database_says_nothing_of_the_next() {
    let mut second = wrote(2, 11, Some(START + 9));
    let Told::Transaction(transaction) = &mut second else { panic!("{second:?}") };
    transaction.era = 1;
    // The read, of the first database, saw number 11 there.
    let told = vec![wrote(1, 11, Some(START + 3)), read(3, START + 4, Snapshot::new(12, [])), second];
    let committed = [BTreeMap::from([((0, 11), START + 2), ((1, 11), START + 8)]), BTreeMap::new()];
    let (start_us, stock, sent, facts) = (START, Vec::new(), Vec::new(), vec![Vec::new(); 2]);
    let telling = Telling { start_us, peers: 2, stock, told, facts, sent, committed: committed.into() };
    let expected = ["committed 1", "acknowledged 1", "read 3", "committed 2", "acknowledged 2"];
    assert_eq!(names(&telling.events()), expected);
}
