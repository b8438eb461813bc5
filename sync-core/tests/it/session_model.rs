//! Random lives of a session, each step judged by the ledger of `support/ledger.rs`.
//!
//! A failure prints the shortest life that shows it; `PROPTEST_RNG_SEED=<seed> cargo test -p sync-core
//! --test it session_model` runs the lives of one seed again, `PROPTEST_CASES` asks for more than 512 of them.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use sync_core::data_type::{SyncDataType, TypeSet};
use sync_core::engine::Engine;
use sync_core::host_sync::operation::{Ask, TransportError};
use sync_core::host_sync::policy::Standard;
use sync_core::host_sync::results::Status;
use sync_core::host_sync::session::{Session, SessionInput};
use sync_core::host_sync::settings::SessionSettings;
use sync_core::time::{Now, Span};
use sync_core::wire::{ErrorCode, Kind, Rejection, Reply};

use crate::support::host::{ACCOUNT, Answer, wake};
use crate::support::ledger::{Cause, Ledger, Stage};
use crate::support::{Draws, Plain, PlainReply, at_us, map};

/// How a stretch of time passes.
#[derive(Clone, Copy, Debug)]
enum Driver {
    /// The session is woken at each moment it asks for.
    Punctual,
    /// It is woken once, at the end.
    Late,
    /// It is not woken.
    Asleep,
}

#[derive(Clone, Debug)]
enum Step {
    Ask {
        map: &'static str,
        data_type: SyncDataType,
        kind: Kind,
        critical: bool,
        priority: bool,
    },
    /// An answer to any attempt that was ever made: the latest, an old one, one answered before.
    Answer {
        attempt: Index,
        answer: Answer,
    },
    Pass {
        us: u64,
        driver: Driver,
    },
    ShutDown {
        drain_ms: u64,
    },
}

/// What the choice of the next step depends on.
#[derive(Clone, Debug)]
struct Life {
    settings: SessionSettings,
    asked: u64,
    shut_down: bool,
}

struct Lives;

impl ReferenceStateMachine for Lives {
    type State = Life;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Life> {
        let sizes = (1usize..6, 1usize..4, 0usize..3, 1u32..4, 0usize..8, 1usize..4);
        let times = (prop_oneof![Just(40u64), Just(500)], prop_oneof![Just(1u64), Just(3_600)]);
        (sizes, times, any::<bool>())
            .prop_map(|(sizes, times, types)| {
                let (queue_max, workers, critical_slots, attempts_max, results_kept, batch_max) = sizes;
                let critical_types: TypeSet = types.then_some(SyncDataType::MapState).into_iter().collect();
                let (critical_timeout, result_retention) = (Span::from_ms(times.0), Span::from_secs(times.1));
                let settings = SessionSettings {
                    critical_timeout,
                    critical_types,
                    queue_max,
                    workers,
                    critical_slots,
                    batch_max,
                    request_timeout: Span::from_secs(1),
                    attempts_max,
                    results_kept,
                    result_retention,
                };
                Life { settings, asked: 0, shut_down: false }
            })
            .boxed()
    }

    fn transitions(life: &Life) -> BoxedStrategy<Step> {
        let (asks, ends) = if life.shut_down { (1, 1) } else { (12, 1) };
        let answers = if life.asked > 0 { 8 } else { 0 };
        prop_oneof![asks => ask(), answers => answer(), 6 => pass(), ends => shut_down()].boxed()
    }

    fn apply(mut life: Life, step: &Step) -> Life {
        life.asked += u64::from(matches!(step, Step::Ask { .. }));
        life.shut_down |= matches!(step, Step::ShutDown { .. });
        life
    }
}

fn ask() -> BoxedStrategy<Step> {
    let types = [SyncDataType::PlayerData, SyncDataType::MapState, SyncDataType::ChatMessage];
    let kinds = prop_oneof![4 => Just(Kind::SyncTo), 1 => Just(Kind::SyncFrom)];
    (prop::sample::select(vec!["a", "b"]), prop::sample::select(types.to_vec()), kinds, 0u8..6)
        .prop_map(|(map, data_type, kind, lane)| {
            let (critical, priority) = (lane == 0, lane == 1 || lane == 2);
            Step::Ask { map, data_type, kind, critical, priority }
        })
        .boxed()
}

fn answer() -> BoxedStrategy<Step> {
    let answer = prop_oneof![
        6 => Just(Answer::Done),
        1 => Just(Answer::Rejected(ErrorCode::MalformedData)),
        1 => Just(Answer::Rejected(ErrorCode::OutOfOrder)),
        1 => Just(Answer::Untrusted),
        2 => Just(Answer::Error(TransportError::Unreachable)),
        1 => Just(Answer::Error(TransportError::Status(413))),
        2 => (0u64..400).prop_map(|ms| Answer::Busy(429, ms)),
    ];
    (any::<Index>(), answer).prop_map(|(attempt, answer)| Step::Answer { attempt, answer }).boxed()
}

fn pass() -> BoxedStrategy<Step> {
    let us = prop_oneof![Just(0u64), 0u64..30_000, 0u64..300_000, 0u64..2_000_000];
    let drivers = vec![Driver::Punctual, Driver::Punctual, Driver::Late, Driver::Asleep];
    (us, prop::sample::select(drivers)).prop_map(|(us, driver)| Step::Pass { us, driver }).boxed()
}

fn shut_down() -> BoxedStrategy<Step> {
    prop_oneof![Just(0u64), 0u64..3_000].prop_map(|drain_ms| Step::ShutDown { drain_ms }).boxed()
}

