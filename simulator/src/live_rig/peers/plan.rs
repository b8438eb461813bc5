//! What a plan of peers means for this rig.

use crate::plan::{Action, Plan};
use crate::scenario::model::{Injection, PeerFault, Peers, TablePolicy};
use crate::virtual_rig::peers::convergence::ends_us;

/// Peers of a run: each is a process and a database with its connections.
const PEERS_MAX: u32 = 12;

/// A fault with its moments, in microseconds of the run.
pub(super) struct Turn {
    pub(super) at_us: u64,
    pub(super) number: u32,
    pub(super) fault: PeerFault,
    pub(super) when: When,
    /// Whether the scenario says how long it lasts.
    pub(super) has_length: bool,
}

/// What comes of a fault at a moment, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    /// Disks are copied that it will need.
    Copies,
    Begins,
    Ends,
}

/// Whether peers need servers of their own: a disk is a server's.
pub(in crate::live_rig) fn needs_servers(plan: &Plan) -> bool {
    turns(plan).iter().any(|turn| turn.when == When::Copies)
}

/// Why this rig cannot carry a plan out; none if it can.
pub(in crate::live_rig) fn cannot(plan: &Plan, peers: &Peers) -> Option<String> {
    if plan.defect.is_some() {
        return Some(
            "defects among peers are planted in the virtual rig only: here the real program runs".to_owned(),
        );
    }
    if peers.count > PEERS_MAX {
        return Some(format!(
            "{} peers are too many processes and databases for one machine, at most {PEERS_MAX}; `--set peers.count=3` \
             where the rest of the scenario allows that",
            peers.count
        ));
    }
    let by_row = |policy: &TablePolicy| *policy == TablePolicy::LastWriterByRow;
    if let Some(table) = crate::peer_schema::tables(peers).iter().find(|table| !by_row(&table.policy)) {
        return Some(format!(
            "table `{}` has a policy of its own: which version a write gets there is decided after its commit, where no \
             application sees it",
            table.name
        ));
    }
    None
}

/// The faults of a plan in the order in which they begin and end.
pub(super) fn turns(plan: &Plan) -> Vec<Turn> {
    let duration_us = plan.world.duration.as_us();
    let mut turns = Vec::new();
    for action in &plan.actions {
        let Action::Inject(number, fault) = action else { continue };
        let Injection::Peers(what) = &fault.inject else { continue };
        let mut turn = |at_us, when| {
            let (number, fault, has_length) = (*number, what.clone(), fault.lasts.is_some());
            turns.push(Turn { at_us, number, fault, when, has_length });
        };
        if let PeerFault::SetBack(back) = what {
            turn(fault.at.as_us().saturating_sub(back.by.as_us()), When::Copies);
        }
        turn(fault.at.as_us(), When::Begins);
        turn(ends_us(fault, duration_us), When::Ends);
    }
    turns.sort_by_key(|turn| (turn.at_us, turn.number, turn.when));
    turns
}

/// Whether a plan alters what databases hold behind their back.
pub(super) fn corrupts(plan: &Plan) -> bool {
    turns(plan).iter().any(|turn| matches!(turn.fault, PeerFault::Corrupt(_)))
}

/// What a reader has to know of this rig.
pub(super) fn notes(plan: &Plan, isolated: bool) -> Vec<String> {
    let crashes = turns(plan).iter().any(|turn| matches!(turn.fault, PeerFault::Crash(_)));
    let crash = match isolated {
        true => "crashes are kill -9 of peers' processes and of their PostgreSQL servers, one for each",
        false => {
            "crashes are kill -9 of peers' processes; of one server with a database each, a crash of a database ends \
             its connections and lets nobody in until it is over, and the server lives on (`--isolated` gives each a server)"
        }
    };
    let rows = "rows whose standing changes by a local write alone are not told";
    let mut notes = vec![rows.to_owned()];
    notes.extend(crashes.then(|| crash.to_owned()));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn plan(more: &str) -> Plan {
        let text = format!(
            "name: some\nabout: Something.\nduration: 10s\nsettle: 10s\n{more}\nexpect: {{ properties: [P1] }}\n"
        );
        Plan::new(&Scenario::parse("some.yaml", text.as_bytes()).unwrap(), 1)
    }

    fn refused(more: &str) -> Option<String> {
        let plan = plan(more);
        cannot(&plan, plan.world.peers.as_ref().unwrap())
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        assert_eq!(refused("peers: { count: 3 }"), None);
        assert!(refused("peers: { count: 30 }").unwrap().contains("at most 12"));
        let tables = "peers: { count: 3, tables: { declared: [{ name: t, columns: [id, n], policy: first_writer }] } }";
        assert!(refused(tables).unwrap().contains("table `t`"));
    }

    #[test]
    fn faults_begin_and_end_in_order() {
        let plan = plan(
            "peers: { count: 3 }\nfaults:\n  - { at: 2s, for: 3s, inject: { peers: { crash: all } } }\n  \
             - { at: 3s, inject: { peers: { clock_step: { by: 1s } } } }",
        );
        let order = |plan: &Plan| -> Vec<_> {
            turns(plan).iter().map(|turn| (turn.at_us, turn.number, turn.when)).collect()
        };
        let expected = [
            (2_000_000, 0, When::Begins),
            (3_000_000, 1, When::Begins),
            (3_000_000, 1, When::Ends),
            (5_000_000, 0, When::Ends),
        ];
        assert_eq!(order(&plan), expected);
        assert!(!needs_servers(&plan));
    }

    #[test]
    fn a_disk_is_copied_before_it_is_put_back() {
        let fault = "peers: { count: 3 }\nfaults: [{ at: 4s, inject: { peers: { set_back: { peers: all, by: 1s } } } }]";
        let plan = plan(fault);
        let order: Vec<_> = turns(&plan).iter().map(|turn| (turn.at_us, turn.when)).collect();
        let expected = [(3_000_000, When::Copies), (4_000_000, When::Begins), (4_000_000, When::Ends)];
        assert_eq!(order, expected);
        assert!(needs_servers(&plan));
    }
}
