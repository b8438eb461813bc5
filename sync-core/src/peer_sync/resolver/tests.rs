//! The declared policies obey the laws, and decide as they say.

use super::*;
use crate::id::Incarnation;
use crate::peer_sync::laws::{law_table, suite};

fn table(policy: Policy) -> Table {
    Table { policy, ..law_table() }
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn counters() -> Vec<String> {
    vec!["amount".to_owned(), "note".to_owned()]
}

fn ranks() -> Vec<NodeId> {
    vec![node("n10"), node("n1")]
}

suite!(last_writer_by_row, LastWriterByRow);
suite!(last_writer_by_column, LastWriterByColumn);
suite!(first_writer, FirstWriter);
suite!(node_priority, NodePriority(ranks()));
suite!(counter_delta, CounterDelta(counters()), table(Policy::CounterDelta(counters())));

/// A node that writes and hears of others.
struct Peer<'a> {
    resolver: &'a dyn Resolver,
    table: &'a Table,
    name: NodeId,
    life: Incarnation,
    row: Option<RowVersion>,
}

impl<'a> Peer<'a> {
    fn new(resolver: &'a dyn Resolver, table: &'a Table, name: &str) -> Self {
        Self { resolver, table, name: node(name), life: Incarnation(1), row: None }
    }

    fn write(&mut self, us: u64, columns: Option<[&str; 4]>) -> Result<(), WriteRefused> {
        let write = Write {
            row: RowId { table: self.table.name.clone(), key: Content::new([Some("1")]) },
            content: columns.map(|columns| Content::new(columns.map(Some))),
            stamp: Stamp { us, counter: 0 },
            node: self.name.clone(),
            origin: Origin { incarnation: self.life, xid: us },
        };
        self.row = Some(written(self.resolver, self.table, self.row.as_ref(), write)?);
        Ok(())
    }

    fn hear(&mut self, other: &Self) {
        let Some(theirs) = &other.row else { return };
        assert!(self.resolver.accepts(self.table, theirs), "{theirs:?}");
        self.row = Some(match &self.row {
            Some(mine) => merged(self.resolver, self.table, mine, theirs),
            None => theirs.clone(),
        });
    }

    fn shown(&self) -> String {
        match self.row.as_ref().and_then(|row| row.image.row()) {
            Some(content) => content.columns().map(|c| c.unwrap_or("null")).collect::<Vec<_>>().join(" "),
            None => "deleted".to_owned(),
        }
    }
}

/// Both hear of each other, and both end with this.
fn check_both<'a>(a: &mut Peer<'a>, b: &mut Peer<'a>, expected: &str) {
    let before = b.row.clone();
    b.hear(a);
    let heard = Peer { row: before, name: b.name.clone(), ..*b };
    a.hear(&heard);
    assert_eq!((a.shown().as_str(), b.shown().as_str()), (expected, expected));
    assert!(a.row.as_ref().unwrap().is_same_as(b.row.as_ref().unwrap()));
}

#[test]
fn by_row_the_later_delete_beats_an_update_and_the_later_update_a_delete() {
    let table = law_table();
    let mut a = Peer::new(&LastWriterByRow, &table, "a");
    let mut b = Peer::new(&LastWriterByRow, &table, "b");
    a.write(1, Some(["1", "x", "y", "z"])).unwrap();
    b.hear(&a);
    a.write(2, Some(["1", "x2", "y", "z"])).unwrap();
    b.write(3, None).unwrap();
    check_both(&mut a, &mut b, "deleted");
    b.write(4, None).unwrap();
    a.write(5, Some(["1", "x3", "y", "z"])).unwrap();
    check_both(&mut a, &mut b, "1 x3 y z");
}

#[test]
fn by_column_each_side_keeps_what_it_changed_and_a_later_update_revives_the_whole_row() {
    let table = law_table();
    let mut a = Peer::new(&LastWriterByColumn, &table, "a");
    let mut b = Peer::new(&LastWriterByColumn, &table, "b");
    a.write(1, Some(["1", "x", "y", "z"])).unwrap();
    b.hear(&a);
    a.write(2, Some(["1", "x2", "y", "z2"])).unwrap();
    b.write(3, Some(["1", "x", "y3", "z3"])).unwrap();
    check_both(&mut a, &mut b, "1 x2 y3 z3");
    assert!(a.row.as_ref().unwrap().origin.is_combined());
    a.write(4, None).unwrap();
    b.write(5, Some(["1", "x5", "y3", "z3"])).unwrap();
    check_both(&mut a, &mut b, "1 x5 y3 z3");
    b.write(6, Some(["1", "x6", "y3", "z3"])).unwrap();
    a.write(7, None).unwrap();
    check_both(&mut a, &mut b, "deleted");
    a.write(8, Some(["1", "x", "y", "z"])).unwrap();
    check_both(&mut a, &mut b, "1 x y z");
}

