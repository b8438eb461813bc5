//! The seam between the engines and the form in which messages travel.
//!
//! An engine decides when a message is sealed or opened and what follows; a codec knows how. In
//! production the codec is the [`envelope`](crate::envelope) (see [`sealed`](super::sealed)); the
//! simulator has one of the same sizes without a cipher.

use thiserror::Error;

use crate::envelope::{Form, KeyUse};
use crate::id::OperationId;
use crate::wire::{Reply, Request};

/// A host's end.
pub trait HostCodec {
    /// A request on its way: the body of one HTTP request.
    type Request;
    /// A reply on its way: the body of one HTTP response.
    type Reply;

    /// Seals a request with a fresh initialisation vector.
    fn seal(&mut self, request: &Request, iv: [u8; 16]) -> Self::Request;

    /// Opens a reply, which must be authentic and bound to this operation.
    fn open(
        &mut self,
        operation: OperationId,
        critical: bool,
        reply: &Self::Reply,
    ) -> Result<Reply, Untrusted>;

    /// From now on these keys are in use, out of those given at construction. Nothing where there are none.
    fn use_keys(&mut self, _: &KeyUse) {}
}

/// The main server's end.
pub trait ServerCodec {
    /// A request on its way.
    type Request;
    /// A reply on its way.
    type Reply;

    /// Opens a request, whose outer fields must be those that were sealed.
    fn open(&mut self, request: &Self::Request) -> Result<Opened, OpenError>;

    /// Seals a reply to an operation that was opened as critical or not.
    fn seal(&mut self, critical: bool, reply: &Reply, iv: [u8; 16]) -> Self::Reply;

    /// Seals a reply to an operation that was opened in the older form. Where there is no such form, there is
    /// nothing to answer in it.
    fn seal_legacy(&mut self, critical: bool, reply: &Reply, iv: [u8; 16]) -> Self::Reply {
        self.seal(critical, reply, iv)
    }

    /// See [`HostCodec::use_keys`].
    fn use_keys(&mut self, _: &KeyUse) {}
}

/// A request that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What is asked.
    pub request: Request,
    /// Differs between any two sealed requests: keys the draw of the reply's initialisation vector.
    pub nonce: u64,
    /// In which form it came, and is answered.
    pub form: Form,
}

/// A reply that is not to be believed: the one answer to every cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the reply is not authentic")]
pub struct Untrusted;

/// Why a request was not opened. Neither tells anything about a key or a plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// HTTP 413.
    #[error("the request is too large")]
    TooLarge,
    /// HTTP 400: the one answer to every other cause.
    #[error("the request is refused")]
    Refused,
}
