//! Every bound on what comes from outside, waits or is kept, in one place. A bound that a configuration may move states its range here.

mod hosts;
mod peer_node;

use crate::time::Span;

pub use hosts::*;
pub use peer_node::*;

/// Bytes of one HTTP body, in either direction.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the `data` text of one operation.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// Operations in one batched request.
pub const BATCH_OPERATIONS_MAX: usize = 256;
/// Operations in one `ApplyBatch` that the server's engine forms.
pub const APPLY_BATCH_MAX: usize = 256;
/// `ApplyBatch` requests a server keeps under way at once.
pub const APPLY_BATCHES_IN_FLIGHT_MAX: usize = 16;
/// How long a critical write waits at a server for its batch; past it the answer is 429. Half of what is usually
/// allowed in all: whoever sent it could hardly use the answer.
pub const CRITICAL_GATHERING_MAX: Span = Span::from_ms(250);
/// The same for other writes: half of what one attempt may take.
pub const GATHERING_MAX: Span = Span::from_secs(5);
/// Exchanges a server keeps open; further requests are answered 429.
pub const SERVER_EXCHANGES_MAX: usize = 100_000;
/// Exchanges that wait for one read of the same state; further ones are answered 429.
pub const FLIGHT_EXCHANGES_MAX: usize = 10_000;
/// Bytes of the key of an application's entry in the cache.
pub const ENTRY_KEY_BYTES_MAX: usize = 256;
/// Bytes of the value of an application's entry in the cache.
pub const ENTRY_VALUE_BYTES_MAX: usize = 256 * 1024;
/// Maps of one subscription.
pub const SUBSCRIBED_MAPS_MAX: usize = 64;
/// Longest time that a `subscribe` waits for an update: less than a session waits for an attempt.
pub const SUBSCRIBE_WAIT_MAX: Span = Span::from_secs(5);
/// Critical updates that an engine keeps for subscribers; older ones become a gap.
pub const UPDATES_KEPT_MAX: usize = 4_096;
/// Bytes of their data.
pub const UPDATES_KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Critical updates in one reply.
pub const UPDATES_ANSWERED_MAX: usize = 256;
/// Bytes of their data, unless it is a single one.
pub const UPDATES_ANSWERED_BYTES_MAX: usize = 256 * 1024;
/// Notices of the cache that wait for an engine; past it they become a gap.
pub const NOTICES_WAITING_MAX: usize = 4_096;
/// Bytes of a map's name.
pub const MAP_NAME_BYTES_MAX: usize = 64;
/// Bytes of a key id.
pub const KEY_ID_BYTES_MAX: usize = 32;
/// Keys that open beside the one that seals.
pub const KEYS_ACCEPTED_MAX: usize = 8;
/// Bytes of a sealed frame. Leaves `data` of the greatest size room for its JSON escapes; text that
/// is mostly escapes is refused as too large although it is shorter.
pub const FRAME_BYTES_MAX: usize = 3 * 1024 * 1024 - 4096;
/// Largest integer in JSON (RFC 8259, section 6: interoperable range).
pub const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;

