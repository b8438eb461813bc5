//! What became of operations over the time of a run: how many were asked, done, and not done, step by step.

use crate::history::{End, Event, What};

/// Steps of equal width, from the start of the run on.
#[derive(Clone, Debug)]
pub struct Timeline {
    step_us: u64,
    steps: Vec<Step>,
}

/// One step: critical operations, then all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Critical operations.
    pub critical: Flow,
    /// All other operations.
    pub normal: Flow,
}

/// Operations of one lane within one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Operations that the workload intended, handed over or not.
    pub asked: u64,
    /// Operations that were acknowledged.
    pub done: u64,
    /// Operations that could not be handed over, were refused, rejected or pushed out, failed, or missed their deadline.
    /// One that a newer value replaced is none of both.
    pub not_done: u64,
}

/// The width of a step at first, in microseconds; it doubles whenever there would be more than [`STEPS_MAX`].
const STEP_US: u64 = 100_000;
/// As many as a chart can show.
const STEPS_MAX: usize = 150;

impl Default for Timeline {
    fn default() -> Self {
        Self { step_us: STEP_US, steps: Vec::new() }
    }
}

impl Timeline {
    /// Takes one event.
    pub fn observe(&mut self, event: &Event) {
        let (critical, flow) = match &event.what {
            What::Asked { critical, .. } => (*critical, Flow { asked: 1, ..Flow::default() }),
            What::Unsent { critical, .. } => (*critical, Flow { asked: 1, done: 0, not_done: 1 }),
            What::Refused { critical, .. } => (*critical, Flow { not_done: 1, ..Flow::default() }),
            What::Finished { critical, end, .. } => match end {
                End::Done => (*critical, Flow { done: 1, ..Flow::default() }),
                End::Superseded => return,
                _ => (*critical, Flow { not_done: 1, ..Flow::default() }),
            },
            _ => return,
        };
        let step = self.step(event.at_us);
        let lane = if critical { &mut step.critical } else { &mut step.normal };
        lane.add(flow);
    }

    /// The steps, from the start on, up to the last in which anything happened.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The width of a step in microseconds.
    pub fn step_us(&self) -> u64 {
        self.step_us
    }

    fn step(&mut self, at_us: u64) -> &mut Step {
        while at_us / self.step_us >= STEPS_MAX as u64 {
            self.widen();
        }
        let place = (at_us / self.step_us) as usize;
        if self.steps.len() <= place {
            self.steps.resize(place + 1, Step::default());
        }
        &mut self.steps[place]
    }

    fn widen(&mut self) {
        self.step_us *= 2;
        let merged = self.steps.chunks(2).map(|pair| {
            let mut sum = pair[0];
            for step in &pair[1..] {
                sum.critical.add(step.critical);
                sum.normal.add(step.normal);
            }
            sum
        });
        self.steps = merged.collect();
    }
}

impl Flow {
    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.done += other.done;
        self.not_done += other.not_done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::OpRef;

    #[test]
    fn steps_widen_and_lose_nothing() {
        let mut timeline = Timeline::default();
        let asked = |second: u64| Event {
            at_us: second * 1_000_000,
            what: What::Unsent {
                op: OpRef { host: 0, ticket: second },
                critical: second.is_multiple_of(2),
                intended_us: second * 1_000_000,
            },
        };
        (0..100).for_each(|second| timeline.observe(&asked(second)));
        assert_eq!(timeline.step_us(), 800_000);
        assert!(timeline.steps().len() <= STEPS_MAX);
        let sum =
            |flow: fn(&Step) -> Flow| timeline.steps().iter().map(|step| flow(step).not_done).sum::<u64>();
        assert_eq!((sum(|step| step.critical), sum(|step| step.normal)), (50, 50));
    }
}
