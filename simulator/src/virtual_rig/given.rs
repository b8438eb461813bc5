//! Values that hosts are given, reported as events where a check asks for them.

use sync_core::cache::Publication;
use sync_core::data_type::{Nature, SyncDataType};
use sync_core::store::StateKey;
use sync_core::wire::StatePayload;

use super::host::account;
use super::pending::Pending;
use super::services::{value_digest, written_op};
use super::variant::Variant;
use super::world::{Observer, World};
use crate::history::{OpRef, StateName, What};
use crate::scenario::model::MixKind;

impl<V: Variant, O: Observer> World<V, O> {
    /// A host got an answer with this payload. What is not about a state, as it is stored, is not looked at.
    pub(super) fn observe_given(&mut self, op: OpRef, asked: &Pending, payload: &str) {
        let &Pending { kind, data_type, map, .. } = asked;
        let reads_state = kind == MixKind::SyncFrom
            && data_type.nature() == Nature::State
            && data_type != SyncDataType::VectorEmbedding;
        if !self.judges_values || !reads_state {
            return;
        }
        let key = StateKey::new(data_type, account(op.host), self.maps[map as usize].clone());
        match sync_core::wire::read::<StatePayload<'_>>(payload.as_bytes()) {
            Ok(StatePayload { version, data }) => self.observe_value(op, key, version, &data),
            Err(_) => self.observe_value(op, key, 0, payload),
        }
    }

    /// A host was told of a critical update.
    pub(super) fn observe_told(&mut self, op: OpRef, update: &Publication) {
        if self.judges_values && update.key.data_type.nature() == Nature::State {
            self.observe_value(op, update.key.clone(), update.version, &update.data);
        }
    }

    fn observe_value(&mut self, op: OpRef, key: StateKey, version: u64, data: &str) {
        let (by, value) = (written_op(data), value_digest(data));
        self.observe(What::Given { op, key: StateName(key), version, by, value });
    }
}
