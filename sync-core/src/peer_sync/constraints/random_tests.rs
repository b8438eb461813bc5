//! Random rows of a few tables: any order of arrival ends alike, and what is kept up to date equals the function.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{dead, row, schema};
use super::*;
use crate::peer_sync::row::RowVersion;
use crate::peer_sync::store::AsideChange;

/// A change of one row.
#[derive(Clone, Debug)]
enum Step {
    Put(RowVersion),
    Remove(RowId),
}

impl Step {
    fn row(&self) -> &RowId {
        match self {
            Self::Put(version) => &version.row,
            Self::Remove(row) => row,
        }
    }

    fn change(&self) -> Change<'_> {
        match self {
            Self::Put(version) => Change::Put(version),
            Self::Remove(row) => Change::Remove(row),
        }
    }
}

fn any_version() -> impl Strategy<Value = RowVersion> {
    let id = 1u8..=5;
    let parent = prop_oneof![1 => Just("-".to_owned()), 6 => (1u8..=5).prop_map(|id| id.to_string())];
    let key = prop_oneof![2 => Just("-"), 1 => Just("a"), 1 => Just("b"), 1 => Just("c")];
    let table = prop_oneof![
        5 => Just("parents"), 2 => Just("revive"), 1 => Just("restrict"), 1 => Just("cascade"), 2 => Just("grand"),
        1 => Just("plain"),
    ];
    (1u64..40, table, id, parent, key.clone(), key, 0u8..8).prop_map(
        |(us, table, id, parent, mail, nick, kind)| {
            let columns = match table {
                "parents" => format!("{id} {parent} {mail} {nick}"),
                _ => format!("{id} {parent}"),
            };
            match kind {
                0..=4 => row(us, table, &columns),
                5 | 6 => dead(us, table, &columns),
                _ => RowVersion { image: Image::Tombstone(None), ..dead(us, table, &columns) },
            }
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => any_version().prop_map(Step::Put),
        1 => any_version().prop_map(|version| Step::Remove(version.row)),
    ]
}

/// What is stored after these steps.
fn stored(steps: &[Step]) -> BTreeMap<RowId, RowVersion> {
    let mut rows = BTreeMap::new();
    for step in steps {
        match step {
            Step::Put(version) => drop(rows.insert(version.row.clone(), version.clone())),
            Step::Remove(row) => drop(rows.remove(row)),
        }
    }
    rows
}

fn plain(version: &RowVersion) -> Standing {
    if version.image.is_tombstone() { Standing::Deleted } else { Standing::Visible }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(512), failure_persistence: None, ..ProptestConfig::default() })]

    /// After each batch every row stands as the function says, and whoever heeds the changes that were told, and
    /// takes all else for what it was written as, knows it.
    #[test]
    fn kept_up_to_date_it_equals_the_function(
        batches in proptest::collection::vec(proptest::collection::vec(any_step(), 1..4), 1..16),
    ) {
        let mut constraints = Constraints::new(&schema());
        let mut steps: Vec<Step> = Vec::new();
        let mut known: BTreeMap<RowId, Standing> = BTreeMap::new();
        for batch in batches {
            let told = constraints.apply(batch.iter().map(Step::change));
            steps.extend(batch.iter().cloned());
            let rows = stored(&steps);
            let expected = standings(&schema(), rows.values());
            let found: BTreeMap<RowId, Standing> =
                rows.iter().map(|(id, version)| (id.clone(), constraints.standing(version))).collect();
            prop_assert_eq!(&found, &expected);

            prop_assert!(told.is_sorted_by(|a, b| a.row < b.row));
            for step in &batch {
                // A write says of its own row whether it lives; that it is set aside stays as it was.
                let aside = known.get(step.row()).is_some_and(|s| !matches!(s, Standing::Visible | Standing::Deleted));
                match rows.get(step.row()) {
                    Some(version) if !aside => drop(known.insert(step.row().clone(), plain(version))),
                    Some(_) => {}
                    None => drop(known.remove(step.row())),
                }
            }
            for AsideChange { row, standing } in told {
                prop_assert!(rows.contains_key(&row));
                known.insert(row, standing);
            }
            prop_assert_eq!(&known, &expected);
        }
    }

    /// P1: the same rows, in any order and in any batches.
    #[test]
    fn any_order_of_arrival_ends_alike(
        (rows, shuffled) in proptest::collection::vec(any_version(), 1..14).prop_flat_map(|versions| {
            let rows: Vec<RowVersion> =
                stored(&versions.into_iter().map(Step::Put).collect::<Vec<_>>()).into_values().collect();
            (Just(rows.clone()), Just(rows).prop_shuffle())
        }),
        batch in 1usize..4,
    ) {
        let mut one = Constraints::new(&schema());
        let mut other = Constraints::new(&schema());
        one.apply(rows.iter().map(Change::Put));
        for batch in shuffled.chunks(batch) {
            other.apply(batch.iter().map(Change::Put));
        }
        let expected = standings(&schema(), &rows);
        prop_assert_eq!(&expected, &standings(&schema(), &shuffled));
        for version in &rows {
            prop_assert_eq!(Some(&one.standing(version)), expected.get(&version.row));
            prop_assert_eq!(Some(&other.standing(version)), expected.get(&version.row));
        }
        // What comes once more, or is taken away and comes back, leaves no trace.
        other.apply(rows.iter().map(Change::Put));
        other.apply(rows.iter().map(|version| Change::Remove(&version.row)));
        prop_assert!(other.is_empty());
        other.apply(rows.iter().map(Change::Put));
        for version in &rows {
            prop_assert_eq!(Some(&other.standing(version)), expected.get(&version.row));
        }
    }

    /// What a reader may rely on: keys are unique among visible rows, and references lead to visible rows.
    #[test]
    fn visible_rows_hold_together(versions in proptest::collection::vec(any_version(), 1..20)) {
        let rows = stored(&versions.into_iter().map(Step::Put).collect::<Vec<_>>());
        let standings = standings(&schema(), rows.values());
        let visible = |id: &RowId| matches!(standings.get(id), Some(Standing::Visible | Standing::Revived));
        let mut keys = std::collections::BTreeSet::new();
        for (id, version) in rows.iter().filter(|(id, _)| visible(id)) {
            let rules = rules::Rules::new(&schema());
            let Some(table) = rules.table(&id.table) else { continue };
            let ties = table.of(version);
            for parent in ties.parents.iter().flatten() {
                prop_assert!(visible(parent), "{id} refers to {parent}");
            }
            for (nth, key) in ties.unique.iter().enumerate() {
                if let Some(key) = key {
                    prop_assert!(keys.insert((id.table.clone(), nth, key.clone())), "{id} shares {key:?}");
                }
            }
        }
    }
}

#[test]
fn of_many_children_only_those_are_told_for_whom_something_changes() {
    let mut constraints = Constraints::new(&schema());
    constraints.apply([Change::Put(&row(1, "parents", "1 - m n"))]);
    let children: Vec<RowVersion> = (0..2_000).map(|id| row(2, "revive", &format!("{id} 1"))).collect();
    constraints.apply(children.iter().map(Change::Put));
    for child in &children {
        assert_eq!(constraints.apply([Change::Put(child)]), []);
    }
    let told = constraints.apply([Change::Put(&dead(5, "parents", "1 - m n"))]);
    assert_eq!(told.len(), 1, "the parent lives again; for its children nothing changes");
    let told = constraints.apply([Change::Remove(&dead(5, "parents", "1 - m n").row)]);
    assert_eq!(told.len(), children.len());
}
