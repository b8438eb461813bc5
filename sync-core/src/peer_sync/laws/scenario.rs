//! A counterexample as a scenario of the simulator: the same writes by peers that learn of one another in the same order.
//!
//! Stamps keep their order and their equality. Where no writer had seen another's write, all peers are apart and each
//! writes when the clock, which is the same everywhere, shows its moment. Else writes come one after the other, each on a
//! clock that was set for it, and those that have to reach a writer do so over a link that is open just for that.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use thiserror::Error;

use super::{Change, Counterexample, LawWrite};
use crate::peer_sync::version::NodeId;

/// Why there is no scenario of a counterexample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoScenario {
    /// The rows of a scenario are named by their first column.
    #[error("a scenario's tables have one primary key, their first column; try the resolver on such a table")]
    Key,
    /// One identity was used twice.
    #[error(
        "write {write} comes from a database that was set back, while others still hold its later writes: no scenario can say so"
    )]
    SetBack {
        /// Its place, from 1.
        write: usize,
    },
}

impl Counterexample {
    /// The counterexample as a scenario for `p2psim run`, in which the table's policy is `custom` with this name. A
    /// program that knows the resolver by it (`simulator::cli::Program`) sees the peers diverge: P1 fails.
    ///
    /// That holds for laws which two sides break: commutativity above all. A resolver that lets a write lose against what
    /// its writer had seen ([`Law::WriteBeatsSeen`](super::Law::WriteBeatsSeen)) may lose it everywhere alike.
    ///
    /// # Errors
    /// What a scenario cannot say.
    pub fn to_scenario(&self, resolver: &str) -> Result<String, NoScenario> {
        let key: Vec<&str> = self.table.columns.iter().take(1).map(String::as_str).collect();
        if key != self.table.key {
            return Err(NoScenario::Key);
        }
        if let Some(place) = self.history.writes.iter().position(|write| write.set_back) {
            return Err(NoScenario::SetBack { write: place + 1 });
        }
        Ok(self.render(resolver, &Staging::new(&self.history.writes)))
    }

    fn render(&self, resolver: &str, staging: &Staging) -> String {
        let mut out = String::new();
        self.to_string().lines().for_each(|line| {
            let _ = writeln!(out, "# {line}");
        });
        let law = self.law();
        let about = quoted(&format!("The resolver `{resolver}` breaks a law: {law}."));
        let columns: Vec<String> = self.table.columns.iter().map(|column| quoted(column)).collect();
        let (table, columns) = (quoted(self.table.name.as_str()), columns.join(", "));
        let _ = write!(
            out,
            "name: broken-law\nabout: {about}\nduration: {}\nsettle: 60s\npeers:\n  count: {}\n  sync_interval: 1s\n  tables:\n    \
             declared:\n      - {{ name: {table}, columns: [{columns}], policy: {{ custom: {} }} }}\nfaults:\n",
            length(staging.end_us),
            staging.peers.len().max(2),
            quoted(resolver)
        );
        staging.faults.iter().for_each(|fault| {
            let _ = writeln!(out, "  - {fault}");
        });
        out += "steps:\n";
        for (write, at_us) in self.history.writes.iter().zip(&staging.at_us) {
            let (at, peer, statement) =
                (length(*at_us), staging.peer(&write.node), self.statement(&table, write));
            let _ = writeln!(out, "  - {{ at: {at}, peer: {peer}, do: [{statement}] }}");
        }
        out + "expect:\n  properties: [P1, P2, P5, P30]\n"
    }

    fn statement(&self, table: &str, write: &LawWrite) -> String {
        let Change::Set(values) = &write.change else {
            return format!("{{ delete: {{ table: {table}, row: 1 }} }}");
        };
        let column = |(place, column): (usize, &String)| {
            let value = values.get(place).and_then(Option::as_deref);
            format!("{}: {}", quoted(column), value.map_or_else(|| "null".to_owned(), quoted))
        };
        let set: Vec<String> = self.table.columns.iter().enumerate().skip(1).map(column).collect();
        format!("{{ put: {{ table: {table}, row: 1, set: {{ {} }} }} }}", set.join(", "))
    }
}

/// When writes come, and what goes wrong meanwhile.
struct Staging {
    /// The nodes, ascending: peers of a scenario have names of the same order.
    peers: Vec<NodeId>,
    at_us: Vec<u64>,
    faults: Vec<String>,
    end_us: u64,
}

