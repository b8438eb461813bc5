//! What stands around a frame: only this is readable on the way.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Malformed;
use crate::id::{AccountId, OperationId};

/// What stands around a frame on its way to the server: only this is readable on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OuterRequest<'a> {
    /// Whose operation it is; chooses the key.
    pub account_id: u32,
    /// The operation's id.
    #[serde(borrow)]
    pub operation_id: Cow<'a, str>,
    /// Whether it is critical.
    pub is_critical: bool,
    /// The frame in base64.
    #[serde(borrow)]
    pub encrypted_data: Cow<'a, str>,
}

/// What stands around a frame on its way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OuterReply<'a> {
    /// The frame in base64.
    #[serde(borrow)]
    pub encrypted_data: Cow<'a, str>,
}

impl OuterRequest<'_> {
    /// The operation's id, if it is canonical and of this account.
    pub fn operation(&self) -> Result<OperationId, Malformed> {
        let operation: OperationId = self.operation_id.parse().map_err(|_| Malformed)?;
        if operation.account == AccountId(self.account_id) { Ok(operation) } else { Err(Malformed) }
    }
}
