//! Who synchronises with whom.

use std::collections::BTreeSet;

use crate::draw::{Draws, Label};
use crate::scenario::model::Links;

/// For each peer those that it knows, ascending. Links go both ways and connect everybody.
pub(crate) fn neighbours(draws: Draws, links: &Links, count: u32) -> Vec<Vec<u32>> {
    let mut known = vec![BTreeSet::new(); count as usize];
    let mut link = |a: u32, b: u32| {
        if a != b {
            known[a as usize].insert(b);
            known[b as usize].insert(a);
        }
    };
    match links {
        Links::Mesh => (0..count).for_each(|a| (a + 1..count).for_each(|b| link(a, b))),
        Links::Ring => (0..count).for_each(|a| link(a, (a + 1) % count)),
        Links::Line => (1..count).for_each(|a| link(a - 1, a)),
        Links::Star => (1..count).for_each(|a| link(0, a)),
        Links::Random(_) => (0..count).for_each(|a| link(a, (a + 1) % count)),
    }
    if let Links::Random(random) = links {
        let degree = random.degree.min(count - 1) as usize;
        for a in 0..count {
            let mut attempt = 0;
            while known[a as usize].len() < degree {
                let b = draws.below(u64::from(count), Label::PeerLink, u64::from(a), attempt) as u32;
                attempt += 1;
                if a != b {
                    known[a as usize].insert(b);
                    known[b as usize].insert(a);
                }
            }
        }
    }
    known.into_iter().map(|set| set.into_iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::RandomLinks;

    #[test]
    fn links_go_both_ways() {
        let draws = Draws::new(3);
        let random = Links::Random(RandomLinks { degree: 6 });
        for links in [Links::Mesh, Links::Ring, Links::Line, Links::Star, random.clone()] {
            let known = neighbours(draws, &links, 100);
            for (a, others) in known.iter().enumerate() {
                assert!(!others.is_empty() && !others.contains(&(a as u32)));
                assert!(others.iter().all(|b| known[*b as usize].contains(&(a as u32))));
            }
        }
        assert!(neighbours(draws, &random, 100).iter().all(|others| others.len() >= 6));
        assert_eq!(neighbours(draws, &Links::Mesh, 2), [vec![1], vec![0]]);
    }
}