const SECOND_US: u64 = 1_000_000;
/// From one write to the next where they have to come one after the other.
const STAGE_US: u64 = 20 * SECOND_US;
/// The least of the moments that clocks show at writes.
const FIRST_US: u64 = 2 * SECOND_US;
/// Longer than this no two neighbouring stamps are apart.
const GAP_US_MAX: u64 = SECOND_US;

impl Staging {
    fn new(writes: &[LawWrite]) -> Self {
        let nodes: BTreeSet<&NodeId> = writes.iter().map(|write| &write.node).collect();
        let peers: Vec<NodeId> = nodes.into_iter().cloned().collect();
        let shown_us = moments(writes);
        let mut staging = Self { peers, at_us: shown_us.clone(), faults: Vec::new(), end_us: 0 };
        if is_apart(writes) {
            let last_us = shown_us.iter().copied().max().unwrap_or(FIRST_US);
            let until_us = (last_us / SECOND_US + 2) * SECOND_US;
            staging.cut(SECOND_US, until_us, &BTreeSet::new());
            staging.end_us = until_us + 5 * SECOND_US;
        } else {
            staging.one_after_the_other(writes, &shown_us);
        }
        staging
    }

    fn one_after_the_other(&mut self, writes: &[LawWrite], shown_us: &[u64]) {
        let mut from_us = SECOND_US;
        let mut delivered: BTreeSet<(usize, &NodeId)> = BTreeSet::new();
        for (place, write) in writes.iter().enumerate() {
            let at_us = STAGE_US * (1 + place as u64);
            self.at_us[place] = at_us;
            let mut open = BTreeSet::new();
            for &saw in &write.saw {
                if writes[saw].node != write.node && delivered.insert((saw, &write.node)) {
                    let (a, b) = (self.peer(&writes[saw].node), self.peer(&write.node));
                    open.insert((a.min(b), a.max(b)));
                }
            }
            if !open.is_empty() {
                let (opens_us, closes_us) = (at_us - STAGE_US + 2 * SECOND_US, at_us - 2 * SECOND_US);
                self.cut(from_us, opens_us, &BTreeSet::new());
                self.cut(opens_us, closes_us, &open);
                from_us = closes_us;
            }
            // Clocks lie behind while they are set, so that no stamp is too far ahead for anybody.
            let (peer, by_us) = (self.peer(&write.node), at_us - shown_us[place]);
            for (at_us, sign) in [(at_us - SECOND_US, "-"), (at_us + SECOND_US, "")] {
                let at = length(at_us);
                self.faults.push(format!(
                    "{{ at: {at}, inject: {{ peers: {{ clock_step: {{ peers: {{ only: [{peer}] }}, by: {sign}{by_us}us }} }} }} }}"
                ));
            }
        }
        let until_us = STAGE_US * writes.len() as u64 + 2 * SECOND_US;
        self.cut(from_us, until_us, &BTreeSet::new());
        self.end_us = until_us + 5 * SECOND_US;
    }

    /// Cuts every link but these.
    fn cut(&mut self, from_us: u64, until_us: u64, open: &BTreeSet<(usize, usize)>) {
        let (at, lasts) = (length(from_us), length(until_us.saturating_sub(from_us)));
        let mut cut = |from: &str, to: &str| {
            self.faults.push(format!(
                "{{ at: {at}, for: {lasts}, inject: {{ peers: {{ cut: {{ from: {from}, to: {to} }} }} }} }}"
            ));
        };
        if open.is_empty() {
            return cut("all", "all");
        }
        for a in 0..self.peers.len() {
            let others: Vec<String> = (a + 1..self.peers.len())
                .filter(|b| !open.contains(&(a, *b)))
                .map(|b| b.to_string())
                .collect();
            if !others.is_empty() {
                cut(&format!("{{ only: [{a}] }}"), &format!("{{ only: [{}] }}", others.join(", ")));
            }
        }
    }

    fn peer(&self, node: &NodeId) -> usize {
        self.peers.iter().position(|other| other == node).unwrap_or(0)
    }
}

