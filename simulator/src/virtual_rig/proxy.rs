//! The sync proxy of the world: a node between the hosts and the main servers that forwards what it cannot read.
//!
//! Hosts have connections to it alone. That a main server is down they learn as a bare 502, that the proxy is down
//! as a broken connection. What is on its way between proxy and main server when the proxy dies is lost, and the
//! hosts' time-outs find out.

use sync_core::host_sync::operation::TransportError;
use sync_core::time::Span;

use super::host::Route;
use super::variant::Variant;
use super::world::{Happening, Observer, World};
use crate::distribution::Sampler;
use crate::draw::{Draws, Label};
use crate::history::{Tampering, Way, What};
use crate::scenario::model::SyncProxy;

/// The sync proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    draws: Draws,
    latency: Sampler,
    up: bool,
    life: u32,
}

/// What a main server gives the proxy for a host.
pub(super) enum Back<V: Variant> {
    /// A frame.
    Reply { blurred: bool, reply: V::Reply },
    /// None.
    Failure { error: TransportError, retry_after: Option<Span> },
}

impl Proxy {
    pub(super) fn new(draws: Draws, settings: &SyncProxy) -> Self {
        Self { draws, latency: Sampler::new(&settings.latency), up: true, life: 0 }
    }

    fn delay_us(&self, route: &Route, way: Way) -> u64 {
        let (entity, ordinal) = route.message(way).key();
        self.latency.at(self.draws.bits(Label::ProxyLatency, entity, ordinal))
    }
}

impl<V: Variant, O: Observer> World<V, O> {
    /// A request has left its host's link.
    pub(super) fn arrive_at_server_side(
        &mut self,
        route: Route,
        tampering: Option<Tampering>,
        request: V::Request,
    ) {
        match &self.proxy {
            None => self.request(route, tampering, request),
            Some(Proxy { up: false, .. }) => {
                if tampering != Some(Tampering::Replayed) {
                    self.break_connection(route);
                }
            }
            Some(proxy) => {
                let (life, at_us) = (proxy.life, self.queue.now_us() + proxy.delay_us(&route, Way::ToServer));
                self.queue.schedule(at_us, Happening::Forwarded { route, life, tampering, request });
            }
        }
    }

    /// A request that the proxy has forwarded arrives, unless its connection is gone.
    pub(super) fn forwarded(
        &mut self,
        route: Route,
        life: u32,
        tampering: Option<Tampering>,
        request: V::Request,
    ) {
        if self.proxy.as_ref().is_some_and(|proxy| proxy.life == life) {
            self.request(route, tampering, request);
        }
    }

    /// Sends what a main server has for a host on its way, by the proxy if there is one.
    pub(super) fn send_back(&mut self, route: Route, back: Back<V>) {
        match &self.proxy {
            None => self.send_over_link(route, back),
            Some(proxy) => {
                let (life, at_us) = (proxy.life, self.queue.now_us() + proxy.delay_us(&route, Way::ToHost));
                self.queue.schedule(at_us, Happening::Back { route, life, back });
            }
        }
    }

    /// What a main server had for a host has come to the proxy.
    pub(super) fn back_at_proxy(&mut self, route: Route, life: u32, back: Back<V>) {
        if self.proxy.as_ref().is_none_or(|proxy| proxy.life != life) {
            return;
        }
        let back = match back {
            // Why there is no answer is nobody's business.
            Back::Failure { error: TransportError::Unreachable, .. } => {
                Back::Failure { error: TransportError::Status(502), retry_after: None }
            }
            back => back,
        };
        self.send_over_link(route, back);
    }

    /// The proxy dies, and with it every connection of a host.
    pub(super) fn crash_proxy(&mut self) {
        let Some(proxy) = self.proxy.as_mut().filter(|proxy| proxy.up) else { return };
        proxy.up = false;
        proxy.life += 1;
        self.observe(What::Crashed { node: "sync proxy".to_owned() });
        let broken: Vec<_> = self.servers.iter_mut().flat_map(|server| server.answer_nobody()).collect();
        broken.into_iter().for_each(|route| self.break_connection(route));
    }

    /// The proxy comes back; it has nothing to remember.
    pub(super) fn restart_proxy(&mut self) {
        if let Some(proxy) = self.proxy.as_mut().filter(|proxy| !proxy.up) {
            proxy.up = true;
            self.observe(What::Restarted { node: "sync proxy".to_owned() });
        }
    }

    fn break_connection(&mut self, route: Route) {
        let (error, retry_after) = (TransportError::Unreachable, None);
        self.send_over_link(route, Back::Failure { error, retry_after });
    }
}
