//! Keys of the world that are replaced while it runs, and what is seen of sealing and opening.

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

/// Which keys are in use, and how much is told of them.
pub(super) struct KeyWatch {
    in_use: KeyUse,
    left_behind: Vec<u32>,
    begun: usize,
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
            in_use: WorldKeys::first_use(),
            left_behind: Vec::new(),
            begun: 0,
            tells_seals: demands(&["P27", "P28"]),
            tells_opens: demands(&["P28"]),
            rotates: rotations(plan) > 0,
            arriving: None,
            turned_away: None,
            host_keys: FxHashMap::default(),
        }
    }

    fn includes(&self, key: &str) -> bool {
        std::iter::once(&self.in_use.seals).chain(&self.in_use.opens).any(|id| id.as_str() == key)
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
        watch.in_use = KeyUse { seals: watch.in_use.seals, opens: vec![next] };
        let left_behind = rotation.left_behind.as_ref().map(|set| self.members(set)).unwrap_or_default();
        self.key_watch.left_behind = left_behind;
        match rotation.prepare.span().as_us() {
            0 => self.switch_keys(),
            prepare_us => {
                self.announce_keys();
                self.queue.schedule(self.queue.now_us() + prepare_us, Happening::SwitchKeys);
            }
        }
    }

    /// The new key seals.
    pub(super) fn switch_keys(&mut self) {
        let in_use = &mut self.key_watch.in_use;
        if let Some(next) = in_use.opens.first_mut() {
            std::mem::swap(&mut in_use.seals, next);
            self.announce_keys();
        }
    }

    /// The old key is retired.
    pub(super) fn end_rotation(&mut self) {
        self.key_watch.in_use.opens.clear();
        self.announce_keys();
    }

    fn announce_keys(&mut self) {
        let KeyWatch { in_use, left_behind, .. } = &self.key_watch;
        let opens = in_use.opens.iter().map(ToString::to_string).collect();
        let (seals, left_behind) = (in_use.seals.to_string(), left_behind.clone());
        self.observe(What::Keys { seals, opens, left_behind });
        (0..self.servers.len()).for_each(|at| self.tell_server_keys(at));
        (0..self.hosts.len() as u32).for_each(|host| self.tell_host_keys(host));
    }

    /// A server that starts knows its first keys only.
    pub(super) fn tell_server_keys(&mut self, at: usize) {
        if self.key_watch.begun > 0 {
            self.tell_server(at, ServerInput::UseKeys(self.key_watch.in_use.clone()));
        }
    }

    /// So does a host.
    pub(super) fn tell_host_keys(&mut self, host: u32) {
        if self.key_watch.begun > 0 && !self.key_watch.left_behind.contains(&host) {
            self.tell_host(host, SessionInput::UseKeys(self.key_watch.in_use.clone()));
            self.tell_subscriber(host, SessionInput::UseKeys(self.key_watch.in_use.clone()));
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
            self.observe(What::Opened { way, op: route.op(), key: mark.key, opened });
        }
    }

    /// Whether the server is right to refuse the request that it is looking at for its key alone.
    pub(super) fn arrives_under_unused_key(&self) -> bool {
        self.key_watch.rotates
            && self.key_watch.arriving.as_deref().is_some_and(|key| !self.key_watch.includes(key))
    }

    /// Whether a host is right to refuse a reply under this key.
    pub(super) fn may_refuse(&self, host: u32, mark: Option<&SealMark>) -> bool {
        self.key_watch.rotates
            && (self.key_watch.left_behind.contains(&host)
                || mark.is_some_and(|mark| !self.key_watch.includes(&mark.key)))
    }
}
