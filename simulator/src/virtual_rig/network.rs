//! The links between hosts and the main server.
//!
//! A message's fate hangs on its identity (host, way, operation, attempt, copy), never on how many
//! messages went before it.

use super::variant::Message;
use crate::arrivals::holds;
use crate::distribution::Sampler;
use crate::draw::{Draws, Label};
use crate::history::{Tampering, Way};
use crate::scenario::model::{Degrade, Direction, Link, Network as Settings, Partition, Tamper};

/// Names a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageId {
    pub(super) host: u32,
    pub(super) way: Way,
    pub(super) ticket: u64,
    pub(super) attempt: u32,
    /// 0, or 1 for what stems from a second copy.
    pub(super) copy: u8,
}

/// A message that will arrive.
#[derive(Clone, Debug)]
pub(super) struct Delivery<M> {
    pub(super) after_us: u64,
    pub(super) tampering: Option<Tampering>,
    pub(super) copy: u8,
    pub(super) message: M,
}

/// The network: settings, and the faults that are on.
#[derive(Debug)]
pub(super) struct Network {
    draws: Draws,
    to_server: LinkState,
    to_host: LinkState,
    partitions: Vec<(u32, Partition)>,
    degraded: Vec<(u32, Degrade, Option<Sampler>)>,
    /// Whether any message may be replayed.
    replays: bool,
}

#[derive(Debug)]
struct LinkState {
    latency: Sampler,
    loss_ppm: u32,
    duplicate_ppm: u32,
    reorder_ppm: u32,
    reorder_us: u64,
    tamper_ppm: u32,
    tamper_with: Vec<Tamper>,
    replay_ppm: u32,
    replay_after_us: u64,
}

/// What applies to one message.
struct Conditions<'a> {
    latency: &'a Sampler,
    loss_ppm: u32,
    duplicate_ppm: u32,
    reorder_ppm: u32,
    tamper_ppm: u32,
    tamper_with: &'a [Tamper],
    replay_ppm: u32,
}

impl Network {
    pub(super) fn new(draws: Draws, settings: &Settings) -> Self {
        Self {
            draws,
            to_server: LinkState::new(&settings.to_server),
            to_host: LinkState::new(&settings.to_host),
            partitions: Vec::new(),
            degraded: Vec::new(),
            replays: settings.to_server.replay.ppm() > 0 || settings.to_host.replay.ppm() > 0,
        }
    }

    pub(super) fn partition(&mut self, fault: u32, partition: Partition) {
        self.partitions.push((fault, partition));
    }

    pub(super) fn degrade(&mut self, fault: u32, degrade: Degrade) {
        let sampler = degrade.latency.as_ref().map(Sampler::new);
        self.replays |= degrade.replay.is_some_and(|share| share.ppm() > 0);
        self.degraded.push((fault, degrade, sampler));
    }

    /// Ends a fault.
    pub(super) fn heal(&mut self, fault: u32) {
        self.partitions.retain(|(number, _)| *number != fault);
        self.degraded.retain(|(number, ..)| *number != fault);
    }

    /// Whether any message may be replayed: what [`replay`](Self::replay) has to be asked for.
    pub(super) fn replays(&self) -> bool {
        self.replays
    }

    /// How long after the first sending a message is replayed at the least.
    pub(super) fn replay_after_us(&self, way: Way) -> u64 {
        self.link(way).replay_after_us
    }

    /// A message that somebody recorded before it got any further, and sends once more.
    pub(super) fn replay<M: Message>(&self, id: MessageId, message: &M) -> Option<Delivery<M>> {
        let (entity, ordinal) = id.key();
        let conditions = self.conditions(id);
        self.draws.hits(conditions.replay_ppm, Label::Replay, entity, ordinal).then(|| {
            let latency = conditions.latency.at(self.draws.bits(Label::ReplayLatency, entity, ordinal));
            Delivery {
                after_us: self.replay_after_us(id.way) + latency,
                tampering: Some(Tampering::Replayed),
                copy: 1,
                message: message.clone(),
            }
        })
    }

    /// Sends a message: it arrives once, twice or not at all. `other` is an earlier one of the same way that
    /// belongs to another operation.
    pub(super) fn send<M: Message>(
        &self,
        id: MessageId,
        message: M,
        other: Option<&M>,
    ) -> (Option<Delivery<M>>, Option<Delivery<M>>) {
        if !self.partitions.is_empty() && self.is_cut(id) {
            return (None, None);
        }
        let conditions = self.conditions(id);
        let (entity, ordinal) = id.key();
        if self.draws.hits(conditions.loss_ppm, Label::Loss, entity, ordinal) {
            return (None, None);
        }
        let second = self
            .draws
            .hits(conditions.duplicate_ppm, Label::Duplicate, entity, ordinal)
            .then(|| self.deliver(id, &conditions, Label::DuplicateLatency, message.clone(), other));
        (Some(self.deliver(id, &conditions, Label::Latency, message, other)), second)
    }

