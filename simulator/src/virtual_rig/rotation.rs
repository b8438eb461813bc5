//! Keys of the world that are replaced while it runs, and what is seen of sealing and opening.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use sync_core::envelope::{HostKey, KeyUse};
use sync_core::host_sync::server::{ServerInput, Status};
use sync_core::host_sync::session::SessionInput;

use super::host::{Route, account};
use super::variant::{Message, Variant, WorldKeys};
use super::world::{Happening, Observer, World};
use crate::history::{OpRef, Tampering, Way, What};
use crate::plan::{Action, Plan};
use crate::scenario::model::{Fault, Injection, RotateKeys};

/// What stands in clear in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealMark {
    /// The name of the key.
    pub key: String,
    /// The initialisation vector.
    pub iv: [u8; 16],
}

/// Keys that are to be in use, and the hosts that are told nothing of them.
type Step = (KeyUse, Vec<u32>);

/// Which keys are in use, and how much is told of them.
///
/// Main servers of the world take keys at once. Those outside take them when they come to it, and hosts only then: what
/// was under way meanwhile may have met either keys, and is told of only if neither explains it or those in force do.
pub(super) struct KeyWatch {
    /// As planned: what the last step leads to.
    planned: KeyUse,
    left_behind: Vec<u32>,
    begun: usize,
    /// In force, as was told last.
    in_force: KeyUse,
    uninformed: Vec<u32>,
    is_told: bool,
    /// Steps for main servers outside; the first one is being taken, by so many that have not.
    steps: VecDeque<Step>,
    missing: usize,
    /// Keys after each step that main servers outside were told, and how often one began or ended.
    states: Vec<KeyUse>,
    epoch: usize,
    /// When the exchange began that is looked at, as an epoch.
    since: Option<usize>,
    /// Whether each sealing is told (P27, P28).
    tells_seals: bool,
    /// Whether each opening is told (P28).
    tells_opens: bool,
    rotates: bool,
    /// The key of the request that the main server is looking at, and its status if it turned that away at once.
    arriving: Option<String>,
    turned_away: Option<Status>,
    host_keys: FxHashMap<u32, Vec<HostKey>>,
}

/// How often the keys of a plan are replaced.
pub(crate) fn rotations(plan: &Plan) -> usize {
    let rotates = |action: &&Action| {
        matches!(action, Action::Inject(_, Fault { inject: Injection::RotateKeys(_), .. }))
    };
    plan.actions.iter().filter(rotates).count()
}

impl KeyWatch {
    pub(super) fn new(plan: &Plan) -> Self {
        let demands = |ids: &[&str]| plan.world.expect.properties.iter().any(|id| ids.contains(&id.as_str()));
        Self {
            planned: WorldKeys::first_use(),
            left_behind: Vec::new(),
            begun: 0,
            in_force: WorldKeys::first_use(),
            uninformed: Vec::new(),
            is_told: false,
            steps: VecDeque::new(),
            missing: 0,
            states: vec![WorldKeys::first_use()],
            epoch: 0,
            since: None,
            tells_seals: demands(&["P27", "P28"]),
            tells_opens: demands(&["P28"]),
            rotates: rotations(plan) > 0,
            arriving: None,
            turned_away: None,
            host_keys: FxHashMap::default(),
        }
    }

    /// Keys that may have been in force at a main server while the exchange was under way that is looked at.
    fn possible(&self) -> &[KeyUse] {
        match self.since {
            Some(since) => &self.states[since / 2..=self.epoch.div_ceil(2)],
            None => std::slice::from_ref(&self.in_force),
        }
    }

    /// Whether a main server's doing is told that some keys explain.
    fn tells(&self, explained: impl Fn(&KeyUse) -> bool) -> bool {
        explained(&self.in_force) || !self.possible().iter().any(explained)
    }

    /// How often main servers outside have begun and ended to take keys.
    pub(super) fn epoch(&self) -> usize {
        self.epoch
    }

    /// An exchange is looked at that began in this epoch, or none any more.
    pub(super) fn look_since(&mut self, epoch: Option<usize>) {
        self.since = epoch;
    }

    /// Whether main servers outside have not taken all keys yet.
    pub(super) fn is_replacing(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The server turned a request away.
    pub(super) fn turned_away(&mut self, status: Status) {
        self.turned_away = Some(status);
    }
}

impl<V: Variant, O: Observer> World<V, O> {
    /// The new key is told to everybody but those who are left behind.
    pub(super) fn begin_rotation(&mut self, rotation: &RotateKeys) {
        let watch = &mut self.key_watch;
        watch.begun += 1;
        let next = self.keys.id(watch.begun);
        watch.planned = KeyUse { seals: watch.planned.seals, opens: vec![next] };
        let left_behind = rotation.left_behind.as_ref().map(|set| self.members(set)).unwrap_or_default();
        self.key_watch.left_behind = left_behind;
        match rotation.prepare.span().as_us() {
            0 => {
                if self.outside.is_some() {
                    // Not everybody there learns of it at once, and whoever does not open it must not be sent it.
                    self.announce_keys();
                }
                self.switch_keys();
            }
            prepare_us => {
                self.announce_keys();
                self.queue.schedule(self.queue.now_us() + prepare_us, Happening::SwitchKeys);
            }
        }
    }

    /// The new key seals.
    pub(super) fn switch_keys(&mut self) {
        let planned = &mut self.key_watch.planned;
        if let Some(next) = planned.opens.first_mut() {
            std::mem::swap(&mut planned.seals, next);
            self.announce_keys();
        }
    }

    /// The old key is retired.
    pub(super) fn end_rotation(&mut self) {
        self.key_watch.planned.opens.clear();
        self.announce_keys();
    }

