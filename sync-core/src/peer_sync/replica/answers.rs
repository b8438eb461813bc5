//! Answering what peers ask.

use super::apply::{Applied, Apply};
use super::pending::{Answering, Reading};
use super::{Activity, Pending, Replica, ReplicaEffect, ReplicaPolicy};
use crate::entropy::Entropy;
use crate::id::{Incarnation, Token};
use crate::limits;
use crate::peer_sync::announcement::{HostName, PeerAddress};
use crate::peer_sync::discovery::{self, Denied, Source};
use crate::peer_sync::events::ReplicaEvent;
use crate::peer_sync::message::{Asker, Hello, PeerAnswer, PeerQuestion, Refusal};
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::store::{Page, PeerReply, PeerRequest, ReadFeed};
use crate::time::Now;

impl<E: Entropy, P: ReplicaPolicy> Replica<E, P> {
    /// A peer asks.
    pub(super) fn question(
        &mut self,
        now: Now,
        exchange: Token,
        from: &HostName,
        asker: Asker,
        question: PeerQuestion,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        if self.activity != Activity::Active {
            return self.answer_busy(exchange, fx);
        }
        if !matches!(question, PeerQuestion::Hello(_)) {
            let rules = discovery::Rules { policy: &self.policy, settings: &self.settings, draw: 0 };
            match self.discovery.admit(now, &asker, &rules) {
                Ok(()) => {}
                Err(Denied::Refused(refusal)) => {
                    return self.answer(exchange, PeerAnswer::Refused(refusal), fx);
                }
                Err(Denied::Later) => return self.answer_busy(exchange, fx),
            }
        }
        let asker = asker.node;
        match question {
            PeerQuestion::Hello(hello) => self.answer_hello(now, exchange, from, hello, fx),
            PeerQuestion::Notify(notice) if notice.source == asker => {
                fx.push(ReplicaEffect::Event(ReplicaEvent::ChangeNotificationReceived {
                    source_peer: notice.source.clone(),
                    tables: notice.tables.clone(),
                }));
                self.noticed(now, notice);
                self.answer(exchange, PeerAnswer::Noted, fx);
            }
            _ if self.answering >= self.settings.answers_max => self.answer_busy(exchange, fx),
            PeerQuestion::Pull { since, frontier, rows_max, refused } => {
                let reader = asker;
                self.remember(&reader);
                let known = self.peers.get_mut(&reader).map(|state| {
                    state.has.clone_from(&frontier);
                    if let Some((given, at)) = &state.given
                        && since.as_ref() == Some(given)
                    {
                        state.has_until = state.has_until.max(*at);
                    }
                    !refused && state.passed == since
                });
                let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX);
                let passed = since.clone().filter(|_| known != Some(true));
                let read = ReadFeed {
                    since: self.policy.reads_from(since),
                    frontier: self.policy.omits(frontier),
                    rows_max: rows_max.clamp(1, self.settings.page_rows_max.max(1)),
                    bytes_max: self.settings.page_bytes_max,
                };
                let reading = Reading { exchange, reader, read, refused };
                self.answering += 1;
                match passed {
                    // First of all it says what it has: perhaps more than there is here.
                    Some(position) => {
                        let peer = reading.reader.clone();
                        let request = PeerRequest::Passed { peer, position, refused };
                        self.store(request, Pending::Answer(Answering::Passed(reading)), fx);
                    }
                    None => self.read(reading, fx),
                }
            }
            PeerQuestion::Digests(parts) if parts.len() <= limits::DIGEST_PARTS_MAX => {
                self.answering += 1;
                self.store(PeerRequest::Digests(parts), Pending::Answer(Answering::Digests(exchange)), fx);
            }
            PeerQuestion::Entries(parts) if parts.len() <= limits::DIGEST_PARTS_MAX => {
                self.answering += 1;
                self.store(PeerRequest::Entries(parts), Pending::Answer(Answering::Entries(exchange)), fx);
            }
            PeerQuestion::Rows(rows) if rows.len() <= limits::REPAIR_ROWS_MAX => {
                self.answering += 1;
                let request = PeerRequest::FetchVersions(rows.clone());
                self.store(request, Pending::Answer(Answering::Rows(exchange, rows)), fx);
            }
            PeerQuestion::Push(rows) if rows.len() <= limits::PUSH_ROWS_MAX => {
                self.answering += 1;
                let mut apply = Box::new(Apply::new(asker, rows, None));
                let request = apply.begin(self.rules());
                self.store(request, Pending::Answer(Answering::Push(exchange, apply)), fx);
            }
            // More than anybody has reason to ask at once.
            _ => self.answer_busy(exchange, fx),
        }
    }

    fn answer(&mut self, exchange: Token, answer: PeerAnswer, fx: &mut Vec<ReplicaEffect>) {
        self.statistics.questions_answered += 1;
        fx.push(ReplicaEffect::Answer { exchange, answer });
    }

    fn answer_busy(&mut self, exchange: Token, fx: &mut Vec<ReplicaEffect>) {
        self.statistics.questions_busy += 1;
        fx.push(ReplicaEffect::Answer { exchange, answer: PeerAnswer::Busy });
    }

    fn answer_hello(
        &mut self,
        now: Now,
        exchange: Token,
        from: &HostName,
        hello: Hello,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let Some(own) = self.hello() else { return self.answer_busy(exchange, fx) };
        let rules = discovery::Rules { policy: &self.policy, settings: &self.settings, draw: 0 };
        if let Err(refusal) = self.discovery.judge(&hello, &rules) {
            if refusal == Refusal::SameNode {
                let address = PeerAddress { host: from.clone(), port: hello.api_port };
                fx.push(ReplicaEffect::Event(ReplicaEvent::NodeIdTwice { node: hello.node, address }));
            }
            return self.answer(exchange, PeerAnswer::Refused(refusal), fx);
        }
        if hello.instance != self.instance {
            // Whoever asks is there; who it is shows when it is asked itself.
            let address = PeerAddress { host: from.clone(), port: hello.api_port };
            self.discovery.greeted(now, &address, &hello);
            self.learn(now, address, Source::Heard);
        }
        self.answer(exchange, PeerAnswer::Hello(own), fx);
    }

    fn read(&mut self, reading: Reading, fx: &mut Vec<ReplicaEffect>) {
        let request = PeerRequest::Feed(reading.read.clone());
        self.store(request, Pending::Answer(Answering::Page(reading)), fx);
    }

    /// The database replied to a request for somebody's question.
    pub(super) fn answer_stored(
        &mut self,
        now: Now,
        answering: Answering,
        reply: PeerReply,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let (exchange, answer) = match (answering, reply) {
            (Answering::Passed(reading), PeerReply::Noted { ahead }) => {
                if ahead && self.policy.renews() {
                    return self.renew(Some(reading), fx);
                }
                if !ahead
                    && !reading.refused
                    && let Some(state) = self.peers.get_mut(&reading.reader)
                {
                    state.passed.clone_from(&reading.read.since);
                }
                return self.read(reading, fx);
            }
            (Answering::Page(reading), PeerReply::Page(mut page)) => {
                self.policy.gives(&self.node, &mut page);
                self.given(now, &reading, &page);
                (reading.exchange, PeerAnswer::Page(page))
            }
            (Answering::Page(reading), PeerReply::MustReconcile(position)) => {
                (reading.exchange, PeerAnswer::MustReconcile(position))
            }
            (Answering::Digests(exchange), PeerReply::Digests(digests)) => {
                (exchange, PeerAnswer::Digests(digests))
            }
            (Answering::Entries(exchange), PeerReply::Entries(entries)) => {
                (exchange, PeerAnswer::Entries(entries))
            }
            (Answering::Rows(exchange, asked), PeerReply::Versions(versions)) => {
                (exchange, PeerAnswer::Rows(self.bounded(&asked, versions)))
            }
            (Answering::Push(exchange, mut apply), reply) => match apply.stored(self.rules(), reply) {
                Applied::Next(request) => {
                    return self.store(request, Pending::Answer(Answering::Push(exchange, apply)), fx);
                }
                Applied::Done(merged) => {
                    self.outcomes(now, &apply, &merged, fx);
                    (exchange, PeerAnswer::Pushed(merged.outcomes))
                }
                Applied::Failed(_) => (exchange, PeerAnswer::Busy),
            },
            (Answering::Passed(reading) | Answering::Page(reading), _) => {
                (reading.exchange, PeerAnswer::Busy)
            }
            (
                Answering::Digests(exchange) | Answering::Entries(exchange) | Answering::Rows(exchange, _),
                _,
            ) => (exchange, PeerAnswer::Busy),
        };
        self.answering -= 1;
        match answer {
            PeerAnswer::Busy => self.answer_busy(exchange, fx),
            answer => self.answer(exchange, answer, fx),
        }
    }

    fn given(&mut self, now: Now, reading: &Reading, page: &Page) {
        self.statistics.pages_sent += 1;
        self.statistics.rows_sent += page.rows.len() as u64;
        self.statistics.rows_omitted += page.omitted;
        if page.frontier.is_some()
            && let Some(state) = self.peers.get_mut(&reading.reader)
        {
            state.given = Some((page.position.clone(), now.wall));
        }
    }

    /// Rows that were found, in the order of the question, as many as a page may have bytes; at least one.
    fn bounded(&self, asked: &[RowId], versions: Vec<Option<RowVersion>>) -> Vec<RowVersion> {
        let mut bytes = 0;
        let found = asked.iter().zip(versions).filter_map(|(_, version)| version);
        found
            .take_while(|row| {
                let fits = bytes == 0 || bytes + row.bytes() <= self.settings.page_bytes_max;
                bytes += row.bytes();
                fits
            })
            .collect()
    }

    /// Begins a new life of the database; a question may wait for it.
    pub(super) fn renew(&mut self, read: Option<Reading>, fx: &mut Vec<ReplicaEffect>) {
        let under_way = |pending: &Pending| matches!(pending, Pending::Renew { read: None, .. });
        if read.is_none() && self.pending.values().any(under_way) {
            return;
        }
        let incarnation = self.next_incarnation();
        self.store(PeerRequest::Renew(incarnation), Pending::Renew { incarnation, read }, fx);
    }

    /// A new life of the database has begun, or not.
    pub(super) fn renewed(
        &mut self,
        now: Now,
        incarnation: Incarnation,
        read: Option<Reading>,
        reply: PeerReply,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        if reply == PeerReply::Renewed {
            self.incarnation = Some(incarnation);
            fx.push(ReplicaEffect::Event(ReplicaEvent::SetBack { incarnation }));
            // Peers have what is missing here.
            for state in self.peers.values_mut() {
                state.passed = None;
                state.compare_at = now.monotonic;
                state.must_compare = true;
                state.want(now.monotonic, None);
            }
        } else if read.is_none() {
            self.store(PeerRequest::Renew(incarnation), Pending::Renew { incarnation, read: None }, fx);
        }
        if let Some(reading) = read {
            self.read(reading, fx);
        }
    }
}
