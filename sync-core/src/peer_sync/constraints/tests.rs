//! How rows stand, case by case.

use super::*;
use crate::id::Incarnation;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Extra, Origin, RowVersion, TableName};
use crate::peer_sync::schema::{Reference, Schema, Table};
use crate::peer_sync::version::{NodeId, Stamp};

/// `parents(id, boss, mail, nick)`: refers to itself by `boss`, natural keys `mail` and `nick`. `revive`, `restrict` and
/// `cascade`: children of it, each after its rule. `grand`: a child of `revive`.
pub(super) fn schema() -> Schema {
    let table = |name: &str, columns: &[&str], references: &[(&str, &str, OnDeleted)], unique: &[&str]| {
        let mut table = Table::new(name, columns, &["id"]).unwrap();
        table.references = references
            .iter()
            .map(|(column, parent, on_deleted)| Reference {
                columns: vec![(*column).to_owned()],
                table: TableName((*parent).into()),
                on_deleted: *on_deleted,
            })
            .collect();
        table.unique = unique.iter().map(|column| vec![(*column).to_owned()]).collect();
        table
    };
    let child = |name, on_deleted| table(name, &["id", "parent"], &[("parent", "parents", on_deleted)], &[]);
    Schema::new([
        table(
            "parents",
            &["id", "boss", "mail", "nick"],
            &[("boss", "parents", OnDeleted::Revive)],
            &["mail", "nick"],
        ),
        child("revive", OnDeleted::Revive),
        child("restrict", OnDeleted::Restrict),
        child("cascade", OnDeleted::Cascade),
        table("grand", &["id", "parent"], &[("parent", "revive", OnDeleted::Revive)], &[]),
        table("plain", &["id", "text"], &[], &[]),
    ])
    .unwrap()
}

/// A row with this stamp. Columns are divided by blanks, `-` is a null; the first one is the key.
pub(super) fn row(us: u64, table: &str, columns: &str) -> RowVersion {
    let content = Content::new(columns.split(' ').map(|column| (column != "-").then_some(column)));
    version(us, table, columns, Image::Row(content))
}

/// The same, deleted.
pub(super) fn dead(us: u64, table: &str, columns: &str) -> RowVersion {
    let content = Content::new(columns.split(' ').map(|column| (column != "-").then_some(column)));
    version(us, table, columns, Image::Tombstone(Some(content)))
}

fn version(us: u64, table: &str, columns: &str, image: Image) -> RowVersion {
    let key = Content::new([columns.split(' ').next()]);
    RowVersion {
        row: RowId { table: TableName(table.into()), key },
        version: Version {
            stamp: Stamp { us, counter: 0 },
            node: NodeId::new("n").unwrap(),
            hash: image.hash(),
        },
        image,
        origin: Origin { incarnation: Incarnation(1), xid: us },
        extra: Extra::None,
    }
}

/// How each row stands, as `row: standing` in the order of the rows' names.
fn check(rows: &[RowVersion], expected: &[&str]) {
    let found: Vec<String> =
        standings(&schema(), rows).iter().map(|(row, standing)| shown(row, standing)).collect();
    assert_eq!(found, expected);
    let backwards: Vec<String> =
        standings(&schema(), rows.iter().rev()).iter().map(|(row, standing)| shown(row, standing)).collect();
    assert_eq!(found, backwards);
}

fn shown(row: &RowId, standing: &Standing) -> String {
    match standing {
        Standing::Visible => format!("{row} visible"),
        Standing::Revived => format!("{row} revived"),
        Standing::Deleted => format!("{row} deleted"),
        Standing::Cascaded { parent } => format!("{row} cascaded by {parent}"),
        Standing::Orphaned { parent } => format!("{row} orphan of {parent}"),
        Standing::NaturalKey { winner } => format!("{row} beaten by {winner}"),
    }
}

#[test]
fn a_deleted_parent_lives_again_as_long_as_a_child_needs_it() {
    let parent = dead(5, "parents", "1 - m n");
    check(&[parent.clone(), row(1, "revive", "7 1")], &["parents(1) revived", "revive(7) visible"]);
    check(&[parent.clone(), dead(6, "revive", "7 1")], &["parents(1) deleted", "revive(7) deleted"]);
    check(
        &[parent, dead(6, "revive", "7 1"), row(1, "grand", "9 7")],
        &["grand(9) visible", "parents(1) revived", "revive(7) revived"],
    );
}

