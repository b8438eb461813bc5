//! The laws that every resolver has to obey, and what finds out whether it does.
//!
//! A [`History`] is a few writes of one row by a few nodes, each with what its writer had seen. [`check`] makes the
//! versions of them and holds the resolver to the laws over all pairs, triples and orders of these. A history that
//! breaks one is shrunk to a [`Counterexample`]: at most three writes for any resolver that decides by its two
//! arguments. [`Counterexample::to_scenario`] makes a scenario of it, for the simulator.
//!
//! [`probe`] tries some made-up histories at start. For the tests of a team's own resolver the feature `laws`
//! adds generators and suites for proptest; a whole test file is:
//!
//! ```ignore
//! sync_core::peer_sync::laws::suite!(mine, MyResolver);
//! ```

mod counterexample;
mod history;
mod probe;
mod scenario;
#[cfg(any(test, feature = "laws"))]
mod suite;

use std::fmt;

use super::resolver::{Resolver, merged};
use super::row::RowVersion;
use super::schema::Table;

pub use counterexample::Counterexample;
pub use history::{Change, History, LawWrite};
pub use probe::{drawn_history, probe};
pub use scenario::NoScenario;
#[cfg(any(test, feature = "laws"))]
pub use suite::{Suite, any_history, any_stamp, any_value, hold, law_table};

#[cfg(any(test, feature = "laws"))]
#[doc(inline)]
pub use crate::resolver_law_suite as suite;

/// What a resolver has to obey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// The same arguments give the same result.
    Repeatable,
    /// The result has the table's columns and the row's key, and the resolver accepts it, as it does every local write.
    Acceptable,
    /// A write beats what its writer had seen (P5, P10).
    WriteBeatsSeen,
    /// A version with itself is itself, and one that is already part of a result changes nothing (P3, P14).
    Idempotent,
    /// It does not matter which side is the local one (P3, P4).
    Commutative,
    /// It does not matter which two meet first (P3).
    Associative,
    /// What beats a version beats all that this one beats (P4).
    Transitive,
    /// All orders of arrival end alike (P1, P8).
    AnyOrder,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeatable => "the same arguments give the same result",
            Self::Acceptable => "a result fits the table and is accepted",
            Self::WriteBeatsSeen => "a write beats what its writer had seen (P5, P10)",
            Self::Idempotent => "a version that arrives again changes nothing (P3)",
            Self::Commutative => "it does not matter which side is local (P3, P4)",
            Self::Associative => "it does not matter which two meet first (P3)",
            Self::Transitive => "what beats a version beats all that this one beats (P4)",
            Self::AnyOrder => "all orders of arrival end alike (P1, P8)",
        })
    }
}

/// Which law a history breaks, and how it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The law.
    pub law: Law,
    /// Two ways, as text, each with what it came to.
    pub ways: Vec<(String, String)>,
}

/// Holds a resolver to all laws over one history.
///
/// # Errors
/// The first law that it breaks.
pub fn check(resolver: &dyn Resolver, table: &Table, history: &History) -> Result<(), Violation> {
    let made = history.versions(resolver, table)?;
    let court = Court { resolver, table, made: &made };
    court.pairs()?;
    court.triples()?;
    court.orders()
}

/// A version that a write of a history made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// The place of the write in its history, from 1, as counterexamples count.
    number: usize,
    row: RowVersion,
}

struct Court<'a> {
    resolver: &'a dyn Resolver,
    table: &'a Table,
    made: &'a [Made],
}