/// Whether each writer sees only what it wrote itself, at moments that do not go back.
fn is_apart(writes: &[LawWrite]) -> bool {
    writes.iter().enumerate().all(|(place, write)| {
        let alone = write.saw.iter().all(|saw| writes[*saw].node == write.node);
        let own = writes[..place].iter().filter(|earlier| earlier.node == write.node);
        alone && own.into_iter().all(|earlier| earlier.at <= write.at)
    })
}

/// What clocks show at the writes: in the order of the stamps, equal for equal ones, and neighbouring ones as far apart as
/// they were, up to a bound.
fn moments(writes: &[LawWrite]) -> Vec<u64> {
    let stamps: BTreeSet<_> = writes.iter().map(|write| write.at).collect();
    let mut shown_us = Vec::with_capacity(stamps.len());
    let mut before = None;
    let mut at_us = FIRST_US;
    for stamp in stamps {
        if let Some(before_us) = before {
            at_us += stamp.us.saturating_sub(before_us).clamp(1, GAP_US_MAX);
        }
        before = Some(stamp.us);
        shown_us.push((stamp, at_us));
    }
    let shown = |write: &LawWrite| {
        let found = shown_us.iter().find(|(stamp, _)| *stamp == write.at);
        found.map_or(FIRST_US, |(_, at_us)| *at_us)
    };
    writes.iter().map(shown).collect()
}

/// As the scenario format writes it.
fn length(us: u64) -> String {
    if us.is_multiple_of(SECOND_US) { format!("{}s", us / SECOND_US) } else { format!("{us}us") }
}

/// A text in double quotes, in which every character that might be misread is written by its number.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain) && !is_word(text) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        let code = u32::from(c);
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ if code > 0xffff => {
                let _ = write!(out, "\\U{code:08x}");
            }
            _ => {
                let _ = write!(out, "\\u{code:04x}");
            }
        }
    }
    out.push('"');
    out
}

/// Whether YAML takes a bare word for something else than text.
fn is_word(text: &str) -> bool {
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_sync::laws::{History, Law, Violation, law_table};
    use crate::peer_sync::version::Stamp;

    fn write(node: &str, us: u64, saw: &[usize]) -> LawWrite {
        LawWrite {
            node: NodeId::new(node).unwrap(),
            at: Stamp { us, counter: 0 },
            change: Change::Set(vec![Some("1".into()), Some("no".into()), None, Some("\u{1f600}\"".into())]),
            saw: saw.to_vec(),
            set_back: false,
        }
    }

    fn scenario(writes: Vec<LawWrite>) -> Result<String, NoScenario> {
        let violation = Violation { law: Law::Commutative, ways: Vec::new() };
        Counterexample { table: law_table(), history: History { writes }, violation }.to_scenario("mine")
    }

    #[test]
    fn who_saw_nothing_writes_apart_at_moments_of_the_same_order() {
        let text =
            scenario(vec![write("n2", 3, &[]), write("n1", 3, &[]), write("n10", 9_999_999, &[])]).unwrap();
        let steps: Vec<_> = text.lines().skip_while(|line| *line != "steps:").skip(1).take(3).collect();
        assert!(
            steps[0].starts_with("  - { at: 2s, peer: 2, do: [{ put: { table: laws, row: 1, set: {"),
            "{text}"
        );
        assert!(steps[1].starts_with("  - { at: 2s, peer: 0,"), "{text}");
        assert!(steps[2].starts_with("  - { at: 3s, peer: 1,"), "{text}");
        assert!(text.contains(r#"amount: "no", name: null, note: "\U0001f600\"""#), "{text}");
    }

    #[test]
    fn what_a_writer_saw_reaches_it_before_it_writes() {
        let text = scenario(vec![write("a", 2, &[]), write("b", 1, &[0]), write("c", 2, &[])]).unwrap();
        assert!(text.contains("clock_step: { peers: { only: [1] }, by: -38000000us }"), "{text}");
        assert!(
            text.contains(
                "at: 22s, for: 16s, inject: { peers: { cut: { from: { only: [0] }, to: { only: [2] } } } }"
            ),
            "{text}"
        );
        assert!(!text.contains("from: { only: [0] }, to: { only: [1"), "{text}");
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let back = LawWrite { set_back: true, ..write("a", 2, &[]) };
        assert_eq!(scenario(vec![write("a", 1, &[]), back]), Err(NoScenario::SetBack { write: 2 }));
    }
}
