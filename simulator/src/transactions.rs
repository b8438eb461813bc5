//! What applications do at peers, as a function of the seed and of the transaction's name.

use crate::arrivals::{Generator, TICKET_STREAM_BIT};
use crate::distribution::Sampler;
use crate::draw::{Draws, Label};
use crate::history::OpRef;
use crate::plan::Body;
use crate::scenario::model::{Put, RowName, Statement, StatementKind, StatementMix, Transactions};

/// A stream of transactions made ready to draw from.
#[derive(Debug)]
pub struct TransactionStream {
    /// When they arrive.
    pub arrivals: Generator,
    transactions: Transactions,
    open_for: Sampler,
    weight: u64,
}

impl TransactionStream {
    /// Makes a stream ready; without an end of its own it ends at `duration_us`.
    pub fn new(transactions: &Transactions, duration_us: u64) -> Self {
        Self {
            arrivals: Generator::of_transactions(transactions, duration_us),
            transactions: transactions.clone(),
            open_for: Sampler::new(&transactions.open_for),
            weight: transactions.mix.iter().map(|entry| u64::from(entry.weight)).sum(),
        }
    }

    /// What a transaction of this name does.
    pub fn body(&self, draws: Draws, op: OpRef) -> Body {
        let (peer, ticket) = (u64::from(op.host), op.ticket);
        let count = 1 + draws.below(self.statements_max(), Label::Statements, peer, ticket);
        let statements = (0..count).map(|number| self.statement(draws, op, number)).collect();
        let session = (ticket & ((1 << 20) - 1)) % u64::from(self.transactions.sessions.max(1));
        let open_us = self.open_for.at(draws.bits(Label::OpenFor, peer, ticket));
        Body { session: session as u32, open_us, statements }
    }

    fn statements_max(&self) -> u64 {
        u64::from(self.transactions.statements_max.max(1))
    }

    fn statement(&self, draws: Draws, op: OpRef, number: u64) -> Statement {
        // Statements of one transaction are told apart in the upper bits; a stream has far fewer transactions.
        let (peer, ordinal) = (u64::from(op.host) | number << 32, op.ticket);
        let entry = self.entry(draws, peer, ordinal);
        let rows = u64::from(entry.rows);
        let row = if entry.own_rows {
            let turn = (op.ticket & ((1 << TICKET_STREAM_BIT) - 1)) * self.statements_max() + number;
            u64::from(op.host) * rows + turn % rows
        } else {
            draws.below(rows, Label::StatementRow, peer, ordinal)
        };
        // Validated: below the greatest number of a row.
        let row = row as u32;
        let name = RowName { table: entry.table.clone(), row };
        match entry.action {
            StatementKind::Read => Statement::Read(name),
            StatementKind::Delete => Statement::Delete(name),
            StatementKind::Put => Statement::Put(Put {
                table: name.table,
                row,
                set: std::collections::BTreeMap::new(),
                texts: self.transactions.texts,
                collide: draws.hits(entry.collide.ppm(), Label::Collide, peer, ordinal),
            }),
        }
    }

    fn entry(&self, draws: Draws, peer: u64, ordinal: u64) -> &StatementMix {
        let mut place = draws.below(self.weight, Label::StatementKind, peer, ordinal);
        for entry in &self.transactions.mix {
            match place.checked_sub(u64::from(entry.weight)) {
                Some(rest) => place = rest,
                None => return entry,
            }
        }
        &self.transactions.mix[self.transactions.mix.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn row(statement: &Statement) -> u32 {
        match statement {
            Statement::Put(Put { row, .. }) => *row,
            Statement::Read(name) | Statement::Delete(name) => name.row,
        }
    }

    #[test]
    fn own_rows_come_in_turn_and_are_nobody_elses() {
        let text = "name: turns\nabout: Rows in turn.\nduration: 10s\npeers: {count: 2}\n\
            transactions:\n  - {name: w, arrivals: {constant: 1/s}, statements_max: 2,\n     \
            mix: [{do: put, table: users, rows: 4, own_rows: true}]}\nexpect: {properties: [P1]}\n";
        let scenario = Scenario::parse("turns.yaml", text.as_bytes()).unwrap();
        let stream = TransactionStream::new(&scenario.transactions[0], 10_000_000);
        let rows = |host: u32| -> Vec<Vec<u32>> {
            let body = |ordinal| {
                let op = OpRef { host, ticket: 1_u64 << TICKET_STREAM_BIT | ordinal };
                stream.body(Draws::new(1), op).statements.iter().map(row).collect::<Vec<_>>()
            };
            (0..4).map(body).collect()
        };
        for (host, first) in [(0, 0), (1, 4)] {
            for (ordinal, statements) in rows(host).into_iter().enumerate() {
                let expected: Vec<u32> =
                    (0..statements.len() as u32).map(|n| first + (ordinal as u32 * 2 + n) % 4).collect();
                assert_eq!(statements, expected, "peer {host}");
            }
        }
    }
}
