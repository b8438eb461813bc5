//! Bounds on what hosts measure of themselves, on what conditions look at, and how the main server uses its services.

use crate::time::Span;

/// Lowest clock of a CPU core that hosts a map, in MHz.
pub const HOST_CPU_MHZ_MIN: u32 = 3_000;
/// Fewest cores that host a map.
pub const HOST_CPU_CORES_MIN: u32 = 4;
/// Least free memory of a host of a map, in MB.
pub const HOST_FREE_RAM_MB_MIN: u32 = 8_192;
/// Slowest network of a host of a map, in Mbit/s.
pub const HOST_NETWORK_MBPS_MIN: u32 = 100;
/// Longest latency to a host of a map.
pub const HOST_LATENCY_MS_FIT_MAX: u32 = 30;
/// Most disconnects of a host of a map in an hour.
pub const HOST_DISCONNECTS_FIT_MAX: u32 = 1;

/// Clock of a core that a host may claim, in MHz: beyond it nothing measures.
pub const HOST_CPU_MHZ_MAX: u32 = 100_000;
/// Cores that a host may claim.
pub const HOST_CPU_CORES_MAX: u32 = 4_096;
/// Free memory that a host may claim, in MB.
pub const HOST_FREE_RAM_MB_MAX: u32 = 16_777_216;
/// Network speed that a host may claim, in Mbit/s.
pub const HOST_NETWORK_MBPS_MAX: u32 = 1_000_000;
/// Longest latency that a host may report; what is missing counts as this.
pub const HOST_LATENCY_MS_MAX: u32 = 60_000;
/// Most disconnects in an hour that a host may report; what is missing counts as this.
pub const HOST_DISCONNECTS_MAX: u32 = 3_600;

/// Longest time between two positions that is looked at, in microseconds: a day is enough to get anywhere.
pub const REACH_ELAPSED_US_MAX: u64 = 86_400_000_000;
/// Greatest speed of a player, so that nothing overflows.
pub const REACH_MILLICELLS_PER_SECOND_MAX: u64 = 100_000_000;
/// Greatest distance that is told apart, in cells.
pub const REACH_CELLS_MAX: u64 = (1 << 31) - 1;

/// One request to PostgreSQL from start to end, unless options are given.
pub const POSTGRES_REQUEST_TIMEOUT: Span = Span::from_secs(5);
/// How often one request to PostgreSQL is sent again because concurrent ones were in its way.
pub const CONFLICT_RETRIES_MAX: u32 = 8;
/// One answer of Redis, unless options are given.
pub const REDIS_RESPONSE_TIMEOUT: Span = Span::from_ms(500);
/// How often a subscription makes sure that its connection to Redis still lives, unless options are given.
pub const REDIS_PING_INTERVAL: Span = Span::from_secs(1);
/// Messages of Redis that wait for a subscriber, unless options are given; further ones become a gap.
pub const REDIS_MESSAGES_MAX: usize = 10_000;
/// Keys that one command removes from Redis.
pub const REDIS_KEYS_REMOVED_MAX: usize = 1_000;
/// Questions to a shard how it does, that wait.
pub const SHARD_PROBES_MAX: usize = 4;
/// How long a service may take to answer a check of the server's health.
pub const HEALTH_PROBE_TIMEOUT: Span = Span::from_secs(1);
/// How long what such a check found is told again: whoever asks often does not become load.
pub const HEALTH_KEPT: Span = Span::from_ms(500);
/// How long the end of a connection is waited for that spoke plain HTTP to a port with TLS.
pub const PLAIN_HTTP_TIMEOUT: Span = Span::from_secs(1);
/// Bytes of such a connection that are read.
pub const PLAIN_HTTP_BYTES_MAX: u64 = 64 * 1024;
/// What `wait_for_sync_result` of the facade waits for, unless another bound is given.
pub const SYNC_RESULT_WAIT_DEFAULT: Span = Span::from_ms(5_000);

const _: () = assert!(HOST_CPU_MHZ_MIN <= HOST_CPU_MHZ_MAX && HOST_CPU_CORES_MIN <= HOST_CPU_CORES_MAX);
const _: () = assert!(HOST_LATENCY_MS_FIT_MAX <= HOST_LATENCY_MS_MAX && HOST_DISCONNECTS_FIT_MAX >= 1);
const _: () = assert!(POSTGRES_REQUEST_TIMEOUT.as_us() < super::STORE_TIMEOUT.as_us());
const _: () = assert!(REDIS_RESPONSE_TIMEOUT.as_us() < super::CACHE_TIMEOUT.as_us());