    /// Delay of a message that carries nothing: a refused connection.
    pub(super) fn bare_delay_us(&self, id: MessageId) -> Option<u64> {
        let (entity, ordinal) = id.key();
        let conditions = self.conditions(id);
        let lost = self.is_cut(id) || self.draws.hits(conditions.loss_ppm, Label::Loss, entity, ordinal);
        (!lost).then(|| conditions.latency.at(self.draws.bits(Label::Latency, entity, ordinal)))
    }

    fn deliver<M: Message>(
        &self,
        id: MessageId,
        conditions: &Conditions<'_>,
        label: Label,
        mut message: M,
        other: Option<&M>,
    ) -> Delivery<M> {
        let second = label == Label::DuplicateLatency;
        let (entity, mut ordinal) = id.key();
        let mut after_us = conditions.latency.at(self.draws.bits(label, entity, ordinal));
        // The copies are altered and held back each for itself.
        ordinal ^= u64::from(second) << 63;
        if self.draws.hits(conditions.reorder_ppm, Label::Reorder, entity, ordinal) {
            after_us += self.link(id.way).reorder_us;
        }
        let mut tampering = None;
        if self.draws.hits(conditions.tamper_ppm, Label::Tamper, entity, ordinal)
            && let Some(how) = self.how(conditions.tamper_with, id.way, entity, ordinal)
            && message.tamper(how, self.draws.bits(Label::TamperPlace, entity, ordinal), other)
        {
            tampering = Some(how.into());
        }
        Delivery { after_us, tampering, copy: id.copy | u8::from(second), message }
    }

    /// What is done to a message, out of what can be done on its way.
    fn how(&self, with: &[Tamper], way: Way, entity: u64, ordinal: u64) -> Option<Tamper> {
        let stranger = if way == Way::ToServer { Tamper::SwapReply } else { Tamper::ChangeOuter };
        let mut can = with.iter().copied().filter(|how| *how != stranger);
        let count = can.clone().count() as u64;
        can.nth(self.draws.below(count, Label::TamperKind, entity, ordinal) as usize)
    }

    fn conditions(&self, id: MessageId) -> Conditions<'_> {
        let link = self.link(id.way);
        let mut conditions = Conditions {
            latency: &link.latency,
            loss_ppm: link.loss_ppm,
            duplicate_ppm: link.duplicate_ppm,
            reorder_ppm: link.reorder_ppm,
            tamper_ppm: link.tamper_ppm,
            tamper_with: &link.tamper_with,
            replay_ppm: link.replay_ppm,
        };
        for (_, degrade, sampler) in self.degraded.iter().filter(|(_, d, _)| holds(&d.hosts, id.host)) {
            conditions.latency = sampler.as_ref().unwrap_or(conditions.latency);
            conditions.loss_ppm = degrade.loss.map_or(conditions.loss_ppm, |share| share.ppm());
            conditions.duplicate_ppm =
                degrade.duplicate.map_or(conditions.duplicate_ppm, |share| share.ppm());
            conditions.reorder_ppm = degrade.reorder.map_or(conditions.reorder_ppm, |share| share.ppm());
            conditions.tamper_ppm = degrade.tamper.map_or(conditions.tamper_ppm, |share| share.ppm());
            conditions.tamper_with = degrade.tamper_with.as_deref().unwrap_or(conditions.tamper_with);
            conditions.replay_ppm = degrade.replay.map_or(conditions.replay_ppm, |share| share.ppm());
        }
        conditions
    }

    fn link(&self, way: Way) -> &LinkState {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToHost => &self.to_host,
        }
    }

    fn is_cut(&self, id: MessageId) -> bool {
        self.partitions.iter().any(|(_, partition)| {
            let this_way = matches!(
                (partition.direction, id.way),
                (Direction::Both, _)
                    | (Direction::ToServer, Way::ToServer)
                    | (Direction::ToHost, Way::ToHost)
            );
            this_way && holds(&partition.hosts, id.host)
        })
    }
}

impl LinkState {
    fn new(link: &Link) -> Self {
        Self {
            latency: Sampler::new(&link.latency),
            loss_ppm: link.loss.ppm(),
            duplicate_ppm: link.duplicate.ppm(),
            reorder_ppm: link.reorder.ppm(),
            reorder_us: link.reorder_delay.span().as_us(),
            tamper_ppm: link.tamper.ppm(),
            tamper_with: link.tamper_with.clone(),
            replay_ppm: link.replay.ppm(),
            replay_after_us: link.replay_after.span().as_us(),
        }
    }
}

impl From<Tamper> for Tampering {
    fn from(how: Tamper) -> Self {
        match how {
            Tamper::FlipBit => Self::FlippedBit,
            Tamper::Truncate => Self::Truncated,
            Tamper::SwapBlocks => Self::SwappedBlocks,
            Tamper::Downgrade => Self::Downgraded,
            Tamper::UnknownVersion => Self::UnknownVersion,
            Tamper::ChangeOuter => Self::ChangedOuter,
            Tamper::SwapReply => Self::SwappedReply,
        }
    }
}

impl MessageId {
    pub(super) fn key(self) -> (u64, u64) {
        let way = match self.way {
            Way::ToServer => 0,
            Way::ToHost => 1,
        };
        (
            u64::from(self.host) << 2 | way << 1 | u64::from(self.copy),
            self.ticket << 8 | u64::from(self.attempt & 0xff),
        )
    }
}
