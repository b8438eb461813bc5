//! What a session is told, what it asks for, and what it counts.

use serde::{Deserialize, Serialize};

use crate::envelope::KeyUse;
use crate::host_sync::operation::{Ask, AskError, Outcome, TransportError};
use crate::id::{OperationId, Token};
use crate::recording::frame::{self, Frame};
use crate::time::Span;

/// What the world tells a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound(serialize = "R: Frame", deserialize = "R: Frame"))]
pub enum SessionInput<R> {
    /// The application asks.
    Ask(Ask),
    /// An attempt brought an answer, or will bring none.
    Answered {
        /// From [`SessionEffect::Send`].
        token: Token,
        /// The reply, still sealed, or why there is none.
        #[serde(with = "frame::result")]
        answer: Result<R, TransportError>,
        /// How long the server asked to be left alone (`Retry-After`). Nobody vouches for it, so it is
        /// honoured up to [`RETRY_AFTER_MAX`](crate::limits::RETRY_AFTER_MAX).
        retry_after: Option<Span>,
    },
    /// From now on these keys are in use, out of those given at construction: keys are being replaced.
    UseKeys(KeyUse),
    /// The host shuts down: nothing new is accepted, and what has not ended after `drain` ends then.
    ShutDown {
        /// How long operations may still take.
        drain: Span,
    },
}

/// What a session asks of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound(serialize = "Q: Frame", deserialize = "Q: Frame"))]
pub enum SessionEffect<Q> {
    /// To the application: accepted, under this name.
    Accepted {
        /// From [`Ask`].
        ticket: u64,
        /// Its name.
        operation: OperationId,
    },
    /// To the application: not accepted.
    Refused {
        /// From [`Ask`].
        ticket: u64,
        /// Whether it would have been critical.
        critical: bool,
        /// Why.
        error: AskError,
    },
    /// Send this request; answer with [`SessionInput::Answered`].
    Send {
        /// Names the attempt.
        token: Token,
        /// The application's name for the operation.
        ticket: u64,
        /// The operation's name in this attempt.
        operation: OperationId,
        /// Counts the attempts, from 1.
        attempt: u32,
        /// Whether it is critical.
        critical: bool,
        /// Whether it travels in one HTTP request with the `Send` right before it.
        joins: bool,
        /// The body.
        #[serde(with = "frame")]
        request: Q,
    },
    /// To the application: the one result.
    Finished {
        /// From [`Ask`].
        ticket: u64,
        /// Its name.
        operation: OperationId,
        /// Whether it was critical.
        critical: bool,
        /// How it ended.
        outcome: Outcome,
    },
    /// For the record: a reply to an operation that had ended without one.
    Late {
        /// From [`Ask`].
        ticket: u64,
        /// Its name.
        operation: OperationId,
        /// Whether the server did it.
        success: bool,
    },
    /// For the record: an answer that is not authentic was thrown away.
    Untrusted {
        /// The attempt it came for.
        token: Token,
    },
    /// Everything has ended after a [`SessionInput::ShutDown`].
    Stopped {
        /// Operations that the bound cut short.
        cut_short: usize,
    },
}

/// Counts since the session's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Operations accepted.
    pub accepted: u64,
    /// Operations refused.
    pub refused: u64,
    /// Attempts made.
    pub attempts: u64,
    /// Operations ended, whatever their outcome.
    pub finished: u64,
    /// Critical operations that ended at their deadline.
    pub deadline_exceeded: u64,
}
