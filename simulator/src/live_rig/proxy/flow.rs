//! One direction of a connection: a reader that stamps bytes with the moment they are due, a bounded queue,
//! and a writer that lets them out as the rule of the moment says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::Flow;
use super::link::{Counts, Keys, State};
use crate::distribution::Sampler;
use crate::draw::Label;

/// A flow, prepared.
#[derive(Debug, Default)]
pub(super) struct Rule {
    flow: Flow,
    latency: Option<Sampler>,
}

/// The connection is to be reset: a side broke, or its stream has a hole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken;

/// What one direction is, and whom it tells.
pub(super) struct Direction<'a> {
    pub(super) watch: watch::Receiver<State>,
    pub(super) keys: Keys,
    pub(super) counts: &'a Counts,
    pub(super) is_to_client: bool,
}

/// Bytes, or with none the stream's end.
struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
    _room: Option<OwnedSemaphorePermit>,
}

struct Writer<'a> {
    sink: WriteHalf<'a>,
    direction: Direction<'a>,
    /// Bytes before the next one to be written.
    position: u64,
    /// When the bytes so far have passed, at the bandwidth given.
    next_free: Instant,
}

impl Rule {
    pub(super) fn new(flow: Flow) -> Self {
        let latency = flow.latency.as_ref().map(Sampler::new);
        Self { flow, latency }
    }
}

impl Direction<'_> {
    fn rule(&self) -> Arc<Rule> {
        let state = self.watch.borrow();
        if self.is_to_client { state.to_client.clone() } else { state.to_upstream.clone() }
    }

    fn entity(&self) -> u64 {
        self.keys.connection | u64::from(self.is_to_client)
    }
}

/// Passes one direction on, to its end, which is passed on as well.
pub(super) async fn pass(
    source: ReadHalf<'_>,
    sink: WriteHalf<'_>,
    direction: Direction<'_>,
) -> Result<(), Broken> {
    let (chunks, queue) = mpsc::channel(CHUNKS_MAX);
    let reading = Direction { watch: direction.watch.clone(), ..direction };
    let writer = Writer { sink, direction, position: 0, next_free: Instant::now() };
    tokio::try_join!(read(source, chunks, reading), writer.write(queue))?;
    Ok(())
}

async fn read(
    source: ReadHalf<'_>,
    chunks: mpsc::Sender<Chunk>,
    direction: Direction<'_>,
) -> Result<(), Broken> {
    let room = Arc::new(Semaphore::new(BUFFER_BYTES_MAX));
    let mut due = Instant::now();
    for ordinal in 0.. {
        let mut permit = room.clone().acquire_many_owned(CHUNK_BYTES_MAX as u32).await.map_err(|_| Broken)?;
        let bytes = loop {
            source.readable().await.map_err(|_| Broken)?;
            match read_now(&source) {
                Ok(bytes) => break bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Broken),
            }
        };
        // The room that these bytes do not take is given back.
        let room = permit.split(bytes.len());
        drop(permit);
        let rule = direction.rule();
        let (draws, entity) = (direction.keys.draws, direction.entity());
        if !bytes.is_empty() && draws.hits(rule.flow.reset_ppm, Label::Failure, entity, ordinal) {
            return Err(Broken);
        }
        let latency_us = rule
            .latency
            .as_ref()
            .map_or(0, |sampler| sampler.at(draws.bits(Label::Latency, entity, ordinal)));
        // A chunk never overtakes the one before.
        due = due.max(Instant::now() + Duration::from_micros(latency_us));
        let is_end = bytes.is_empty();
        chunks.send(Chunk { bytes, due, _room: room }).await.map_err(|_| Broken)?;
        if is_end {
            break;
        }
    }
    Ok(())
}

/// What is there, in memory of its own size: an idle connection holds no buffer.
fn read_now(source: &ReadHalf<'_>) -> std::io::Result<Vec<u8>> {
    let mut scratch = [0; CHUNK_BYTES_MAX];
    let count = source.try_read(&mut scratch)?;
    Ok(scratch[..count].to_vec())
}

