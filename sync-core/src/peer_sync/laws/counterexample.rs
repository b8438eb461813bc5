//! The smallest history that still breaks a law, as people read it.

use std::fmt;

use super::{Change, History, Law, Violation, check};
use crate::peer_sync::resolver::Resolver;
use crate::peer_sync::schema::Table;
use crate::peer_sync::version::Stamp;

/// Writes after which a resolver breaks a law, as few and as simple as could be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The table.
    pub table: Table,
    /// The writes.
    pub history: History,
    /// Which law they break, and how that is seen.
    pub violation: Violation,
}

impl Counterexample {
    /// Takes away from a history whatever can go while some law stays broken.
    pub fn shrunk(resolver: &dyn Resolver, table: &Table, history: History, violation: Violation) -> Self {
        let mut least = (history.with_key(table), violation);
        // Each step leaves less: writes, deletes, what was seen, moments, values, in this order. So this ends.
        while let Some(smaller) = smaller(&least.0, table).into_iter().find_map(|history| {
            let violation = check(resolver, table, &history).err()?;
            Some((history, violation))
        }) {
            least = smaller;
        }
        let (history, violation) = least;
        Self { table: table.clone(), history, violation }
    }

    /// The law that is broken.
    pub fn law(&self) -> Law {
        self.violation.law
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "law broken: {}", self.violation.law)?;
        writeln!(f, "writes of one row ({}):", self.table.columns.join(", "))?;
        for (place, write) in self.history.writes.iter().enumerate() {
            write!(f, "  {}. {}", place + 1, write.node)?;
            if write.set_back {
                f.write_str(", set back to an older copy,")?;
            }
            let earlier = &self.history.writes[..place];
            let saw = |(nth, other): (usize, &super::LawWrite)| {
                let own = other.node == write.node;
                (if own { !write.set_back } else { write.saw.contains(&nth) }).then(|| (nth + 1).to_string())
            };
            let saw: Vec<String> = earlier.iter().enumerate().filter_map(saw).collect();
            if !saw.is_empty() {
                write!(f, " sees {} and", saw.join(", "))?;
            }
            match &write.change {
                Change::Set(values) => {
                    f.write_str(" writes")?;
                    for (column, value) in self.table.columns.iter().zip(values) {
                        match value {
                            Some(value) => write!(f, " {column}={value:?}")?,
                            None => write!(f, " {column}=null")?,
                        }
                    }
                }
                Change::Delete => f.write_str(" deletes")?,
            }
            writeln!(f, " at {}", write.at)?;
        }
        for (way, result) in &self.violation.ways {
            writeln!(f, "  {way}: {result}")?;
        }
        Ok(())
    }
}

/// Histories that are smaller by one thing, the greatest steps first.
fn smaller(history: &History, table: &Table) -> Vec<History> {
    let mut found = Vec::new();
    for place in (0..history.writes.len()).rev() {
        let mut less = history.clone();
        less.writes.remove(place);
        for write in &mut less.writes {
            write.saw.retain(|saw| *saw != place);
            write.saw.iter_mut().filter(|saw| **saw > place).for_each(|saw| *saw -= 1);
        }
        found.push(less);
    }
    for (place, write) in history.writes.iter().enumerate() {
        let mut with = |change: &dyn Fn(&mut super::LawWrite)| {
            let mut less = history.clone();
            change(&mut less.writes[place]);
            found.push(less);
        };
        if write.set_back {
            with(&|write| write.set_back = false);
        }
        for nth in 0..write.saw.len() {
            with(&|write| {
                write.saw.remove(nth);
            });
        }
        for at in simpler_stamps(write.at) {
            with(&|write| write.at = at);
        }
        let Change::Set(values) = &write.change else {
            for values in instead_of_deleting(history, table) {
                with(&|write| write.change = Change::Set(values.clone()));
            }
            continue;
        };
        for (nth, value) in values.iter().enumerate() {
            if table.columns.get(nth).is_none_or(|column| table.key.contains(column)) {
                continue;
            }
            for simpler in simpler_values(place, value.as_deref()) {
                let simpler = simpler.map(str::to_owned);
                with(&|write| {
                    if let Change::Set(values) = &mut write.change {
                        values[nth].clone_from(&simpler);
                    }
                });
            }
        }
    }
    found
}

/// What a write could write that does not have to delete: what another one writes, with one difference.
fn instead_of_deleting(history: &History, table: &Table) -> Vec<Vec<Option<String>>> {
    let free = table.columns.iter().rposition(|column| !table.key.contains(column));
    let of = |write: &super::LawWrite| {
        let Change::Set(values) = &write.change else { return None };
        let mut values = values.clone();
        let value = values.get_mut(free?)?;
        let other = if value.as_deref() == Some("1") { "2" } else { "1" };
        *value = Some(other.to_owned());
        Some(values)
    };
    history.writes.iter().filter_map(of).collect()
}

/// Smaller stamps, the smallest first.
fn simpler_stamps(at: Stamp) -> impl Iterator<Item = Stamp> {
    let simple = (1..=3).map(|us| Stamp { us, counter: 0 });
    let same_time = Stamp { counter: 0, ..at };
    simple.chain([same_time]).filter(move |simpler| *simpler < at)
}

/// Simpler values for the write of this place, in the order of how simple they are. Each write begins with one of
/// its own, so that values tell writes apart wherever that keeps a law broken.
fn simpler_values(place: usize, value: Option<&str>) -> Vec<Option<&'static str>> {
    let mut simple = ["1", "2", "3", "a"];
    simple.rotate_left(place % 3);
    let rank =
        value.and_then(|value| simple.iter().position(|simple| *simple == value)).unwrap_or(simple.len());
    simple.into_iter().take(rank).map(Some).collect()
}
