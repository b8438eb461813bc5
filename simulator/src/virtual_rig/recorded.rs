//! Engines of the world whose calls may be written down.

use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use sync_core::engine::Engine;
use sync_core::host_sync::server::Server;
use sync_core::host_sync::session::Session;
use sync_core::host_sync::settings::{ServerSettings, SessionSettings};
use sync_core::recording::{DrawLog, EngineHeader, EngineKind, KeyMark, RecordedEntropy, Tap, Tape};
use sync_core::time::Now;

use super::host::account;
use super::variant::{Variant, WorldKeys};
use crate::draw::{Draws, SimEntropy};

/// A session of the world.
pub(super) type HostSession<V> =
    Session<<V as Variant>::HostCodec, RecordedEntropy<SimEntropy>, <V as Variant>::Policy>;
/// A main server of the world.
pub(super) type WorldServer<V> = Server<<V as Variant>::ServerCodec, RecordedEntropy<SimEntropy>>;

/// An engine, and its place in the recording if there is one.
pub(super) struct Recorded<N> {
    engine: N,
    tap: Option<Box<Tap>>,
}

impl<N: Engine<Input: Serialize, Effect: Serialize>> Recorded<N> {
    /// See [`Engine::handle`].
    pub(super) fn handle(&mut self, now: Now, input: N::Input, effects: &mut Vec<N::Effect>) {
        match &self.tap {
            None => self.engine.handle(now, input, effects),
            Some(tap) => tap.handle(&mut self.engine, now, input, effects),
        }
    }

    /// See [`Engine::wake`].
    pub(super) fn wake(&mut self, now: Now, effects: &mut Vec<N::Effect>) {
        match &self.tap {
            None => self.engine.wake(now, effects),
            Some(tap) => tap.wake(&mut self.engine, now, effects),
        }
    }
}

impl<N> Deref for Recorded<N> {
    type Target = N;

    fn deref(&self) -> &N {
        &self.engine
    }
}

/// One of the sessions of a host, by its life. What it is to others is one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The application's.
    Host(u32, u32),
    /// The one that follows critical updates.
    Subscriber(u32, u32),
}

/// One life of a session.
pub(super) fn session<V: Variant>(
    variant: &V,
    keys: &WorldKeys,
    settings: &Arc<SessionSettings>,
    draws: Draws,
    of: Of,
    tape: Option<&Tape>,
) -> Recorded<HostSession<V>> {
    let (host, life, node, prefix) = match of {
        Of::Host(host, life) => (host, life, u64::from(host) + 1, ""),
        // Far from the hosts' own, so that no two sessions draw alike.
        Of::Subscriber(host, life) => (host, life, (1 << 30) | (u64::from(host) + 1), "subscriber of "),
    };
    let (account, log) = (account(host), tape.map(|_| DrawLog::default()));
    let entropy = SimEntropy::new(draws, node, life);
    let engine = Session::new(
        account,
        Arc::clone(settings),
        variant.host_codec(keys, account),
        RecordedEntropy::new(entropy, log.clone()),
        variant.policy(),
    );
    let made_of = || EngineHeader {
        name: format!("{prefix}host {host}, life {life}"),
        kind: EngineKind::Session { account, settings: SessionSettings::clone(settings) },
        keys: if V::SEALED { KeyMark::host(&keys.host(account)) } else { Vec::new() },
    };
    Recorded { engine, tap: tap(tape, log, made_of) }
}

/// One life of the main server.
pub(super) fn server<V: Variant>(
    variant: &V,
    keys: &WorldKeys,
    settings: &Arc<ServerSettings>,
    draws: Draws,
    life: u32,
    tape: Option<&Tape>,
) -> Recorded<WorldServer<V>> {
    let log = tape.map(|_| DrawLog::default());
    let entropy = RecordedEntropy::new(SimEntropy::new(draws, 0, life), log.clone());
    let engine = Server::new(Arc::clone(settings), variant.server_codec(keys), entropy);
    let made_of = || EngineHeader {
        name: format!("main server, life {life}"),
        kind: EngineKind::Server { shard: 0, settings: ServerSettings::clone(settings) },
        keys: if V::SEALED { KeyMark::server(&keys.server()) } else { Vec::new() },
    };
    Recorded { engine, tap: tap(tape, log, made_of) }
}

fn tap(
    tape: Option<&Tape>,
    log: Option<DrawLog>,
    made_of: impl FnOnce() -> EngineHeader,
) -> Option<Box<Tap>> {
    Some(Box::new(tape?.tap(&made_of(), log?)))
}
