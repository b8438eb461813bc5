//! What a main server answers, on its way to a host.

use sync_core::host_sync::operation::TransportError;
use sync_core::host_sync::server::{RETRY_AFTER, Status};
use sync_core::id::Token;
use sync_core::time::Span;

use super::Exchange;
use crate::history::{Judgement, OpRef, Tampering, Way, What};
use crate::virtual_rig::host::Route;
use crate::virtual_rig::network::Delivery;
use crate::virtual_rig::proxy::Back;
use crate::virtual_rig::variant::{Message, Variant};
use crate::virtual_rig::world::{Answer, Happening, Observer, World};

impl<V: Variant, O: Observer> World<V, O> {
    pub(super) fn reply(&mut self, at: usize, token: Token, reply: Result<V::Reply, Status>) {
        if let Some(exchange) = self.servers[at].exchanges.try_remove(token.0 as usize) {
            self.reply_to(exchange, reply);
        }
    }

    /// Sends an answer on its way back.
    pub(in crate::virtual_rig) fn reply_to(&mut self, exchange: Exchange, reply: Result<V::Reply, Status>) {
        let Exchange { route, tampering, blurred, for_stranger } = exchange;
        match reply {
            Ok(reply) if for_stranger => {
                self.observe_sealed(Way::ToHost, route.op(), &reply);
                self.bytes_sent += reply.bytes();
                if tampering.is_some() {
                    // Answered at once, so not acted on; what a server outside does cannot be seen.
                    let judgement = match &self.outside {
                        None => Judgement::Refused("a sealed rejection".to_owned()),
                        Some(_) => Judgement::Ignored,
                    };
                    self.observe_judged(Way::ToServer, route, judgement, tampering);
                }
            }
            Ok(reply) => {
                if tampering.is_some() {
                    self.observe_judged(Way::ToServer, route, Judgement::Accepted, tampering);
                }
                self.observe_sealed(Way::ToHost, route.op(), &reply);
                self.search_message("reply", route.op(), &reply);
                self.send_back(route, Back::Reply { blurred, reply });
            }
            Err(status) => {
                self.key_watch.turned_away(status);
                let refused = matches!(status, Status::Refused | Status::TooLarge);
                let excused = blurred || self.arrives_under_unused_key();
                if refused && (tampering.is_some() || !excused) {
                    let judgement = Judgement::Refused(format!("HTTP {}", status.code()));
                    self.observe_judged(Way::ToServer, route, judgement, tampering);
                }
                let retry_after = (status == Status::Overloaded).then_some(RETRY_AFTER);
                let error = TransportError::Status(status.code());
                self.fail_attempt(exchange, Back::Failure { error, retry_after });
            }
        }
    }

    /// Sends an answer over its host's link.
    pub(in crate::virtual_rig) fn send_over_link(&mut self, route: Route, back: Back<V>) {
        match back {
            Back::Reply { blurred, reply } => self.send_reply(route, blurred, reply),
            Back::Failure { error, retry_after } => {
                if let Some(after_us) = self.network.bare_delay_us(route.message(Way::ToHost)) {
                    let answer = Answer::Failure { error, retry_after };
                    self.queue.schedule(self.queue.now_us() + after_us, Happening::ToHost { route, answer });
                }
            }
        }
    }

    fn send_reply(&mut self, route: Route, blurred: bool, reply: V::Reply) {
        let now_us = self.queue.now_us();
        self.bytes_sent += reply.bytes();
        let id = route.message(Way::ToHost);
        let replay = if self.network.replays() { self.network.replay(id, &reply) } else { None };
        let earlier = self.earlier_replies.as_ref().and_then(|earlier| earlier.get(&route.host));
        let other = earlier.filter(|(ticket, _)| *ticket != route.ticket).map(|(_, reply)| reply);
        let remembered = self.earlier_replies.is_some().then(|| reply.clone());
        let (first, second) = self.network.send(id, reply, other);
        if let (Some(earlier), Some(reply)) = (&mut self.earlier_replies, remembered) {
            earlier.insert(route.host, (route.ticket, reply));
        }
        for delivery in [first, second, replay].into_iter().flatten() {
            let Delivery { after_us, tampering, message: reply, .. } = delivery;
            let answer = Answer::Frame { tampering, blurred, reply };
            self.queue.schedule(now_us + after_us, Happening::ToHost { route, answer });
        }
    }

    pub(super) fn refuse_connection(&mut self, exchange: Exchange) {
        self.fail_attempt(exchange, Back::Failure { error: TransportError::Unreachable, retry_after: None });
    }

    /// An exchange failed without an answer of the server's own.
    pub(in crate::virtual_rig) fn fail_exchange(
        &mut self,
        exchange: Exchange,
        error: TransportError,
        retry_after: Option<Span>,
    ) {
        self.fail_attempt(exchange, Back::Failure { error, retry_after });
    }

    fn fail_attempt(&mut self, exchange: Exchange, failure: Back<V>) {
        if let Exchange { route, for_stranger: false, .. } = exchange {
            self.send_back(route, failure);
        }
    }

    pub(in crate::virtual_rig) fn observe_judged(
        &mut self,
        way: Way,
        route: Route,
        judgement: Judgement,
        tampering: Option<Tampering>,
    ) {
        let op = OpRef { host: route.host, ticket: route.ticket };
        let replayed = tampering == Some(Tampering::Replayed);
        let replayed_after_us = replayed.then(|| self.network.replay_after_us(way));
        self.observe(What::Judged { way, op, tampering, replayed_after_us, judgement });
    }
}
