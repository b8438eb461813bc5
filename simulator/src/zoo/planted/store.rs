//! Defects of a database.

use std::sync::Arc;

use sync_core::data_type::Nature;
use sync_core::store::{Apply, StoreRequest};

use super::Planted;

/// What a database with a defect carries out in place of a request.
pub(super) fn carried_out(
    planted: Planted,
    request: &StoreRequest,
    transaction: u64,
) -> Option<StoreRequest> {
    let StoreRequest::ApplyBatch(operations) = request else { return None };
    let altered: Vec<Apply> = match planted.number {
        // A transaction of several operations ends half-way and says that it failed.
        34 if operations.len() > 1 => operations[..operations.len() / 2].to_vec(),
        // Like the host, it knows nothing of order: whatever comes is the newest.
        41 => {
            let newest = |(place, apply): (usize, &Apply)| Apply {
                sequence: (transaction << 16) + place as u64 + 1,
                ..apply.clone()
            };
            operations.iter().enumerate().map(newest).collect()
        }
        // A byte before the closing brace is another one when it is read again.
        142 if transaction.is_multiple_of(8) => {
            let damage = |apply: &Apply| Apply { data: damaged(&apply.data), ..apply.clone() };
            operations.iter().map(damage).collect()
        }
        143 => {
            let mut altered = operations.to_vec();
            let is_state = |apply: &&mut Apply| apply.data_type.nature() == Nature::State;
            let mut states = altered.iter_mut().filter(is_state);
            let (one, other) = (states.next()?, states.next()?);
            std::mem::swap(&mut one.data, &mut other.data);
            altered
        }
        _ => return None,
    };
    Some(StoreRequest::ApplyBatch(Arc::new(altered)))
}

fn damaged(data: &str) -> Arc<str> {
    let mut bytes = data.as_bytes().to_vec();
    if let Some(byte) = bytes.iter_mut().rev().nth(1) {
        *byte ^= 1;
    }
    String::from_utf8_lossy(&bytes).into()
}