    fn announce_keys(&mut self) {
        let KeyWatch { planned, left_behind, .. } = &self.key_watch;
        let step = (planned.clone(), left_behind.clone());
        if self.outside.is_none() {
            return self.put_in_force(step);
        }
        self.key_watch.steps.push_back(step);
        self.order_keys();
    }

    /// Tells main servers outside of the next step, if they have taken the one before.
    fn order_keys(&mut self) {
        let watch = &mut self.key_watch;
        let (Some(outside), Some((keys, _)), 0) = (&mut self.outside, watch.steps.front(), watch.missing)
        else {
            return;
        };
        watch.states.push(keys.clone());
        watch.epoch += 1;
        watch.missing = self.servers.len();
        outside.use_keys(keys.clone());
    }

    /// A main server outside has taken the keys that it was told last, or will when it starts.
    pub(super) fn keys_are_taken(&mut self) {
        let watch = &mut self.key_watch;
        watch.missing = watch.missing.saturating_sub(1);
        if watch.missing > 0 {
            return;
        }
        if let Some(step) = watch.steps.pop_front() {
            watch.epoch += 1;
            self.put_in_force(step);
            self.order_keys();
        }
    }

    fn put_in_force(&mut self, (in_force, uninformed): Step) {
        let opens = in_force.opens.iter().map(ToString::to_string).collect();
        let (seals, left_behind) = (in_force.seals.to_string(), uninformed.clone());
        self.key_watch.is_told = true;
        (self.key_watch.in_force, self.key_watch.uninformed) = (in_force, uninformed);
        self.observe(What::Keys { seals, opens, left_behind });
        (0..self.servers.len()).for_each(|at| self.tell_server_keys(at));
        (0..self.hosts.len() as u32).for_each(|host| self.tell_host_keys(host));
    }

    /// A server that starts knows its first keys only.
    pub(super) fn tell_server_keys(&mut self, at: usize) {
        if self.key_watch.is_told {
            self.tell_server(at, ServerInput::UseKeys(self.key_watch.in_force.clone()));
        }
    }

    /// So does a host.
    pub(super) fn tell_host_keys(&mut self, host: u32) {
        if self.key_watch.is_told && !self.key_watch.uninformed.contains(&host) {
            self.tell_host(host, SessionInput::UseKeys(self.key_watch.in_force.clone()));
            self.tell_subscriber(host, SessionInput::UseKeys(self.key_watch.in_force.clone()));
        }
    }

    /// What a message says of its key, if anything is made of that.
    pub(super) fn mark(&self, message: &impl Message) -> Option<SealMark> {
        (self.key_watch.tells_opens || self.key_watch.rotates).then(|| message.mark()).flatten()
    }

    /// Tells of a message that was sealed.
    pub(super) fn observe_sealed(&mut self, way: Way, op: OpRef, message: &impl Message) {
        if !self.key_watch.tells_seals {
            return;
        }
        let Some(SealMark { key, iv }) = message.mark() else { return };
        if way == Way::ToHost && !self.key_watch.tells(|keys| keys.seals.as_str() == key) {
            return;
        }
        let keys = self.key_watch.host_keys.entry(op.host);
        let keys = keys.or_insert_with(|| self.keys.host(account(op.host)).keys().cloned().collect());
        let iv_is_key = keys.iter().any(|key| key.has_half(&iv));
        self.observe(What::Sealed { way, op, key, iv: u128::from_be_bytes(iv), iv_is_key });
    }

    /// A request is about to be looked at.
    pub(super) fn arrives(&mut self, mark: Option<&SealMark>) {
        self.key_watch.arriving = mark.map(|mark| mark.key.clone());
        self.key_watch.turned_away = None;
    }

    /// The server has looked at it.
    pub(super) fn arrived(&mut self, route: Route, mark: Option<SealMark>, tampering: Option<Tampering>) {
        self.key_watch.arriving = None;
        match self.key_watch.turned_away {
            None => self.observe_opened(Way::ToServer, route, mark, tampering, true),
            Some(Status::Refused) => self.observe_opened(Way::ToServer, route, mark, tampering, false),
            Some(_) => {}
        }
    }

    /// Tells of a message that was opened, or not, if nobody had altered it.
    pub(super) fn observe_opened(
        &mut self,
        way: Way,
        route: Route,
        mark: Option<SealMark>,
        tampering: Option<Tampering>,
        opened: bool,
    ) {
        if let (true, Some(mark), None | Some(Tampering::Replayed)) =
            (self.key_watch.tells_opens, mark, tampering)
        {
            let explained = |keys: &KeyUse| includes(keys, &mark.key) == opened;
            if way == Way::ToServer && !self.key_watch.tells(explained) {
                return;
            }
            self.observe(What::Opened { way, op: route.op(), key: mark.key, opened });
        }
    }

    /// Whether the server is right to refuse the request that it is looking at for its key alone.
    pub(super) fn arrives_under_unused_key(&self) -> bool {
        let watch = &self.key_watch;
        let unused = |key: &str| watch.possible().iter().any(|keys| !includes(keys, key));
        watch.rotates && watch.arriving.as_deref().is_some_and(unused)
    }

    /// Whether a host is right to refuse a reply under this key.
    pub(super) fn may_refuse(&self, host: u32, mark: Option<&SealMark>) -> bool {
        let watch = &self.key_watch;
        let is_unused = |mark: &SealMark| !includes(&watch.in_force, &mark.key);
        watch.rotates && (watch.uninformed.contains(&host) || mark.is_some_and(is_unused))
    }
}

fn includes(keys: &KeyUse, key: &str) -> bool {
    std::iter::once(&keys.seals).chain(&keys.opens).any(|id| id.as_str() == key)
}