impl Court<'_> {
    fn merge(&self, one: &RowVersion, other: &RowVersion) -> RowVersion {
        merged(self.resolver, self.table, one, other)
    }

    /// One row of which all nodes' versions are equal, or the law is broken.
    fn equal(
        &self,
        law: Law,
        one: (String, &RowVersion),
        other: (String, &RowVersion),
    ) -> Result<(), Violation> {
        if one.1.is_same_as(other.1) {
            return Ok(());
        }
        Err(Violation { law, ways: vec![(one.0, shown(one.1)), (other.0, shown(other.1))] })
    }

    fn pairs(&self) -> Result<(), Violation> {
        for Made { number: x, row: a } in self.made {
            let twice = self.merge(a, a);
            self.equal(Law::Idempotent, (format!("{x}"), a), (format!("{x} with {x}"), &twice))?;
            for Made { number: y, row: b } in self.made.iter().filter(|made| made.number != *x) {
                let both = self.merge(a, b);
                let name = format!("{x} with {y}");
                self.equal(
                    Law::Repeatable,
                    (name.clone(), &both),
                    (format!("{name}, once more"), &self.merge(a, b)),
                )?;
                if !fits(self.resolver, self.table, &both) {
                    return Err(Violation { law: Law::Acceptable, ways: vec![(name, shown(&both))] });
                }
                self.equal(
                    Law::Commutative,
                    (name.clone(), &both),
                    (format!("{y} with {x}"), &self.merge(b, a)),
                )?;
                for (number, part) in [(x, a), (y, b)] {
                    let again = format!("({name}) with {number}");
                    self.equal(Law::Idempotent, (name.clone(), &both), (again, &self.merge(&both, part)))?;
                }
            }
        }
        Ok(())
    }

    fn triples(&self) -> Result<(), Violation> {
        let row_of = |a: &Made| self.made.iter().map(|b| self.merge(&a.row, &b.row)).collect();
        let pairs: Vec<Vec<RowVersion>> = self.made.iter().map(row_of).collect();
        for (i, Made { number: x, row: a }) in self.made.iter().enumerate() {
            for (j, Made { number: y, row: b }) in self.made.iter().enumerate() {
                for (k, Made { number: z, row: c }) in self.made.iter().enumerate() {
                    let (ab, bc, ac) = (&pairs[i][j], &pairs[j][k], &pairs[i][k]);
                    if ab.is_same_as(a) && bc.is_same_as(b) {
                        let beats = format!("{x}, which beats {y}, which beats {z}");
                        self.equal(Law::Transitive, (beats, a), (format!("{x} with {z}"), ac))?;
                    }
                    let left = (format!("({x} with {y}) with {z}"), &self.merge(ab, c));
                    let right = (format!("{x} with ({y} with {z})"), &self.merge(a, bc));
                    self.equal(Law::Associative, left, right)?;
                }
            }
        }
        Ok(())
    }

    /// Every order in which the versions can arrive.
    fn orders(&self) -> Result<(), Violation> {
        let mut order: Vec<&Made> = self.made.iter().collect();
        let Some((name, expected)) = self.arrive(&order) else { return Ok(()) };
        // Heap's algorithm; histories are short.
        let mut counts = vec![0; order.len()];
        let mut place = 1;
        while place < order.len() {
            if counts[place] < place {
                let with = if place % 2 == 0 { 0 } else { counts[place] };
                order.swap(with, place);
                if let Some((other, found)) = self.arrive(&order) {
                    self.equal(Law::AnyOrder, (name.clone(), &expected), (other, &found))?;
                }
                counts[place] += 1;
                place = 1;
            } else {
                counts[place] = 0;
                place += 1;
            }
        }
        Ok(())
    }

    fn arrive(&self, order: &[&Made]) -> Option<(String, RowVersion)> {
        let (first, rest) = order.split_first()?;
        let mut row = first.row.clone();
        for made in rest {
            row = self.merge(&row, &made.row);
        }
        let numbers: Vec<String> = order.iter().map(|made| made.number.to_string()).collect();
        Some((format!("in the order {}", numbers.join(", ")), row))
    }
}

/// Whether a version can be a row of the table, and its resolver would take it from a peer.
fn fits(resolver: &dyn Resolver, table: &Table, row: &RowVersion) -> bool {
    let columns = row.image.content().is_none_or(|content| {
        content.columns().count() == table.columns.len()
            && table.pick(&table.key, content).as_ref() == Some(&row.row.key)
    });
    columns && row.is_sound() && resolver.accepts(table, row)
}

/// A version as people read it.
fn shown(row: &RowVersion) -> String {
    use super::row::{Extra, Image};
    let state = match &row.extra {
        Extra::None => String::new(),
        Extra::State(state) => format!(", beside it {state}"),
    };
    match &row.image {
        Image::Row(content) => format!("{content:?}, version {}{state}", row.version),
        Image::Tombstone(None) => format!("deleted, version {}{state}", row.version),
        Image::Tombstone(Some(last)) => format!("deleted {last:?}, version {}{state}", row.version),
    }
}

#[cfg(test)]
mod tests;
