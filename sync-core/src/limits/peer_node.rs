//! Bounds on what a peer's documented endpoints and its P2P port take and hold.

use crate::time::Span;

/// Bytes of the body of a request to a documented endpoint.
pub const API_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Rows of a page unless the query says how many.
pub const API_ROWS_DEFAULT: usize = 1_000;
/// WebSockets that are open at once.
pub const SOCKETS_MAX: usize = 256;
/// Bytes of what a client of a WebSocket says.
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Bytes that wait for a client of a WebSocket.
pub const SOCKET_WAITING_BYTES_MAX: usize = 1024 * 1024;
/// How long a client of a WebSocket may take for one message.
pub const SOCKET_SEND_TIMEOUT: Span = Span::from_secs(5);
/// Passwords that are hashed at once: each takes 19 MiB and some 20 ms of a core.
pub const HASHING_MAX: usize = 2;
/// Further ones that wait.
pub const HASHING_WAITS_MAX: usize = 64;
/// Bytes of a user's name and of an e-mail address.
pub const USER_TEXT_BYTES_MAX: usize = 255;
/// Characters that a password has at least (NIST SP 800-63B, section 5.1.1.2).
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Bytes that it has at most, so that hashing it takes no longer than for others.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Mebibytes of peers' questions that are held at once, as they travel.
pub const PEER_QUESTIONS_MIB_MAX: usize = 256;
/// Large bodies that are packed or unpacked at once: each may take [`super::PEER_BODY_UNPACKED_BYTES_MAX`].
pub const PEER_LARGE_BODIES_MAX: usize = 4;
/// How long the connection of a predecessor at a peer's database may take to end.
pub const PEER_STORE_PREDECESSOR_TIMEOUT: Span = Span::from_secs(5);

const _: () = assert!(super::PEER_BODY_BYTES_MAX / (1024 * 1024) < PEER_QUESTIONS_MIB_MAX);
