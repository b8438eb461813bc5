//! Rules of scenarios among peers.

use std::collections::BTreeSet;

use sync_core::diagnostic::nearest;
use sync_core::limits;
use sync_core::peer_sync::schema::{Schema, Table};

use super::{DAY, HOSTS_MAX, Rules, SHORTEST, listed};
use crate::check::peers::PeerTerms;
use crate::peer_schema::schema;
use crate::scenario::model::{
    DeclaredTable, HostSettings, Links, MainServerSettings, Network, Peers, Put, RowName, Scenario,
    Statement, Step, TablePolicy, Tables, Transactions,
};
use crate::scenario::units::{Length, Share};

/// The properties that a scenario among peers may demand.
pub(crate) fn known_properties() -> Vec<&'static str> {
    crate::check::peers::all(&PeerTerms::default()).iter().map(|check| check.property().id).collect()
}

impl Rules<'_> {
    /// Either hosts or peers.
    pub(super) fn kind(&mut self, s: &Scenario) {
        let refuse_all = |rules: &mut Self, given: &[(&str, bool)], message: &str, help: &str| {
            for (path, there) in given {
                if *there {
                    rules.refuse(path, format!("`{path}` {message}"), help);
                }
            }
        };
        if s.peers.is_some() {
            let given = [
                ("topology", !s.topology.is_absent()),
                ("workload", !s.workload.is_empty()),
                ("traces", !s.traces.is_empty()),
                ("embedding", s.embedding.is_some()),
                ("hosts", s.hosts != HostSettings::default()),
                ("main_server", s.main_server != MainServerSettings::default()),
                ("network", s.network != Network::default()),
                ("database.failures", s.database.failures != Share::ZERO),
                ("database.capacity", s.database.capacity.is_some()),
                ("expect.critical_miss_ratio_max", s.expect.critical_miss_ratio_max != Share::ZERO),
                ("expect.critical_blocking_max", s.expect.critical_blocking_max.is_some()),
                ("expect.normal_stall_max", s.expect.normal_stall_max.is_some()),
                ("expect.stale_reads_max", s.expect.stale_reads_max.is_some()),
                ("expect.primaries_lost_max", s.expect.primaries_lost_max.is_some()),
                ("expect.recovery", s.expect.recovery.is_some()),
                ("expect.overload", s.expect.overload.is_some()),
                ("expect.provider", s.expect.provider.is_some()),
                ("expect.at_most", !s.expect.at_most.is_empty()),
            ];
            let help = "a scenario has hosts (`topology`) or peers (`peers`): remove what is of the other";
            refuse_all(self, &given, "is of hosts, and this scenario has peers", help);
        } else {
            let given = [
                ("transactions", !s.transactions.is_empty()),
                ("steps", !s.steps.is_empty()),
                ("expect.copies_max", s.expect.copies_max.is_some()),
                ("expect.staleness_max", s.expect.staleness_max.is_some()),
                ("expect.converge_within", s.expect.converge_within.is_some()),
                ("expect.live", s.expect.live.is_some()),
            ];
            let help = "add peers, as in `peers: {count: 3}`, or remove it";
            refuse_all(self, &given, "is of peers, and this scenario has none", help);
        }
    }

    /// At least one host, where there are no peers.
    pub(super) fn hosts_there(&mut self, s: &Scenario) {
        let (whole, topology) = (self.root.locate(""), self.root.locate("topology"));
        if s.topology.is_absent() && (whole.line, whole.column) == (topology.line, topology.column) {
            let help = "add `topology: {hosts: 10}`, or `peers: {count: 3}` for peers with a database each";
            self.refuse("", "nobody takes part: `topology` is missing, and `peers` is, too", help);
        } else {
            self.range("topology.hosts", s.topology.hosts, 1..=HOSTS_MAX);
        }
    }

    pub(super) fn peers(&mut self, s: &Scenario, peers: &Peers) {
        self.range("peers.count", peers.count, 2..=PEERS_MAX);
        if let Links::Random(random) = &peers.links {
            let most = peers.count.saturating_sub(1).max(2);
            self.range("peers.links.random.degree", random.degree, 2..=most);
        }
        self.link("peers.network", &peers.network);
        for (field, share) in [("tamper", peers.network.tamper), ("replay", peers.network.replay)] {
            if share != Share::ZERO {
                let help =
                    "remove it: messages between peers are lost, doubled and held back, and not altered";
                self.refuse(&format!("peers.network.{field}"), format!("`{field}` is of hosts' links"), help);
            }
        }
        self.length("peers.sync_interval", peers.sync_interval, INTERVAL_MIN..=DAY);
        self.length("peers.reconcile_interval", peers.reconcile_interval, INTERVAL_MIN..=DAY);
        self.length("peers.scrub_interval", peers.scrub_interval, INTERVAL_MIN..=DAY);
        self.length("peers.tombstone_retention", peers.tombstone_retention, SHORTEST..=RETENTION_MAX);
        self.length("peers.stamp_ahead_max", peers.stamp_ahead_max, SHORTEST..=DAY);
        self.range("peers.page_rows_max", peers.page_rows_max, 1..=limits::PAGE_ROWS_MAX as u32);
        self.length("peers.health_interval", peers.health_interval, INTERVAL_MIN..=DAY);
        self.length("peers.unseen_max", peers.unseen_max, UNSEEN_MIN..=DAY);
        let schema = match schema(peers) {
            Ok(schema) => schema,
            Err(error) => {
                let help =
                    "give the columns with the primary key first; references name a column and a table";
                self.refuse("peers.tables", error.to_string(), help);
                return;
            }
        };
        if let Tables::Declared(tables) = &peers.tables {
            for (index, table) in tables.iter().enumerate() {
                self.resolver(index, table);
            }
        }
        for table in peers.rows.keys() {
            self.table(&format!("peers.rows.{table}"), table, &schema);
        }
        let mut names = BTreeSet::new();
        for (index, stream) in s.transactions.iter().enumerate() {
            let path = format!("transactions[{index}]");
            self.transactions(&path, stream, &schema);
            if !names.insert(stream.name.as_str()) {
                let message = format!("a stream is named `{}` already", stream.name);
                self.refuse(&format!("{path}.name"), message, "give each stream a name of its own");
            }
        }
        for (index, step) in s.steps.iter().enumerate() {
            self.step(&format!("steps[{index}]"), step, &schema);
        }
        if let Some(copies) = s.expect.copies_max.filter(|copies| copies.per_mille() < 1_000) {
            let help = "write `1x` or more: a row that is needed comes at least once";
            self.refuse("expect.copies_max", format!("`copies_max` cannot be {copies}"), help);
        }
    }

    /// A resolver of a team's own is one that this program has.
    fn resolver(&mut self, index: usize, table: &DeclaredTable) {
        let TablePolicy::Custom(name) = &table.policy else { return };
        if self.own.knows(name) {
            return;
        }
        let names = self.own.names();
        let near = nearest(name, names.iter().map(String::as_str));
        let known = near.map_or_else(
            || format!("this program has {}", listed(&names)),
            |near| format!("did you mean `{near}`?"),
        );
        let help = format!(
            "{known}; a program of your own that registers it has it, too: \
             `simulator::cli::Program::new().resolver(\"{}\", MyResolver).main()`",
            name.escape_debug()
        );
        let path = format!("peers.tables.declared[{index}].policy.custom");
        self.refuse(&path, format!("no resolver is named `{}`", name.escape_debug()), help);
    }

    fn transactions(&mut self, path: &str, stream: &Transactions, schema: &Schema) {
        self.name(&format!("{path}.name"), &stream.name);
        self.hosts(&format!("{path}.peers"), &stream.peers);
        self.arrivals(&format!("{path}.arrivals"), &stream.arrivals, &stream.peers);
        self.range(&format!("{path}.sessions"), stream.sessions, 1..=1_000);
        self.range(&format!("{path}.statements_max"), stream.statements_max, 1..=1_000);
        self.distribution(&format!("{path}.open_for"), &stream.open_for);
        if stream.mix.is_empty() {
            let help = "add an entry: `mix: [{do: put, table: users, rows: 10}]`";
            self.refuse(&format!("{path}.mix"), "an empty `mix` does nothing", help);
        }
        for (index, entry) in stream.mix.iter().enumerate() {
            let at = format!("{path}.mix[{index}]");
            self.table(&format!("{at}.table"), &entry.table, schema);
            // Each peer has so many of its own.
            let times = if entry.own_rows { self.hosts.max(1) } else { 1 };
            self.range(&format!("{at}.rows"), entry.rows, 1..=ROWS_MAX / times);
            self.range(&format!("{at}.weight"), entry.weight, 1..=1_000_000);
        }
        self.moment(&format!("{path}.from"), stream.from);
        if let Some(until) = stream.until {
            let at = format!("{path}.until");
            if until <= stream.from {
                let message = format!("`until` is {until}, not after `from`, which is {}", stream.from);
                self.refuse(&at, message, "let it end later than it begins");
            } else {
                self.moment(&at, until);
            }
        }
    }

    fn step(&mut self, path: &str, step: &Step, schema: &Schema) {
        if step.at >= self.duration {
            let message = format!("a step at {} comes when the scenario is over", step.at);
            let help = format!("write a moment before {}, the scenario's `duration`", self.duration);
            self.refuse(&format!("{path}.at"), message, help);
        }
        self.peer(&format!("{path}.peer"), step.peer);
        if step.statements.is_empty() {
            let help = "add a statement: `do: [{put: {table: users, row: 1}}]`";
            self.refuse(&format!("{path}.do"), "a transaction without statements", help);
        }
        for (index, statement) in step.statements.iter().enumerate() {
            let (word, table) = match statement {
                Statement::Put(Put { table, .. }) => ("put", table),
                Statement::Delete(RowName { table, .. }) => ("delete", table),
                Statement::Read(RowName { table, .. }) => ("read", table),
            };
            let at = format!("{path}.do[{index}].{word}");
            let found = self.table(&format!("{at}.table"), table, schema).cloned();
            if let (Statement::Put(put), Some(table)) = (statement, found) {
                self.columns(&at, put, &table);
            }
        }
    }

    fn columns(&mut self, path: &str, put: &Put, table: &Table) {
        for column in put.set.keys() {
            let at = format!("{path}.set.{column}");
            match table.place(column) {
                None => {
                    let help = format!("its columns are {}", listed(&table.columns));
                    self.refuse(&at, format!("`{}` has no column `{column}`", table.name), help);
                }
                Some(0) => {
                    let help = "the key follows from `row`: leave it out";
                    self.refuse(&at, format!("`{column}` is the primary key"), help);
                }
                Some(_) => {}
            }
        }
    }

    fn table<'s>(&mut self, path: &str, table: &str, schema: &'s Schema) -> Option<&'s Table> {
        let found = schema.find(table);
        if found.is_none() {
            let names: Vec<_> = schema.tables().map(|table| table.name.to_string()).collect();
            let help = format!("the tables are {}", listed(&names));
            self.refuse(path, format!("there is no table `{}`", table.escape_debug()), help);
        }
        found
    }
}

/// Peers of one scenario.
const PEERS_MAX: u32 = 200;
/// Rows of one table that a scenario names.
pub(super) const ROWS_MAX: u32 = 10_000_000;
const INTERVAL_MIN: Length = Length::from_ms(10);
/// Longer than a peer waits for an answer: one that is lost removes nobody.
const UNSEEN_MIN: Length = Length::from_us(limits::PEER_ASK_TIMEOUT.as_us() + 1_000_000);
const RETENTION_MAX: Length = Length::from_ms(365 * 24 * 3_600_000);
