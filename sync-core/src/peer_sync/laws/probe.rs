//! Some made-up histories, drawn without a generator of tests, for a check at start.

use super::{Change, Counterexample, History, LawWrite, check};
use crate::limits;
use crate::peer_sync::resolver::Resolver;
use crate::peer_sync::schema::{Policy, Table};
use crate::peer_sync::version::{NodeId, Stamp};

/// Histories that are tried; a fraction of a second.
const HISTORIES: u64 = 1_000;
const WRITES_MAX: u64 = 4;

/// Names that sort differently as text, as numbers and under collations.
pub(super) const NODES: [&str; 5] = ["n1", "n2", "n10", "N3", "n-4"];

/// A moment at which nodes write in these histories, in microseconds since 1970.
pub(super) const NOW_US: u64 = 1_767_225_600_000_000;

/// Moments: equal ones, neighbours, beyond what a floating point number tells apart, far in the future.
pub(super) const MOMENTS_US: [u64; 8] = [
    1,
    2,
    3,
    NOW_US,
    NOW_US + 1,
    NOW_US + limits::STAMP_AHEAD_MAX.as_us(),
    4_070_908_800_000_000,
    limits::STAMP_US_MAX - 1,
];

/// Whole numbers, in an order that text does not have.
pub(super) const NUMBERS: [&str; 7] = ["1", "2", "10", "9", "0", "-1", "-10"];

/// Texts of all kinds of values, among them numbers that floating point rounds together, equal numbers in two
/// forms, and JSON whose keys are in another order.
pub(super) const TEXTS: [&str; 16] = [
    "a",
    "b",
    "B",
    "",
    "ä",
    "a\u{308}",
    "\u{1f600}",
    "0.1",
    "0.10",
    "0.30000000000000004",
    "9007199254740993",
    "-0",
    "NaN",
    "1e400",
    "{\"a\":1,\"b\":2}",
    "{\"b\":2,\"a\":1}",
];

/// Holds a resolver to the laws over histories that are the same at every start.
///
/// # Errors
/// The first law that is seen to be broken, with the smallest history that breaks it.
pub fn probe(resolver: &dyn Resolver, table: &Table) -> Result<(), Counterexample> {
    for number in 0..HISTORIES {
        let history = drawn_history(table, number);
        if let Err(violation) = check(resolver, table, &history) {
            return Err(Counterexample::shrunk(resolver, table, history, violation));
        }
    }
    Ok(())
}

/// The history of this number: two to four writes by up to three nodes.
pub fn drawn_history(table: &Table, number: u64) -> History {
    let mut draws = Draws(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let writes = 2 + draws.below(WRITES_MAX - 1);
    let calm = draws.below(4) > 0;
    let write = |place: u64, draws: &mut Draws| {
        let moments = if calm { 4 } else { MOMENTS_US.len() as u64 };
        LawWrite {
            node: node(draws.below(if calm { 3 } else { NODES.len() as u64 })),
            at: Stamp {
                us: MOMENTS_US[draws.below(moments) as usize],
                counter: [0, 0, 1, u32::MAX][draws.below(if calm { 3 } else { 4 }) as usize],
            },
            change: if draws.below(3) == 0 { Change::Delete } else { Change::Set(values(table, draws)) },
            saw: (0..place as usize).filter(|_| draws.below(2) == 0).collect(),
            set_back: !calm && draws.below(4) == 0,
        }
    };
    History { writes: (0..writes).map(|place| write(place, &mut draws)).collect() }
}

fn values(table: &Table, draws: &mut Draws) -> Vec<Option<String>> {
    let value = |column: &String| {
        let kind = draws.below(8);
        let from = |texts: &[&str], draws: &mut Draws| {
            Some(texts[draws.below(texts.len() as u64) as usize].to_owned())
        };
        match kind {
            _ if counts(table, column) => from(&NUMBERS, draws),
            0 => None,
            1..=4 => from(&NUMBERS, draws),
            _ => from(&TEXTS, draws),
        }
    };
    table.columns.iter().map(value).collect()
}

/// Whether a column takes whole numbers only.
pub(super) fn counts(table: &Table, column: &String) -> bool {
    matches!(&table.policy, Policy::CounterDelta(counters) if counters.contains(column))
}

/// One of the names above.
pub(super) fn node(place: u64) -> NodeId {
    NodeId::unchecked(NODES[place as usize % NODES.len()])
}

/// A sequence of numbers (SplitMix64, Steele et al. 2014).
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}
