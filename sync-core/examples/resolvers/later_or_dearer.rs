//! The later write wins; of writes at the same moment the one with the greater amount: once subtly wrong, once right.
//!
//! The simulator knows them as `example-wrong` and `example-repaired`.

use sync_core::peer_sync::resolver::{Resolution, WriteId};
use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::schema::Table;

/// Reads well, and lets two peers diverge for ever: amounts can be equal as well, `0.1` and `0.10` among them, and then
/// each peer keeps the side that it names first, which is its own. A plain function is a resolver, too.
pub fn later_or_dearer(table: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
    let keeps_one = if one.version.stamp == other.version.stamp {
        amount(table, one) >= amount(table, other)
    } else {
        one.version.stamp > other.version.stamp
    };
    if keeps_one { Resolution::One } else { Resolution::Other }
}

/// The same repaired: what neither stamp nor amount decides, the names of the writers do, and then what they wrote. So it is
/// one strict order of all versions. Amounts are compared as they are in a total order: with `>=`, NaN is
/// neither more nor less than anything.
pub fn later_or_dearer_repaired(table: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
    let order = one.version.stamp.cmp(&other.version.stamp);
    let order = order.then_with(|| amount(table, one).total_cmp(&amount(table, other)));
    let order = order.then_with(|| WriteId::of(one).cmp(&WriteId::of(other)));
    let order = order.then_with(|| one.version.hash.cmp(&other.version.hash));
    if order.is_ge() { Resolution::One } else { Resolution::Other }
}

fn amount(table: &Table, row: &RowVersion) -> f64 {
    let text = table.place("amount").and_then(|place| row.image.content()?.column(place));
    text.and_then(|text| text.parse().ok()).unwrap_or(0.0)
}
