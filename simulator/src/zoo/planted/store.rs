//! Defects of a database.

use std::sync::Arc;

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
        _ => return None,
    };
    Some(StoreRequest::ApplyBatch(Arc::new(altered)))
}
