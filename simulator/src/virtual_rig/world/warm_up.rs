//! Reads ahead what the next events need.
//!
//! A large world does not fit into a processor's caches. An event that waits for memory does so many times over, since
//! each look depends on the one before; looks on behalf of many events do not, and wait together. So before the
//! events of a tick happen, what they will need is read, first what can be found directly, then what that points to.

use std::hint::black_box;

use super::{Happening, Observer, World};
use crate::history::StateName;
use crate::virtual_rig::host::host_of;
use crate::virtual_rig::variant::Variant;

impl<V: Variant, O: Observer> World<V, O> {
    /// Reads what the events that are in order will need, if they are many. Changes nothing.
    pub(super) fn warm_up(&mut self) {
        if self.queue.coming().len() < MANY {
            return;
        }
        let Self { queue, streams, hosts, database, cache, observer, coming, .. } = self;
        coming.clear();
        for happening in queue.coming() {
            match happening {
                Happening::Arrive { stream } => {
                    coming.extend(streams.get(*stream).map(|(_, stream)| stream.host))
                }
                Happening::ToHost { route, .. } => coming.push(route.host),
                Happening::WakeHost { host } => coming.push(*host),
                _ => {}
            }
        }
        let near = coming.iter().filter_map(|host| hosts.get(*host as usize));
        let mut seen = near.clone().map(|host| host.glance()).fold(0, u64::wrapping_add);
        seen = near.map(|host| host.look()).fold(seen, u64::wrapping_add);
        seen = coming.iter().map(|host| observer.warm(*host, None)).fold(seen, u64::wrapping_add);
        for happening in queue.coming() {
            seen = seen.wrapping_add(match happening {
                Happening::Commit { place, .. } => {
                    let operations = database.operations(*place);
                    let states =
                        operations.iter().filter_map(|apply| Some((apply, StateName(apply.state_key()?))));
                    let rows = states
                        .map(|(apply, state)| observer.warm(host_of(apply.operation.account), Some(&state)));
                    rows.fold(database.warm(operations), u64::wrapping_add)
                }
                Happening::CacheRuns { place, .. } => cache.warm(*place),
                _ => 0,
            });
        }
        black_box(seen);
    }
}

/// With so few events in a tick a world is small, or its time passes slowly.
const MANY: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Terms;
    use crate::plan::Plan;
    use crate::recorder::Recorder;
    use crate::scenario::Scenario;
    use crate::scenario::model::HistoryMode;
    use crate::virtual_rig::variant::Modelled;

    const CROWD: &str = "
name: crowd
about: Many hosts at once.
duration: 200ms
topology: { hosts: 256, maps: 4 }
workload:
  - name: players
    arrivals: { poisson: 100/s }
    mix:
      - { type: PLAYER_POSITION, critical: true, weight: 1 }
      - { type: CHAT_MESSAGE, weight: 1 }
expect: { properties: [P5, P14, P30] }
";

    #[test]
    fn reading_ahead_changes_nothing() {
        let scenario =
            Scenario::parse("crowd", CROWD.as_bytes()).unwrap_or_else(|found| panic!("{}", found[0]));
        let plan = Plan::new(&scenario, 1);
        let terms = Terms { critical_timeout_us: 500_000, ..Terms::default() };
        let history = |reads_ahead: bool| {
            let mut world = World::new(&plan, Modelled, Recorder::new(&terms, HistoryMode::Full));
            let mut most = 0;
            while !world.is_at_rest()
                && let Some(at_us) = world.queue.next_us()
            {
                if reads_ahead {
                    most = most.max(world.queue.coming().len());
                    world.warm_up();
                }
                let Some(happening) = world.queue.pop() else { break };
                world.happen(at_us, happening);
            }
            (world.observer.history.digest(), most)
        };
        let ((plain, _), (warmed, most)) = (history(false), history(true));
        assert!(most >= MANY, "at most {most} events at once: nothing was read ahead");
        assert!(plain.is_some() && plain == warmed);
    }
}
