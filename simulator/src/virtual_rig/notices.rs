//! What the cache publishes, on its way to the main servers that follow it.
//!
//! Messages come in their order. A connection that breaks takes with it what is on its way, and whoever follows is
//! told of a gap once it is back, as the core's driver does it.

use sync_core::cache::{CacheRequest, Notice, Publication};
use sync_core::host_sync::server::ServerInput;

use super::services::{About, Fate, written_op};
use super::variant::Variant;
use super::world::{Happening, Observer, World};
use crate::history::{Update, What};
use crate::scenario::model::CutNotifications;

/// Who follows, and over which connection.
#[derive(Debug)]
pub(super) struct Notices {
    /// Lives of main servers.
    followers: Vec<u32>,
    /// By main server: counts its connections.
    connections: Vec<u32>,
    /// Faults that are on, with the main servers that they cut off.
    cuts: Vec<(u32, Vec<usize>)>,
    /// Somebody will tell the cache what it missed.
    makes_up: bool,
}

impl Notices {
    pub(super) fn new(servers: usize) -> Self {
        Self { followers: Vec::new(), connections: vec![0; servers], cuts: Vec::new(), makes_up: false }
    }

    /// A main server has died.
    pub(super) fn forget(&mut self, life: u32) {
        self.followers.retain(|other| *other != life);
    }

    fn is_cut(&self, at: usize) -> bool {
        self.cuts.iter().any(|(_, servers)| servers.contains(&at))
    }
}

impl<V: Variant, O: Observer> World<V, O> {
    /// A main server wants to follow; the first that it is told is a gap.
    pub(super) fn follow(&mut self, at: usize) {
        let life = self.life_of(at);
        self.notices.followers.push(life);
        if self.cache.is_up() && !self.notices.is_cut(at) {
            self.tell_notice(life, Notice::Gap);
        }
    }

    /// Hands what has been published to all who follow.
    pub(super) fn tell_published(&mut self) {
        let published = self.cache.take_published();
        if self.notices.followers.is_empty() {
            return;
        }
        for notice in published {
            for life in self.notices.followers.clone() {
                let at = life as usize % self.servers.len();
                if !self.notices.is_cut(at) {
                    self.tell_notice(life, notice.clone());
                }
            }
        }
    }

    fn tell_notice(&mut self, life: u32, notice: Notice) {
        let connection = self.notices.connections[life as usize % self.servers.len()];
        let at_us = self.queue.now_us() + self.cache.conditions.answer_us();
        let notice = Box::new(notice);
        self.queue.schedule(at_us, Happening::Noticed { life, connection, notice });
    }

    /// A notice arrives, unless its connection broke.
    pub(super) fn noticed(&mut self, life: u32, connection: u32, notice: Notice) {
        if let Some(at) = self.living(life)
            && self.notices.connections[at] == connection
        {
            self.tell_server(at, ServerInput::Noticed { notice });
        }
    }

    /// Main servers are cut off from what is published.
    pub(super) fn cut_notifications(&mut self, fault: u32, cut: &CutNotifications) {
        let named = cut.main_servers.as_ref().map(|list| list.iter().map(|at| *at as usize).collect());
        let servers: Vec<_> = named.unwrap_or_else(|| (0..self.servers.len()).collect());
        servers.iter().for_each(|at| self.notices.connections[*at] += 1);
        self.notices.cuts.push((fault, servers));
    }

    /// They are not any more.
    pub(super) fn mend_notifications(&mut self, fault: u32) {
        let (ended, rest) = self.notices.cuts.drain(..).partition(|(number, _)| *number == fault);
        self.notices.cuts = rest;
        let ended: Vec<(u32, Vec<usize>)> = ended;
        ended.into_iter().flat_map(|(_, servers)| servers).for_each(|at| self.reconnected(at));
    }

    /// The cache dies, and with it every connection.
    pub(super) fn lose_notifications(&mut self) {
        self.notices.connections.iter_mut().for_each(|connection| *connection += 1);
    }

    /// The cache is back.
    pub(super) fn follow_again(&mut self) {
        (0..self.servers.len()).for_each(|at| self.reconnected(at));
    }

    fn reconnected(&mut self, at: usize) {
        let life = self.life_of(at);
        let follows = self.notices.followers.contains(&life);
        if follows && self.cache.is_up() && !self.notices.is_cut(at) && self.variant.tells_of_gaps() {
            self.tell_notice(life, Notice::Gap);
        }
    }

    /// The cache was not told of something. If that was to be published, followers will be told of a gap.
    pub(super) fn gap_is_owed(&mut self, from_us: u64) {
        if self.cache.owes_gap() && !self.notices.followers.is_empty() && !self.notices.makes_up {
            self.notices.makes_up = true;
            self.queue.schedule(from_us + MAKE_UP_US, Happening::MakeUp);
        }
    }

    /// Tries to tell the cache what it missed. One that is down is told when it is back.
    pub(super) fn make_up(&mut self) {
        self.notices.makes_up = false;
        let now_us = self.queue.now_us();
        match self.cache.conditions.fate(About::moment(now_us)) {
            Fate::Commits(_) => {
                self.cache.make_up(super::clock::NodeClock::default().now(now_us).wall);
                self.tell_published();
            }
            Fate::Fails(_) => self.gap_is_owed(now_us),
        }
    }

    /// Tells of what a main server wants to be published, where anybody follows critical updates.
    pub(super) fn watch_publishing(&mut self, request: &CacheRequest) {
        let CacheRequest::Refresh { states, .. } = request else { return };
        if !self.has_subscribers {
            return;
        }
        for state in states.iter().filter(|state| state.publish) {
            if let Some(op) = written_op(&state.data) {
                let publication: Publication = state.publication();
                self.observe(What::Published { op, update: Update::from(&publication) });
            }
        }
    }
}

/// Until a cache that failed is tried again.
const MAKE_UP_US: u64 = 100_000;