impl Writer<'_> {
    async fn write(mut self, mut queue: mpsc::Receiver<Chunk>) -> Result<(), Broken> {
        while let Some(chunk) = queue.recv().await {
            if chunk.due > Instant::now() {
                sleep_until(chunk.due).await;
            }
            let is_end = chunk.bytes.is_empty();
            let has_hole = !self.deliver(chunk.bytes).await?;
            if has_hole {
                return self.swallow(queue).await;
            }
            if is_end {
                return self.sink.shutdown().await.map_err(|_| Broken);
            }
        }
        Ok(())
    }

    /// Writes bytes as the rule of the moment says; false when some of them vanished.
    async fn deliver(&mut self, mut bytes: Vec<u8>) -> Result<bool, Broken> {
        let mut written = 0;
        loop {
            let rule = self.direction.rule();
            let flow = &rule.flow;
            if flow.blackhole {
                self.direction.counts.lost.fetch_add((bytes.len() - written) as u64, Ordering::Relaxed);
                return Ok(false);
            }
            if flow.stall {
                self.direction.watch.changed().await.map_err(|_| Broken)?;
                continue;
            }
            if written == bytes.len() {
                return Ok(true);
            }
            let piece = piece_of(flow, bytes.len() - written);
            let piece = &mut bytes[written..written + piece];
            self.corrupt(flow.corrupt_ppm, piece);
            self.sink.write_all(piece).await.map_err(|_| Broken)?;
            let length = piece.len();
            written += length;
            self.position += length as u64;
            let counts = self.direction.counts;
            let count = if self.direction.is_to_client { &counts.to_client } else { &counts.to_upstream };
            count.fetch_add(length as u64, Ordering::Relaxed);
            if let Some(rate) = flow.bandwidth_bytes_per_s {
                self.pace(length, rate).await;
            }
            if flow.slice_bytes.is_some() {
                sleep(SLICE_PAUSE).await;
            }
        }
    }

    /// Waits as long as these bytes take at this rate. What a timer is late is made up for by the next bytes.
    async fn pace(&mut self, length: usize, rate: u64) {
        let now = Instant::now();
        let takes = Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
        self.next_free = self.next_free.max(now - TIMER) + takes;
        if self.next_free > now + TIMER {
            sleep_until(self.next_free).await;
        }
    }

    /// Flips a bit in the bytes whose draws say so. Keyed by position in the stream: chunks do not matter.
    fn corrupt(&self, ppm: u32, piece: &mut [u8]) {
        if ppm == 0 {
            return;
        }
        let (draws, entity) = (self.direction.keys.draws, self.direction.entity());
        let mut corrupted = 0;
        for (position, byte) in (self.position..).zip(piece) {
            if draws.hits(ppm, Label::Tamper, entity, position) {
                *byte ^= 1 << draws.below(8, Label::TamperPlace, entity, position);
                corrupted += 1;
            }
        }
        self.direction.counts.corrupted.fetch_add(corrupted, Ordering::Relaxed);
    }

    /// Lets everything vanish, the end as well, until the rule changes: then the connection is of no use.
    async fn swallow(mut self, mut queue: mpsc::Receiver<Chunk>) -> Result<(), Broken> {
        let mut is_open = true;
        while self.direction.rule().flow.blackhole {
            tokio::select! {
                chunk = queue.recv(), if is_open => match chunk {
                    Some(chunk) => {
                        self.direction.counts.lost.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                    }
                    None => is_open = false,
                },
                changed = self.direction.watch.changed() => changed.map_err(|_| Broken)?,
            }
        }
        Err(Broken)
    }
}

/// How many bytes are written at once: as much as a slice, or a fiftieth of a second's bandwidth, allows.
fn piece_of(flow: &Flow, available: usize) -> usize {
    let at_most = |bytes: u64| usize::try_from(bytes.max(1)).unwrap_or(usize::MAX);
    let slice = flow.slice_bytes.map_or(usize::MAX, |bytes| at_most(u64::from(bytes)));
    let paced = flow.bandwidth_bytes_per_s.map_or(usize::MAX, |rate| at_most(rate / PACES_PER_S));
    available.min(slice).min(paced)
}

/// Bytes that one direction of one connection holds; beyond it the sender is held up.
const BUFFER_BYTES_MAX: usize = 8 << 20;
/// Chunks that one direction of one connection holds.
const CHUNKS_MAX: usize = 16_384;
const CHUNK_BYTES_MAX: usize = 32 << 10;
const PACES_PER_S: u64 = 50;
/// What a timer of the executor is exact to.
const TIMER: Duration = Duration::from_millis(2);
const SLICE_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_as_large_as_slice_and_bandwidth_allow() {
        let flow = |bandwidth_bytes_per_s, slice_bytes| Flow {
            bandwidth_bytes_per_s,
            slice_bytes,
            ..Flow::default()
        };
        for (flow, expected) in [
            (flow(None, None), 1_000),
            (flow(None, Some(7)), 7),
            (flow(Some(5_000), None), 100),
            (flow(Some(5_000), Some(7)), 7),
            (flow(Some(1), None), 1),
            (flow(Some(u64::MAX), Some(u32::MAX)), 1_000),
        ] {
            assert_eq!(piece_of(&flow, 1_000), expected, "{flow:?}");
        }
    }
}