#[test]
fn a_child_goes_with_its_parent_where_that_is_declared() {
    check(
        &[dead(5, "parents", "1 - m n"), row(9, "cascade", "7 1")],
        &["cascade(7) cascaded by parents(1)", "parents(1) deleted"],
    );
    // Another child may have the parent back, and then this one stays, too.
    check(
        &[dead(5, "parents", "1 - m n"), row(9, "cascade", "7 1"), row(1, "revive", "7 1")],
        &["cascade(7) visible", "parents(1) revived", "revive(7) visible"],
    );
}

#[test]
fn an_older_child_restricts_the_deletion_and_a_younger_one_is_set_aside() {
    let parent = dead(5, "parents", "1 - m n");
    check(&[parent.clone(), row(4, "restrict", "7 1")], &["parents(1) revived", "restrict(7) visible"]);
    check(&[parent, row(6, "restrict", "7 1")], &["parents(1) deleted", "restrict(7) orphan of parents(1)"]);
}

#[test]
fn what_cannot_be_brought_back_leaves_orphans() {
    check(&[row(1, "revive", "7 1")], &["revive(7) orphan of parents(1)"]);
    let mut parent = dead(5, "parents", "1 - m n");
    parent.image = Image::Tombstone(None);
    check(&[parent, row(1, "revive", "7 1")], &["parents(1) deleted", "revive(7) orphan of parents(1)"]);
    check(&[row(1, "revive", "7 -")], &["revive(7) visible"]);
}

#[test]
fn of_rows_with_one_natural_key_the_greatest_is_visible_and_its_children_with_it() {
    check(
        &[
            row(1, "parents", "1 - m n"),
            row(2, "parents", "2 - m x"),
            row(3, "revive", "7 1"),
            row(3, "revive", "8 2"),
        ],
        &[
            "parents(1) beaten by parents(2)",
            "parents(2) visible",
            "revive(7) orphan of parents(1)",
            "revive(8) visible",
        ],
    );
    check(
        &[row(1, "parents", "1 - - n"), row(2, "parents", "2 - - x")],
        &["parents(1) visible", "parents(2) visible"],
    );
    // Equal versions: the name decides.
    let twin = RowVersion { version: row(1, "parents", "1 - m n").version, ..row(1, "parents", "2 - m n") };
    check(&[row(1, "parents", "1 - m n"), twin], &["parents(1) beaten by parents(2)", "parents(2) visible"]);
}

#[test]
fn who_loses_one_natural_key_does_not_hold_the_other() {
    // 3 beats 2 by mail, so 2 does not stand in the way of 1, whose nick it has.
    check(
        &[row(1, "parents", "1 - a y"), row(2, "parents", "2 - m y"), row(3, "parents", "3 - m z")],
        &["parents(1) visible", "parents(2) beaten by parents(3)", "parents(3) visible"],
    );
}

#[test]
fn a_row_that_was_demanded_back_can_lose_its_natural_key() {
    check(
        &[dead(5, "parents", "1 - m n"), row(6, "parents", "2 - m x"), row(1, "revive", "7 1")],
        &["parents(1) beaten by parents(2)", "parents(2) visible", "revive(7) orphan of parents(1)"],
    );
}

#[test]
fn a_table_that_refers_to_itself() {
    check(
        &[dead(5, "parents", "1 - - -"), dead(6, "parents", "2 1 - -"), row(1, "parents", "3 2 - -")],
        &["parents(1) revived", "parents(2) revived", "parents(3) visible"],
    );
    check(
        &[dead(5, "parents", "1 2 - -"), dead(6, "parents", "2 1 - -")],
        &["parents(1) deleted", "parents(2) deleted"],
    );
    check(
        &[row(5, "parents", "1 2 - -"), row(6, "parents", "2 1 - -")],
        &["parents(1) visible", "parents(2) visible"],
    );
    check(&[row(5, "parents", "1 1 - -")], &["parents(1) visible"]);
    check(
        &[row(5, "parents", "1 9 - -"), row(6, "parents", "2 1 - -")],
        &["parents(1) orphan of parents(9)", "parents(2) orphan of parents(1)"],
    );
    // Natural keys first: the winner hangs on a row that is not there, and the loser stays beaten.
    check(
        &[row(5, "parents", "1 - m -"), row(6, "parents", "2 9 m -")],
        &["parents(1) beaten by parents(2)", "parents(2) orphan of parents(9)"],
    );
}