#[test]
fn the_first_insert_wins_over_a_later_one_whatever_was_written_since() {
    let table = law_table();
    let mut a = Peer::new(&FirstWriter, &table, "a");
    let mut b = Peer::new(&FirstWriter, &table, "b");
    a.write(1, Some(["1", "first", "", ""])).unwrap();
    b.write(2, Some(["1", "second", "", ""])).unwrap();
    b.write(3, Some(["1", "second, later", "", ""])).unwrap();
    check_both(&mut a, &mut b, "1 first  ");
    a.write(4, None).unwrap();
    b.write(5, Some(["1", "of one row the later", "", ""])).unwrap();
    check_both(&mut a, &mut b, "1 of one row the later  ");
}

#[test]
fn the_node_that_comes_first_wins_and_hands_its_rank_on() {
    let table = law_table();
    let policy = NodePriority(vec![node("hq"), node("shop")]);
    let mut hq = Peer::new(&policy, &table, "hq");
    let mut shop = Peer::new(&policy, &table, "shop");
    let mut other = Peer::new(&policy, &table, "other");
    hq.write(1, Some(["1", "hq", "", ""])).unwrap();
    shop.write(9, Some(["1", "shop", "", ""])).unwrap();
    check_both(&mut hq, &mut shop, "1 hq  ");
    other.hear(&shop);
    other.write(10, Some(["1", "other, after hq", "", ""])).unwrap();
    shop.write(11, Some(["1", "shop, after hq", "", ""])).unwrap();
    check_both(&mut shop, &mut other, "1 shop, after hq  ");
}

#[test]
fn counters_add_up_through_deletes_and_a_database_that_was_set_back() {
    let table = table(Policy::CounterDelta(counters()));
    let policy = CounterDelta(counters());
    let mut a = Peer::new(&policy, &table, "a");
    let mut b = Peer::new(&policy, &table, "b");
    a.write(1, Some(["1", "10", "x", "0"])).unwrap();
    b.hear(&a);
    a.write(2, Some(["1", "13", "x", "0"])).unwrap();
    b.write(3, Some(["1", "5", "y", "1"])).unwrap();
    check_both(&mut a, &mut b, "1 8 y 1");
    check_both(&mut a, &mut b, "1 8 y 1");

    a.write(4, None).unwrap();
    b.write(5, Some(["1", "9", "y", "1"])).unwrap();
    check_both(&mut a, &mut b, "1 9 y 1");
    a.write(6, None).unwrap();
    a.write(7, Some(["1", "100", "new", "0"])).unwrap();
    check_both(&mut a, &mut b, "1 100 new 0");

    let copy = a.row.clone();
    a.write(8, Some(["1", "150", "new", "0"])).unwrap();
    b.hear(&a);
    (a.row, a.life) = (copy, Incarnation(2));
    a.write(9, Some(["1", "101", "new", "0"])).unwrap();
    check_both(&mut a, &mut b, "1 151 new 0");
}

#[test]
fn a_counter_takes_whole_numbers_only() {
    let table = table(Policy::CounterDelta(counters()));
    let policy = CounterDelta(counters());
    let mut a = Peer::new(&policy, &table, "a");
    for wrong in ["", "1.5", "NaN", "+1", "01", "1000000000000000000000000000000"] {
        let refused = a.write(1, Some(["1", wrong, "x", "0"])).unwrap_err().to_string();
        assert!(refused.contains("`amount`") && refused.contains("laws(1)"), "{refused}");
    }
    assert_eq!(a.row, None);
    a.write(1, Some(["1", "-999999999999999999999999999999", "x", "0"])).unwrap();
}