/// A session and the ledger that judges it.
struct Judged {
    session: Session<Plain, Draws, Standard>,
    ledger: Ledger,
    settings: SessionSettings,
    now_us: u64,
}

impl Judged {
    fn now(&self) -> Now {
        at_us(self.now_us)
    }

    fn handle(&mut self, input: SessionInput<PlainReply>, cause: &Cause) {
        let mut effects = Vec::new();
        self.session.handle(self.now(), input, &mut effects);
        self.ledger.judge(self.now(), cause, &effects);
    }

    fn wake(&mut self) {
        let (now, mut effects) = (self.now(), Vec::new());
        wake(&mut self.session, now, &mut effects);
        self.ledger.judge(now, &Cause::Time, &effects);
    }

    fn wake_until(&mut self, until_us: u64) {
        while let Some(due) = self.session.next_wakeup().filter(|due| due.as_us() <= until_us) {
            self.now_us = self.now_us.max(due.as_us());
            self.wake();
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.handle(SessionInput::Ask(ask.clone()), &Cause::Asked(ask));
    }

    fn answer(&mut self, attempt: &Index, answer: Answer) {
        if self.ledger.attempts.is_empty() {
            return;
        }
        let (ticket, number, token, sealed) = attempt.get(&self.ledger.attempts).clone();
        let request = &sealed.request;
        let reply = |result, trusted| {
            let reply = Reply { operation: request.operation, server_time: self.now().wall, result };
            Ok(PlainReply { reply, critical: request.critical, iv: sealed.iv, trusted })
        };
        let (answered, pause) = match &answer {
            Answer::Rejected(code) => {
                (reply(Err(Rejection { code: *code, message: "".into() }), true), Span::ZERO)
            }
            Answer::Error(error) => (Err(*error), Span::ZERO),
            Answer::Busy(status, ms) => (Err(TransportError::Status(*status)), Span::from_ms(*ms)),
            other => (reply(Ok(None), !matches!(other, Answer::Untrusted)), Span::ZERO),
        };
        let input = SessionInput::Answered { token, answer: answered, retry_after: Some(pause) };
        self.handle(input, &Cause::Answered { ticket, attempt: number, answer, retry_after: pause });
    }

    fn shut_down(&mut self, drain: Span) {
        self.handle(SessionInput::ShutDown { drain }, &Cause::ShutDown(drain));
    }
}

impl StateMachineTest for Lives {
    type SystemUnderTest = Judged;
    type Reference = Self;

    fn init_test(life: &Life) -> Judged {
        let settings = life.settings.clone();
        Judged {
            session: Session::new(ACCOUNT, Arc::new(settings.clone()), Plain, Draws::default(), Standard),
            ledger: Ledger::new(settings.clone()),
            settings,
            now_us: 0,
        }
    }

    fn apply(mut judged: Judged, life: &Life, step: Step) -> Judged {
        match step {
            Step::Ask { map: name, data_type, kind, critical, priority } => {
                let (ticket, map, data) = (life.asked, map(name), "1".into());
                judged.ask(Ask { ticket, kind, data_type, map, data, critical, priority });
            }
            Step::Answer { attempt, answer } => judged.answer(&attempt, answer),
            Step::Pass { us, driver } => {
                let until_us = judged.now_us + us;
                if matches!(driver, Driver::Punctual) {
                    judged.wake_until(until_us);
                }
                judged.now_us = until_us;
                if matches!(driver, Driver::Late) {
                    judged.wake();
                }
            }
            Step::ShutDown { drain_ms } => judged.shut_down(Span::from_ms(drain_ms)),
        }
        judged
    }

    fn check_invariants(judged: &Judged, life: &Life) {
        let Judged { session, ledger, settings, .. } = judged;
        let counters = session.counters();
        assert_eq!(counters.accepted + counters.refused, life.asked);
        assert_eq!(session.waiting(), ledger.waiting().count());
        assert_eq!(session.under_way(), ledger.under_way().count());
        assert!(session.waiting() <= settings.queue_max);
        assert!(session.under_way() <= settings.workers * settings.batch_max + settings.critical_slots);
        let alive = session.waiting() + session.under_way() > 0;
        assert_eq!(session.next_wakeup().is_some(), alive, "a wake-up is due as long as something lives");
        for (ticket, op) in &ledger.ops {
            let status = session.status(op.id);
            match &op.stage {
                Stage::Waiting | Stage::UnderWay { .. } => assert_eq!(status, Status::Pending),
                // Forgetting waits for the next input or wake-up.
                Stage::Ended { outcome, .. } if ledger.remembers(*ticket, judged.now().monotonic) => {
                    assert_eq!(status, Status::Done(outcome));
                }
                Stage::Ended { outcome, .. } => {
                    assert!(status == Status::Expired || status == Status::Done(outcome));
                }
            }
        }
    }

    /// Left alone, everything ends by itself; then the session stops.
    fn teardown(mut judged: Judged, life: Life) {
        judged.wake_until(judged.now_us + 60_000_000);
        assert_eq!(judged.session.next_wakeup(), None, "everything ends without an answer");
        if !judged.ledger.stopped {
            judged.shut_down(Span::from_secs(1));
        }
        assert!(judged.ledger.stopped);
        let counters = judged.session.counters();
        assert_eq!(counters.finished, counters.accepted);
        assert_eq!(counters.accepted, judged.ledger.ops.len() as u64);
        assert!(counters.accepted <= life.asked);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(512), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_step_is_one_the_ledger_allows(sequential 1..120 => Lives);
}