/// `max_queue_size`.
pub const QUEUE_MIN: u64 = 1;
/// `max_queue_size`.
pub const QUEUE_MAX: u64 = 1_000_000;
/// `worker_threads`.
pub const WORKERS_MIN: u64 = 1;
/// `worker_threads`.
pub const WORKERS_MAX: u64 = 256;
/// `critical_slots`.
pub const CRITICAL_SLOTS_MAX: u64 = 256;
/// Bytes of data past which a session adds nothing more to a batch: with one more operation of
/// [`DATA_BYTES_MAX`] it still fits into a body.
pub const SESSION_BATCH_BYTES: usize = 64 * 1024;
/// (map, type)s that a session remembers, unless more are in use.
pub const SESSION_KEYS_MAX: usize = 4_096;
/// `critical_timeout_ms`.
pub const CRITICAL_TIMEOUT_MS_MIN: u64 = 1;
/// `critical_timeout_ms`.
pub const CRITICAL_TIMEOUT_MS_MAX: u64 = 60_000;
/// `freshness_window_ms`.
pub const FRESHNESS_WINDOW_MS_MIN: u64 = 1_000;
/// `freshness_window_ms`.
pub const FRESHNESS_WINDOW_MS_MAX: u64 = 3_600_000;
/// `sync_interval_ms`.
pub const SYNC_INTERVAL_MS_MIN: u64 = 1;
/// `sync_interval_ms`.
pub const SYNC_INTERVAL_MS_MAX: u64 = 3_600_000;
/// `cache_expiry_seconds`; 0 never expires.
pub const CACHE_EXPIRY_SECONDS_MAX: u64 = 31_536_000;
/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the path of a file that a configuration names: that of the usual systems.
pub const FILE_PATH_BYTES_MAX: usize = 4096;
/// Bytes of a file with certificates or a key. The authorities of a whole system take a quarter of that.
pub const PEM_BYTES_MAX: usize = 1024 * 1024;

/// Results that a session remembers after they ended.
pub const RESULTS_KEPT: usize = 1_024;
/// How long a session remembers a result.
pub const RESULT_RETENTION: Span = Span::from_secs(3_600);
/// Attempts at one operation that is not critical (a critical one is bounded by its deadline).
pub const ATTEMPTS_MAX: u32 = 8;
/// One attempt at an operation that is not critical.
pub const REQUEST_TIMEOUT: Span = Span::from_secs(10);
/// First back-off; doubles with each attempt.
pub const BACKOFF_MIN: Span = Span::from_ms(50);
/// Longest back-off.
pub const BACKOFF_MAX: Span = Span::from_secs(5);
/// Retries that a session may save up, for critical operations and for others.
pub const RETRIES_SAVED_MAX: u64 = 10;
/// First attempts at operations that are not critical that pay for one retry of such; a critical one pays for
/// one retry of a critical one.
pub const OPERATIONS_PER_RETRY: u64 = 5;
/// Time that pays for one retry of an operation that is not critical.
pub const RETRY_SPACING: Span = Span::from_ms(200);
/// Attempts at one operation that a server may find too old, each under a fresh time; then the clock is wrong.
pub const STALE_ATTEMPTS_MAX: u32 = 3;
/// Time that pays for one retry of a critical operation.
pub const CRITICAL_RETRY_SPACING: Span = Span::from_ms(250);
/// Longest `Retry-After` that a session honours.
pub const RETRY_AFTER_MAX: Span = Span::from_secs(30);
/// How far ahead of the server's clock a retention of de-duplication reaches, in freshness windows:
/// one for a clock that runs behind, one for a clock that runs ahead.
pub const DEDUPLICATION_WINDOWS: u64 = 2;
/// Entries that one purge removes at most, so that it never blocks for long.
pub const PURGE_MAX: usize = 10_000;

const _: () = assert!(DATA_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX / 3 * 4 + 1024 <= BODY_BYTES_MAX);
const _: () = assert!(SUBSCRIBE_WAIT_MAX.as_us() < REQUEST_TIMEOUT.as_us());
const _: () = assert!(UPDATES_KEPT_BYTES_MAX > DATA_BYTES_MAX && UPDATES_KEPT_MAX >= 1);
// A character takes six bytes of JSON at the most.
const _: () = assert!(6 * UPDATES_ANSWERED_BYTES_MAX + 512 * UPDATES_ANSWERED_MAX < FRAME_BYTES_MAX);
const _: () =
    assert!(6 * ENTRY_VALUE_BYTES_MAX + 1024 < FRAME_BYTES_MAX && ENTRY_VALUE_BYTES_MAX < DATA_BYTES_MAX);
const _: () = assert!(BACKOFF_MIN.as_us() <= BACKOFF_MAX.as_us());
const _: () = assert!(APPLY_BATCH_MAX >= 1 && APPLY_BATCHES_IN_FLIGHT_MAX >= 1);

