//! Suites for proptest: the laws over generated histories, one line for a team's own resolver.

#![allow(clippy::panic, reason = "a test kit reports by panicking")]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use super::probe::{MOMENTS_US, NODES, NUMBERS, TEXTS, counts, node};
use super::{Change, Counterexample, History, LawWrite, check};
use crate::peer_sync::resolver::Resolver;
use crate::peer_sync::schema::Table;
use crate::peer_sync::version::Stamp;

/// Which histories a suite is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Writes of all kinds (P3): commutative, associative, any order.
    Merge,
    /// Many equal stamps, far-future stamps and odd values (P4): one strict total order.
    Order,
    /// Deletes and inserts in turn (P8).
    DeleteInsert,
    /// Few different writes, so that the same arrive again (P3, P14): idempotent.
    Idempotence,
}

/// A table to test with, for a resolver that does not mind which: a key, a number and two texts.
pub fn law_table() -> Table {
    let columns = ["id", "amount", "name", "note"];
    #[allow(clippy::expect_used, reason = "the names are in this line")]
    Table::new("laws", &columns, &["id"]).expect("names of columns are sound")
}

/// A stamp: small ones that are often equal, today's, far-future ones.
pub fn any_stamp() -> impl Strategy<Value = Stamp> {
    let us = prop_oneof![6 => 1u64..=3, 2 => proptest::sample::select(&MOMENTS_US[..]), 1 => 0u64..=i64::MAX as u64];
    let counter = prop_oneof![8 => 0u32..2, 1 => Just(u32::MAX), 1 => any::<u32>()];
    (us, counter).prop_map(|(us, counter)| Stamp { us, counter })
}

/// The text of a value, or a null: numbers, floats, odd texts. `whole` asks for whole numbers only.
pub fn any_value(whole: bool) -> impl Strategy<Value = Option<String>> {
    let text = |text: &str| Some(text.to_owned());
    let whole_number = prop_oneof![
        3 => proptest::sample::select(&NUMBERS[..]).prop_map(text),
        1 => any::<i64>().prop_map(|number| Some(number.to_string())),
    ];
    if whole {
        return whole_number.boxed();
    }
    prop_oneof![
        4 => whole_number,
        4 => proptest::sample::select(&TEXTS[..]).prop_map(text),
        1 => any::<f64>().prop_map(|number| Some(number.to_string())),
        1 => ".{0,8}".prop_map(Some),
        1 => Just(None),
    ]
    .boxed()
}

/// A history of up to so many writes of one row of a table.
pub fn any_history(table: &Table, suite: Suite, writes_max: usize) -> impl Strategy<Value = History> + use<> {
    let values: Vec<_> =
        table.columns.iter().map(|column| any_value(counts(table, column)).boxed()).collect();
    let (few_values, equal_stamps) = match suite {
        Suite::Idempotence | Suite::DeleteInsert => (true, false),
        Suite::Order => (false, true),
        Suite::Merge => (false, false),
    };
    let deletes = if suite == Suite::DeleteInsert { 4 } else { 2 };
    let set = if few_values {
        let columns = values.len();
        proptest::sample::select(&NUMBERS[..2])
            .prop_map(move |text| Change::Set(vec![Some(text.to_owned()); columns]))
            .boxed()
    } else {
        values.prop_map(Change::Set).boxed()
    };
    let change = prop_oneof![4 => set, deletes => Just(Change::Delete)];
    let stamp = if equal_stamps {
        prop_oneof![3 => Just(Stamp { us: 1, counter: 0 }), 1 => any_stamp()].boxed()
    } else {
        any_stamp().boxed()
    };
    let write = (0..NODES.len() as u64, stamp, change, any::<u8>(), proptest::bool::weighted(0.1));
    proptest::collection::vec(write, 1..=writes_max).prop_map(|writes| {
        let write = |(place, (who, at, change, saw, set_back))| LawWrite {
            node: node(who),
            at,
            change,
            saw: (0..place).filter(|earlier| saw & 1u8.rotate_left(*earlier as u32) != 0).collect(),
            set_back,
        };
        History { writes: writes.into_iter().enumerate().map(write).collect() }
    })
}

/// Runs one suite, and panics with the smallest history that breaks a law. `PROPTEST_CASES` and
/// `PROPTEST_RNG_SEED` have their usual meaning.
pub fn hold(resolver: &dyn Resolver, table: &Table, suite: Suite) {
    let config = Config { failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&any_history(table, suite, 4), |history| {
        check(resolver, table, &history).map_err(|violation| TestCaseError::fail(violation.law.to_string()))
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(_, history)) => match check(resolver, table, &history) {
            Err(violation) => {
                panic!("{}", told(&Counterexample::shrunk(resolver, table, history, violation)))
            }
            Ok(()) => panic!(
                "a history broke a law once and not again: the resolver depends on more than its arguments"
            ),
        },
        Err(TestError::Abort(reason)) => panic!("no histories to test with: {reason}"),
    }
}

/// A counterexample as text, and as a scenario where one can say it.
fn told(counterexample: &Counterexample) -> String {
    match counterexample.to_scenario("mine") {
        Ok(scenario) => format!(
            "{counterexample}as a scenario, for a `p2psim` that knows the resolver as `mine` (docs/resolver.md):\n\n{scenario}"
        ),
        Err(cannot) => format!("{counterexample}no scenario says this: {cannot}"),
    }
}

/// Makes a module of tests that hold a resolver to the laws: `suite!(name, resolver)`, or `suite!(name, resolver, table)`
/// for one that needs a table of its own. The resolver is any expression that is a
/// [`Resolver`](crate::peer_sync::resolver::Resolver), a merge function
/// `fn(&Table, &RowVersion, &RowVersion) -> Resolution` among them.
#[macro_export]
macro_rules! resolver_law_suite {
    ($name:ident, $resolver:expr) => {
        $crate::resolver_law_suite!($name, $resolver, $crate::peer_sync::laws::law_table());
    };
    ($name:ident, $resolver:expr, $table:expr) => {
        #[cfg(test)]
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[test]
            fn p3_merges_are_commutative_and_associative() {
                $crate::peer_sync::laws::hold(&$resolver, &$table, $crate::peer_sync::laws::Suite::Merge);
            }

            #[test]
            fn p4_the_winner_relation_is_one_strict_total_order() {
                $crate::peer_sync::laws::hold(&$resolver, &$table, $crate::peer_sync::laws::Suite::Order);
            }

            #[test]
            fn p8_deletes_and_inserts_converge_in_any_order() {
                $crate::peer_sync::laws::hold(
                    &$resolver,
                    &$table,
                    $crate::peer_sync::laws::Suite::DeleteInsert,
                );
            }

            #[test]
            fn merges_are_idempotent() {
                $crate::peer_sync::laws::hold(
                    &$resolver,
                    &$table,
                    $crate::peer_sync::laws::Suite::Idempotence,
                );
            }
        }
    };
}
