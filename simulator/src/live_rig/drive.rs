//! Drives a world whose main server lies outside, in real time.
//!
//! One thread owns the world: it is the mailbox of every session, so an input gets its moment when it is
//! taken out, and arrivals stay open-loop however slow the answers are. Requests and orders go to
//! whoever carries them; what comes back arrives over one channel.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use sync_core::host_sync::operation::TransportError;
use sync_core::host_sync::sealed::Body;
use sync_core::time::Span;

use super::watch::{Seen, Watcher};
use crate::virtual_rig::outside::{Order, Outgoing};
use crate::virtual_rig::variant::Variant;
use crate::virtual_rig::world::World;

/// What reaches a world from outside.
#[derive(Debug)]
pub(super) enum Arrival {
    /// An exchange was answered, or failed.
    Answer {
        /// From [`Outgoing`].
        exchange: usize,
        /// The reply's body.
        answer: Result<Body, (TransportError, Option<Span>)>,
    },
    /// A server is up again.
    Restarted(String),
    /// A main server uses the keys that it was told last, or will when it starts.
    KeysTaken,
    /// What the database has come to hold.
    Seen(Vec<Seen>),
    /// The run cannot go on, or was asked to stop.
    Stop(String),
}

/// Carries what leaves a world.
pub(super) trait Carrier {
    /// Carries one request, with one operation or a batch, to a main server; an answer to each operation comes back
    /// as [`Arrival::Answer`], always.
    fn carry(&mut self, batch: Vec<Outgoing<Body>>);
    /// Carries an order out.
    fn order(&mut self, order: Order);
}

/// Runs a world to its end.
///
/// # Errors
/// Why it was stopped before.
pub(super) fn drive<V>(
    world: &mut World<V, Watcher>,
    carrier: &mut impl Carrier,
    arrivals: &Receiver<Arrival>,
    start: Instant,
) -> Result<(), String>
where
    V: Variant<Request = Body, Reply = Body>,
{
    loop {
        world.advance(elapsed_us(start));
        world.take_orders().into_iter().for_each(|order| carrier.order(order));
        batches(world.take_outgoing()).into_iter().for_each(|batch| carrier.carry(batch));
        if world.is_over() {
            return Ok(());
        }
        let wait_us = world.next_us().map_or(IDLE_US, |due| due.saturating_sub(elapsed_us(start)));
        let mut next = match arrivals.recv_timeout(Duration::from_micros(wait_us.min(IDLE_US))) {
            Ok(arrival) => Some(arrival),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err("nobody carries answers any more".to_owned()),
        };
        // What came in meanwhile is taken before the world is asked again what leaves it; not without
        // bound, or arrivals would wait.
        let mut taken = 0;
        while let Some(arrival) = next {
            world.advance(elapsed_us(start));
            match arrival {
                Arrival::Answer { exchange, answer } => world.answered(exchange, answer),
                Arrival::Restarted(node) => world.restarted(&node),
                Arrival::KeysTaken => world.keys_taken(),
                Arrival::Seen(seen) => super::watch::show(world, seen),
                Arrival::Stop(why) => return Err(why),
            }
            taken += 1;
            next = if taken < TAKEN_AT_ONCE { arrivals.try_recv().ok() } else { None };
        }
    }
}

/// Puts together again what left a host in one request: as far as it still lies side by side.
fn batches(outgoing: Vec<Outgoing<Body>>) -> Vec<Vec<Outgoing<Body>>> {
    let mut batches: Vec<Vec<Outgoing<Body>>> = Vec::with_capacity(outgoing.len());
    for one in outgoing {
        match batches.last_mut() {
            Some(batch) if one.joins && batch.last().is_some_and(|last| last.server == one.server) => {
                batch.push(one);
            }
            _ => batches.push(vec![one]),
        }
    }
    batches
}

fn elapsed_us(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// How long the thread sleeps at the most.
const IDLE_US: u64 = 50_000;
/// Answers taken before requests leave again.
const TAKEN_AT_ONCE: usize = 64;