/// Derived host keys that a main server keeps; past it the cache starts anew.
pub const HOST_KEYS_CACHED_MAX: usize = 200_000;
/// Bytes of a key in its text form. The longest form takes 32 of key id, 10 of account, 44 of base64
/// and 11 of role and colons.
pub const KEY_TEXT_BYTES_MAX: usize = 128;

const _: () = assert!(KEY_ID_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(KEY_ID_BYTES_MAX + 10 + 44 + 11 <= KEY_TEXT_BYTES_MAX);
/// `critical_slots`: without one, critical operations would wait for slots that normal work holds.
pub const CRITICAL_SLOTS_MIN: u64 = 1;
/// `redis_port`.
pub const REDIS_PORT_MAX: u64 = 65_535;
/// `redis_db`; a Redis server has 16 unless it is told otherwise.
pub const REDIS_DB_MAX: u64 = 65_535;
/// Names in `vector_eligible_maps`.
pub const VECTOR_MAPS_MAX: usize = 4_096;
/// Bytes of the name of a model or of a deployment at an embedding provider.
pub const PROVIDER_NAME_BYTES_MAX: usize = 128;
/// Findings that one reading of a configuration file reports; the rest is counted.
pub const CONFIG_DIAGNOSTICS_MAX: usize = 100;

const _: () = assert!(CRITICAL_SLOTS_MIN >= 1 && CRITICAL_SLOTS_MIN <= CRITICAL_SLOTS_MAX);
const _: () = assert!(WORKERS_MIN >= 1 && WORKERS_MIN <= WORKERS_MAX);
const _: () = assert!(CONFIG_DIAGNOSTICS_MAX >= 1);

/// Requests that wait in an engine's mailbox; past it the answer is 429.
pub const MAILBOX_REQUESTS_MAX: usize = 8_192;
/// Requests to the database and the cache that a shard keeps under way; past it no further request is
/// taken from its mailbox until one has ended.
pub const SHARD_EFFECTS_MAX: usize = 16_384;
/// `ApplyBatch` requests that a shard keeps under way, unless settings are given.
pub const SHARD_BATCHES_MAX: usize = 1;
/// One request to the database, whatever stands behind it: longer than what bounds PostgreSQL itself.
pub const STORE_TIMEOUT: Span = Span::from_secs(10);
/// One request to the cache, whatever stands behind it: longer than what bounds Redis itself.
pub const CACHE_TIMEOUT: Span = Span::from_secs(5);
/// How long a cache that was away keeps the versions that it has not been told of: longer than any read that
/// began before takes to bring an older one.
pub const CACHE_VERSIONS_KEPT: Span = Span::from_secs(60);
/// How long a shard may take to say how it does.
pub const PROBE_TIMEOUT: Span = Span::from_ms(500);
/// How often a main server's log tells of requests that were turned away, if there were any.
pub const TURNED_AWAY_TOLD_EVERY: Span = Span::from_secs(10);
/// How often old rows of the database are cleaned up.
pub const CLEAN_UP_INTERVAL: Span = Span::from_secs(3_600);
/// Longest time that a server which shuts down spends on answering what is open.
pub const SHUTDOWN_DRAIN: Span = Span::from_secs(10);
/// Connections a server holds open; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 65_536;
/// The head of a request must be there by then; also how long a connection may stay without one.
pub const CONNECTION_IDLE: Span = Span::from_secs(60);
/// The body of a request must be there by then.
pub const BODY_READ_TIMEOUT: Span = Span::from_secs(30);
/// Bytes of an operation id of the older form.
pub const LEGACY_OPERATION_ID_BYTES_MAX: usize = 128;
/// How long a sync proxy waits for the main server: longer than any host does.
pub const PROXY_TIMEOUT: Span = Span::from_secs(60);
/// How long a client keeps a connection without a request: less than the server does.
pub const CLIENT_IDLE: Span = Span::from_secs(30);
/// How long a client tries to connect.
pub const CONNECT_TIMEOUT: Span = Span::from_secs(5);
/// How long either side waits for TLS to come about on a connection.
pub const TLS_HANDSHAKE_TIMEOUT: Span = Span::from_secs(10);
/// Questions that wait in the mailbox of a host's session; past it whoever asks waits.
pub const HOST_MAILBOX_MAX: usize = 1_024;

const _: () = assert!(STORE_TIMEOUT.as_us() + 2 * CACHE_TIMEOUT.as_us() < CACHE_VERSIONS_KEPT.as_us());
const _: () = assert!(CLIENT_IDLE.as_us() < CONNECTION_IDLE.as_us());
const _: () = assert!(TLS_HANDSHAKE_TIMEOUT.as_us() < CONNECTION_IDLE.as_us());
/// Bytes of one line of a recording: a batch whose operations are all as large as can be does not fit with its
/// effects in full, anything else does.
pub const RECORDING_LINE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Numbers in a vector (text-embedding-ada-002).
pub const EMBEDDING_DIMENSIONS: usize = 1_536;
/// Bytes of one text to be embedded: a model that takes 8,191 tokens takes every such text, since no token is
/// shorter than a byte.
pub const EMBEDDING_TEXT_BYTES_MAX: usize = 8_191;
/// Texts in one request to an embedding provider, and in one operation that asks for vectors. Their vectors, written
/// as numbers, stay well below [`BODY_BYTES_MAX`].
pub const EMBEDDING_BATCH_TEXTS_MAX: usize = 64;
/// Bytes of all texts in one request to an embedding provider; OpenAI takes 300,000 tokens.
pub const EMBEDDING_BATCH_BYTES_MAX: usize = 300_000;
/// Requests to the embedding provider that an engine keeps under way; texts gather meanwhile.
pub const EMBEDDING_REQUESTS_IN_FLIGHT_MAX: usize = 4;
/// Texts that wait for the embedding provider at an engine; further requests are answered 429.
pub const EMBEDDING_TEXTS_WAITING_MAX: usize = 4_096;
/// One request to an embedding provider from start to end, all attempts and pauses included.
pub const EMBEDDING_TIMEOUT: Span = Span::from_secs(30);
/// One attempt at a request to an embedding provider.
pub const EMBEDDING_ATTEMPT_TIMEOUT: Span = Span::from_secs(10);
/// Attempts at one request to an embedding provider.
pub const EMBEDDING_ATTEMPTS_MAX: u32 = 6;
/// First pause between two attempts; doubles with each.
pub const EMBEDDING_BACKOFF_MIN: Span = Span::from_ms(500);
/// Longest pause that the provider did not ask for.
pub const EMBEDDING_BACKOFF_MAX: Span = Span::from_secs(8);
/// Bytes of the metadata of an embedding, as canonical JSON.
pub const EMBEDDING_METADATA_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the name that a host gives an embedding.
pub const EMBEDDING_NAME_BYTES_MAX: usize = 256;
/// Embeddings that one search finds at most.
pub const SEARCH_RESULTS_MAX: u32 = 100;
/// Embeddings that a search finds which does not say how many.
pub const SEARCH_RESULTS_DEFAULT: u32 = 10;

const _: () = assert!(EMBEDDING_TEXT_BYTES_MAX <= EMBEDDING_BATCH_BYTES_MAX);
const _: () = assert!(EMBEDDING_BATCH_TEXTS_MAX * EMBEDDING_DIMENSIONS * 32 <= BODY_BYTES_MAX);
const _: () = assert!(EMBEDDING_BATCH_TEXTS_MAX * EMBEDDING_DIMENSIONS * 4 / 3 * 4 < FRAME_BYTES_MAX / 2);
const _: () = assert!(EMBEDDING_ATTEMPT_TIMEOUT.as_us() * 2 < EMBEDDING_TIMEOUT.as_us());
const _: () = assert!(EMBEDDING_BATCH_TEXTS_MAX <= EMBEDDING_TEXTS_WAITING_MAX);
const _: () = assert!(SEARCH_RESULTS_DEFAULT <= SEARCH_RESULTS_MAX);
/// How often the health of hosts is checked.
pub const HEALTH_CHECK: Span = Span::from_secs(15);
/// Checks in a row that a host may miss before it is dropped: at the third it is.
pub const HEALTH_CHECKS_FAILED_MAX: u64 = 3;
/// Silent hosts that one sweep drops at most.
pub const HOSTS_DROPPED_MAX: usize = 1_000;
/// Hosts' reports in one request to the database.
pub const REPORTS_BATCH_MAX: usize = 256;
/// Connections to the database that what is about hosts uses at once: reports, checks of their health, findings.
pub const HOSTING_CONNECTIONS_MAX: usize = 2;
/// Maps that one host offers.
pub const MAPS_OFFERED_MAX: usize = 64;
/// Backups of one map.
pub const BACKUPS_MAX: usize = 2;
/// Assistants of one map.
pub const ASSISTANTS_MAX: usize = 2;
/// Security validations that wait at a server to be kept; further ones are counted only.
pub const VALIDATIONS_WAITING_MAX: usize = 1_024;
/// Security validations that the in-memory database keeps.
pub const VALIDATIONS_KEPT: usize = 10_000;
/// Bytes of the details of one security validation.
pub const VALIDATION_DETAILS_BYTES_MAX: usize = 1_024;
/// Bytes of a file of rules.
pub const RULES_BYTES_MAX: usize = 1024 * 1024;
/// Maps with bounds of their own, and skills with a cooldown of their own, in one set of rules.
pub const RULES_ENTRIES_MAX: usize = 10_000;

const _: () = assert!(HEALTH_CHECKS_FAILED_MAX >= 1 && REPORTS_BATCH_MAX >= 1);
const _: () = assert!(1 <= HOSTING_CONNECTIONS_MAX && HOSTING_CONNECTIONS_MAX < APPLY_BATCHES_IN_FLIGHT_MAX);

/// Bytes of the name of a peer.
pub const NODE_ID_BYTES_MAX: usize = 64;
/// Bytes of the name of a table or column; PostgreSQL cuts longer ones.
pub const SQL_NAME_BYTES_MAX: usize = 63;
/// Tables that travel between peers.
pub const TABLES_MAX: usize = 256;
/// Columns of one of them.
pub const COLUMNS_MAX: usize = 256;
/// Transactions under way in one snapshot, far more than PostgreSQL has connections.
pub const SNAPSHOT_UNDER_WAY_MAX: usize = 65_536;
/// Peers that a node knows unless it is told otherwise (`MAX_PEERS`).
pub const PEERS_MAX_DEFAULT: usize = 100;
/// `MAX_PEERS`.
pub const PEERS_MAX: usize = 1_000;
/// How far ahead of the receiver's clock a stamp may lie; what lies further ahead is refused and reported.
pub const STAMP_AHEAD_MAX: Span = Span::from_secs(60);
/// Microseconds since 1970 that a stamp may name: what a database keeps in eight bytes with a sign.
pub const STAMP_US_MAX: u64 = i64::MAX as u64;
/// What one life of a node may have added to a counter, and a counter's value at a write, are below this.
pub const COUNTER_MAX: i128 = 10i128.pow(30);
/// Lives of nodes that add to the counters of one row.
pub const COUNTER_LIVES_MAX: usize = 10_000;
/// Rows of a source's transaction that travel and commit whole; a larger one is split and reported so.
pub const TRANSACTION_ROWS_MAX: usize = 10_000;
/// Rows of one page of a feed, unless a transaction has more.
pub const PAGE_ROWS_MAX: usize = 5_000;
/// Pages that have to be stored one after another before pages that were made shorter, since one was refused, are made twice
/// as long.
pub const PAGES_STORED_TO_GROW: u32 = 4;
/// Bytes of one page of a feed, unless a transaction or a single row has more.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Transactions remembered of which tombstones were purged; all older ones are taken for such.
pub const PURGED_TRANSACTIONS_KEPT: usize = 10_000;
/// Rows remembered that were purged or dropped, each with its last version; the oldest are forgotten first.
pub const GRAVES_MAX: usize = 100_000;
/// Bytes of the canonical key of a row that travels: what an index of PostgreSQL takes, beside what stands next to it.
pub const ROW_KEY_BYTES_MAX: usize = 2_000;
/// Bytes of one row that travels.
pub const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;
const _: () = assert!(COUNTER_MAX < i128::MAX / (4 * COUNTER_LIVES_MAX as i128));

/// How long tombstones wait for peers that do not come back.
pub const TOMBSTONE_RETENTION: Span = Span::from_secs(7 * 24 * 3_600);
/// Bytes of the name of a peer's host; a DNS name has no more (RFC 1035, section 2.3.4).
pub const PEER_HOST_BYTES_MAX: usize = 255;
/// Bytes of an announcement.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 1_024;
/// How long notices of changes wait for further ones.
pub const NOTIFY_DELAY: Span = Span::from_ms(2);
/// Questions of peers that a replica has its database answer at once; past it the answer is Busy.
pub const PEER_ANSWERS_MAX: usize = 256;
/// How long a question to a peer may stay without an answer.
pub const PEER_ASK_TIMEOUT: Span = Span::from_secs(10);
/// How often a peer that answers is asked whether it is still there.
pub const PEER_HEALTH_INTERVAL: Span = Span::from_secs(60);
/// A peer that cannot be reached and was not seen for longer is removed.
pub const PEER_UNSEEN_MAX: Span = Span::from_secs(120);
/// Hellos that a peer has to leave without an answer, unseen for [`PEER_UNSEEN_MAX`], before another engine of its name
/// is believed to be it.
pub const PEER_MOVED_MISSES: u32 = 3;
/// First pause after a peer failed; doubles with each failure.
pub const PEER_BACKOFF_MIN: Span = Span::from_ms(500);
/// Longest such pause.
pub const PEER_BACKOFF_MAX: Span = Span::from_secs(30);
/// First pause after the own database did not do what a round asked of it; doubles with each failure.
pub const PEER_STORE_BACKOFF_MIN: Span = Span::from_ms(20);
/// Longest such pause.
pub const PEER_STORE_BACKOFF_MAX: Span = Span::from_secs(1);
/// Addresses that somebody has added to a node by its API and not removed.
pub const PEERS_ADDED_MAX: usize = 1_000;
/// Addresses that are being looked at and are not yet peers, and those that turned out to be none.
pub const PEER_CANDIDATES_MAX: usize = 1_000;
/// How often everything is compared with a peer, by digests.
pub const ANTI_ENTROPY_INTERVAL: Span = Span::from_secs(60);
/// How often a part of the own rows is looked through for corruption.
pub const SCRUB_INTERVAL: Span = Span::from_secs(60);
/// Rows of that part.
pub const SCRUB_ROWS_MAX: usize = 10_000;
/// How often tombstones are purged.
pub const TOMBSTONE_PURGE_INTERVAL: Span = Span::from_secs(60);
/// Parts whose digests are compared in one question, and leaves whose entries are.
pub const DIGEST_PARTS_MAX: usize = 8_192;
/// A part with at most this many rows is compared row by row, not by the digests of its parts.
pub const DIGEST_ROWS_FEW: u64 = 8;
/// Rows whose entries are compared in one question, unless a single leaf has more.
pub const DIGEST_ENTRIES_MAX: usize = 8_192;
/// Rows that are fetched from a peer, or pushed to it, in one question.
pub const REPAIR_ROWS_MAX: usize = 1_000;
/// Conflicts of one merge that are told one by one; all are counted.
pub const CONFLICTS_TOLD_MAX: usize = 100;
/// Times that a replica decides anew because applications changed rows meanwhile.
pub const DECISIONS_MAX: u32 = 16;

const _: () = assert!(PEER_BACKOFF_MIN.as_us() <= PEER_BACKOFF_MAX.as_us());
const _: () = assert!(PEER_ASK_TIMEOUT.as_us() < PEER_UNSEEN_MAX.as_us());
const _: () = assert!(DIGEST_PARTS_MAX >= 16 && REPAIR_ROWS_MAX >= 1);
/// Rows that a comparison finds to differ before it exchanges them.
pub const RECONCILE_ROWS_MAX: usize = 100_000;
/// Pages that one round reads; then it is others' turn, although what was read in part may come again from them.
pub const PAGES_PER_ROUND_MAX: u64 = 10_000;
/// How long a round waits for its peer before a round with another peer may begin.
pub const ROUND_PATIENCE: Span = Span::from_ms(1_000);
/// How long a peer is not told again that something new came from others. What was written here is told at once.
pub const RELAY_PAUSE: Span = Span::from_ms(200);
/// Rounds under way at once, all but one of them waiting for their peers.
pub const ROUNDS_MAX: usize = 16;
/// Corrupt rows that wait for a sound copy.
pub const CORRUPT_ROWS_MAX: usize = 10_000;
/// Rows of one push: more than a transaction may have, since those that were cut short go with the next.
pub const PUSH_ROWS_MAX: usize = 2 * TRANSACTION_ROWS_MAX;

/// `SYNC_INTERVAL`, in seconds: a day.
pub const SYNC_INTERVAL_SECS_MAX: u64 = 86_400;
/// Ports, and addresses, to which announcements go.
pub const DISCOVERY_TARGETS_MAX: usize = 32;
/// How far the time of a signed request or announcement may lie from the receiver's, before or after.
pub const PEER_FRESHNESS_WINDOW: Span = Span::from_secs(120);
/// Signed requests remembered within that window; past it the oldest count as too old.
pub const PEER_REQUESTS_REMEMBERED_MAX: usize = 500_000;
/// Bytes of the body of a question or an answer between peers, as it travels.
pub const PEER_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of that body once it is unpacked.
pub const PEER_BODY_UNPACKED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bodies from this size on are packed and unpacked beside the threads that wait for sockets.
pub const PEER_BODY_INLINE_BYTES_MAX: usize = 32 * 1024;
/// Questions of peers that are read, unpacked and answered at once; past it the answer is 503.
pub const PEER_QUESTIONS_OPEN_MAX: usize = 256;
/// Questions, announcements and commands that wait in the mailbox of a replica.
pub const REPLICA_MAILBOX_MAX: usize = 1_024;
/// Events that wait for somebody who follows them; who falls further behind is dropped.
pub const REPLICA_EVENTS_WAITING_MAX: usize = 1_024;
/// One request of a replica to its database.
pub const PEER_STORE_TIMEOUT: Span = Span::from_secs(60);
/// How often a peer's database is asked whether applications wrote to it: this soon after they did, ...
pub const CHANGE_POLL_MIN: Span = Span::from_ms(2);
/// ... and this seldom when they do not.
pub const CHANGE_POLL_MAX: Span = Span::from_ms(20);

const _: () = assert!(PEER_BODY_BYTES_MAX <= PEER_BODY_UNPACKED_BYTES_MAX);
const _: () = assert!(PAGE_BYTES_MAX < PEER_BODY_BYTES_MAX && ROW_BYTES_MAX < PEER_BODY_BYTES_MAX);
const _: () = assert!(CHANGE_POLL_MIN.as_us() > 0 && CHANGE_POLL_MIN.as_us() <= CHANGE_POLL_MAX.as_us());
