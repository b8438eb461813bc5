//! What a reader of a database saw, as a set of transactions; the form of PostgreSQL's `pg_snapshot`.
//!
//! A transaction is seen if its number is below `xmax` and it was not under way. A position made of this is
//! never wrong about a transaction that began early and commits late, and no open transaction holds a reader back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

use crate::limits;

/// A set of transactions: all below `xmax`, but for those under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    xmax: u64,
    /// Ascending, below `xmax`.
    under_way: Vec<u64>,
}

/// The text is not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "not a snapshot: `xmin:xmax:xip,...` is expected, ascending, with at most {} transactions under way",
    limits::SNAPSHOT_UNDER_WAY_MAX
)]
pub struct InvalidSnapshot;

impl Snapshot {
    /// All transactions below `xmax` but for those of `under_way`, in any order; others of it are ignored.
    pub fn new(xmax: u64, under_way: impl IntoIterator<Item = u64>) -> Self {
        let mut under_way: Vec<u64> = under_way.into_iter().filter(|xid| *xid < xmax).collect();
        under_way.sort_unstable();
        under_way.dedup();
        Self { xmax, under_way }.canonical()
    }

    /// One set, one form: what lies at the end and is under way is no part of it.
    fn canonical(mut self) -> Self {
        while self.under_way.last().is_some_and(|last| last + 1 == self.xmax) {
            self.under_way.pop();
            self.xmax -= 1;
        }
        self
    }

    /// The lowest transaction that is not seen.
    pub fn xmin(&self) -> u64 {
        self.under_way.first().copied().unwrap_or(self.xmax)
    }

    /// One past the highest transaction that is seen.
    pub fn xmax(&self) -> u64 {
        self.xmax
    }

    /// The transactions below [`xmax`](Self::xmax) that are not seen, ascending.
    pub fn under_way(&self) -> &[u64] {
        &self.under_way
    }

    /// Whether the transaction is seen.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.under_way.binary_search(&xid).is_err()
    }

    /// What either of them sees.
    pub fn union(&self, other: &Self) -> Self {
        let (low, high) = if self.xmax <= other.xmax { (self, other) } else { (other, self) };
        let under_way = high.under_way.iter().copied().filter(|xid| !low.sees(*xid)).collect();
        Self { xmax: high.xmax, under_way }.canonical()
    }

    /// Whether everything that `other` sees is seen.
    pub fn covers(&self, other: &Self) -> bool {
        // What lies between the two ends is seen by the other unless it was under way there.
        let beyond = (self.xmax..other.xmax).take(other.under_way.len() + 1);
        self.under_way.iter().all(|xid| !other.sees(*xid)) && beyond.into_iter().all(|xid| !other.sees(xid))
    }

    /// What it sees up to and including one transaction.
    pub fn up_to(&self, xid: u64) -> Self {
        let xmax = self.xmax.min(xid.saturating_add(1));
        Self::new(xmax, self.under_way.iter().copied())
    }
}

impl fmt::Display for Snapshot {
    /// `xmin:xmax:xip,xip`, as PostgreSQL writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin(), self.xmax)?;
        for (place, xid) in self.under_way.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

impl FromStr for Snapshot {
    type Err = InvalidSnapshot;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).ok_or(InvalidSnapshot);
        let (xmin, xmax) = (number()?, number()?);
        let mut under_way = Vec::new();
        for xid in parts.next().ok_or(InvalidSnapshot)?.split(',').filter(|xid| !xid.is_empty()) {
            let xid = xid.parse::<u64>().map_err(|_| InvalidSnapshot)?;
            let ascending = under_way.last().is_none_or(|last| *last < xid) && xmin <= xid && xid < xmax;
            if !ascending || under_way.len() == limits::SNAPSHOT_UNDER_WAY_MAX {
                return Err(InvalidSnapshot);
            }
            under_way.push(xid);
        }
        if xmin > xmax || (under_way.is_empty() && xmin != xmax) {
            return Err(InvalidSnapshot);
        }
        Ok(Self { xmax, under_way }.canonical())
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn any_snapshot() -> impl Strategy<Value = Snapshot> {
        (0u64..24, proptest::collection::vec(0u64..24, 0..8)).prop_map(|(xmax, xip)| Snapshot::new(xmax, xip))
    }

    fn set(snapshot: &Snapshot) -> BTreeSet<u64> {
        (0..32).filter(|xid| snapshot.sees(*xid)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn it_is_a_set_of_transactions(a in any_snapshot(), b in any_snapshot(), xid in 0u64..26) {
            prop_assert_eq!(set(&a.union(&b)), set(&a).union(&set(&b)).copied().collect());
            prop_assert_eq!(a.covers(&b), set(&a).is_superset(&set(&b)));
            prop_assert_eq!(a == b, set(&a) == set(&b));
            prop_assert_eq!(set(&a.up_to(xid)), set(&a).into_iter().filter(|x| *x <= xid).collect());
            prop_assert_eq!(a.to_string().parse(), Ok(a));
        }
    }

    #[test]
    fn what_is_no_snapshot_is_refused() {
        for wrong in ["", "1:2", "3:2:", "1:2:", "1:3:2,1", "1:3:3", "1:3:0", "a:b:", "1:3:1,1"] {
            assert_eq!(wrong.parse::<Snapshot>(), Err(InvalidSnapshot), "{wrong}");
        }
        assert_eq!("5:9:5,7".parse(), Ok(Snapshot::new(9, [5, 7])));
    }
}