#[test]
fn a_state_that_a_policy_would_not_write_is_not_accepted() {
    let check = |resolver: &dyn Resolver, table: &Table, wrong: &[&str]| {
        let mut a = Peer::new(resolver, table, "a");
        a.write(5, Some(["1", "1", "2", "3"])).unwrap();
        a.write(6, Some(["1", "1", "2", "4"])).unwrap();
        let row = a.row.unwrap();
        assert!(resolver.accepts(table, &row));
        for state in wrong {
            let row = RowVersion { extra: Extra::State((*state).into()), ..row.clone() };
            assert!(!resolver.accepts(table, &row), "{state}");
            // It must not make a merge panic either.
            let _ = merged(resolver, table, &row, &RowVersion { extra: Extra::None, ..row.clone() });
        }
    };
    let table_c = table(Policy::CounterDelta(counters()));
    check(&LastWriterByRow, &law_table(), &[""]);
    check(&FirstWriter, &law_table(), &["", "7.0@a", "05.0@a", "5.0@", "5.0"]);
    check(&NodePriority(ranks()), &law_table(), &["", "a", "nobody"]);
    check(
        &LastWriterByColumn,
        &law_table(),
        &[
            "",
            "[]",
            r#"["5.0@a"]"#,
            r#"["5.0@a","5.0@a","5.0@a","9.0@a"]"#,
            r#"[ "5.0@a","5.0@a","5.0@a","5.0@a"]"#,
        ],
    );
    let entry = |life: &str, sums: &str| {
        format!(r#"[{{"node":"a","life":"{life}","us":5,"counter":0,"sums":{sums}}}]"#)
    };
    let wrong = [
        entry("1", r#"["1","4"]"#),
        entry("0000000000000001", r#"["1"]"#),
        entry("0000000000000001", r#"["1","5"]"#),
        entry("0000000000000001", r#"["1","4","0"]"#),
        entry("0000000000000001", r#"["1","170141183460469231731687303715884105728"]"#),
    ];
    check(&CounterDelta(counters()), &table_c, &wrong.each_ref().map(String::as_str));
}

#[test]
fn a_tombstone_that_remembers_nothing_merges_with_anything() {
    let counting = table(Policy::CounterDelta(counters()));
    let plain = law_table();
    let policies: [(&dyn Resolver, &Table); 5] = [
        (&LastWriterByRow, &plain),
        (&LastWriterByColumn, &plain),
        (&FirstWriter, &plain),
        (&NodePriority(ranks()), &plain),
        (&CounterDelta(counters()), &counting),
    ];
    for (resolver, table) in policies {
        let mut a = Peer::new(resolver, table, "a");
        let mut b = Peer::new(resolver, table, "b");
        a.write(1, Some(["1", "1", "2", "3"])).unwrap();
        b.write(2, None).unwrap();
        assert_eq!(b.row.as_ref().unwrap().image, Image::Tombstone(None));
        a.hear(&b);
        let mut other = Peer::new(resolver, table, "a");
        other.write(1, Some(["1", "1", "2", "3"])).unwrap();
        b.hear(&other);
        assert!(a.row.as_ref().unwrap().is_same_as(b.row.as_ref().unwrap()));
    }
}

#[test]
fn resolvers_are_refused_at_start_when_they_are_missing_or_break_a_law() {
    let schema = Schema::new([table(Policy::Custom("mine".to_owned()))]).unwrap();
    let missing = Resolvers::new(&schema, &BTreeMap::new()).unwrap_err().to_string();
    assert!(missing.contains("no resolver `mine`"), "{missing}");
    let wrong = |_: &Table, _: &RowVersion, _: &RowVersion| Resolution::One;
    let own: BTreeMap<String, Arc<dyn Resolver>> =
        BTreeMap::from([("mine".to_owned(), Arc::new(wrong) as _)]);
    let broken = Resolvers::new(&schema, &own).unwrap_err().to_string();
    assert!(broken.contains("`laws`") && broken.contains("law broken"), "{broken}");
    let own: BTreeMap<String, Arc<dyn Resolver>> =
        BTreeMap::from([("mine".to_owned(), Arc::new(LastWriterByRow) as _)]);
    let resolvers = Resolvers::new(&schema, &own).unwrap();
    assert!(resolvers.of(&law_table().name).is_some());
}

#[test]
fn winners_have_reasons() {
    let table = law_table();
    let row = |name: &str, us: u64, value: &str| {
        let mut peer = Peer::new(&FirstWriter, &table, name);
        peer.write(us, Some(["1", value, "", ""])).unwrap();
        peer.row.unwrap()
    };
    let reason = |resolver: &dyn Resolver, winner: &RowVersion, loser: &RowVersion| {
        resolver.reason(&table, winner, loser)
    };
    assert_eq!(reason(&LastWriterByRow, &row("a", 2, ""), &row("b", 1, "")), Reason::Stamp);
    assert_eq!(reason(&LastWriterByRow, &row("b", 1, ""), &row("a", 1, "")), Reason::Node);
    assert_eq!(reason(&LastWriterByRow, &row("a", 1, "x"), &row("a", 1, "y")), Reason::Hash);
    assert_eq!(reason(&FirstWriter, &row("b", 1, ""), &row("a", 2, "")), Reason::Created);
    assert_eq!(reason(&NodePriority(ranks()), &row("n10", 1, ""), &row("a", 2, "")), Reason::Priority);
}
