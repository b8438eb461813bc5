//! What `GET /metrics` says, in the text format of Prometheus (version 0.0.4). Holds counts and times only:
//! no name of an account, a map or a server.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::host_sync::server::Counters;
use crate::runtime::driver::shards::ShardReport;

/// Upper bounds of the buckets, in microseconds: around the time within which critical operations must end.
const BOUNDS_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// How long requests to the sync endpoint took.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    /// One more than bounds: the last is for all that took longer.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Durations {
    pub(crate) fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String) {
        let name = "p2p_sync_http_request_duration_seconds";
        head(out, name, "histogram", "From the last byte of a request to its answer, sync endpoint only.");
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS_US) {
            count += bucket.load(Ordering::Relaxed);
            line(out, format_args!("{name}_bucket{{le=\"{}\"}} {count}", seconds(bound)));
        }
        count += self.buckets[BOUNDS_US.len()].load(Ordering::Relaxed);
        line(out, format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
        line(out, format_args!("{name}_sum {}", seconds(self.sum_us.load(Ordering::Relaxed))));
        line(out, format_args!("{name}_count {count}"));
    }
}

/// Its name, what it counts, and where it is found.
type Figure<T, N> = (&'static str, &'static str, fn(&T) -> N);

/// The whole text. A service is up, down or has not been seen yet.
pub(crate) fn text(
    shards: &[ShardReport],
    services: [(&str, Option<bool>); 2],
    durations: &Durations,
) -> String {
    let mut out = String::with_capacity(4_096);
    let counters: [Figure<Counters, u64>; 15] = [
        ("requests", "Requests taken in.", |c| c.requests),
        ("refused", "Requests that were not authentic.", |c| c.refused),
        ("overloaded", "Requests turned away under load by an engine.", |c| c.overloaded),
        ("applied", "Operations that took effect.", |c| c.applied),
        ("duplicates", "Operations seen before.", |c| c.duplicates),
        ("rejected", "Operations rejected, order included.", |c| c.rejected),
        ("cache_hits", "States served from the cache.", |c| c.cache_hits),
        ("cache_misses", "States read from the database.", |c| c.cache_misses),
        ("reads_joined", "Reads that waited for one already under way.", |c| c.reads_joined),
        ("batches", "Transactions of writes.", |c| c.batches),
        ("entries", "Requests for applications' own entries.", |c| c.entries),
        ("subscribes", "Requests for critical updates.", |c| c.subscribes),
        ("findings_dropped", "Findings about hosts' data that were not kept.", |c| c.findings_dropped),
        ("embed_requests", "Requests to the embedding provider.", |c| c.embed_requests),
        ("embed_failures", "Requests to the embedding provider without vectors.", |c| c.embed_failures),
    ];
    for (name, help, count) in counters {
        let name = format!("p2p_sync_{name}_total");
        head(&mut out, &name, "counter", help);
        for ShardReport { shard, counters, .. } in shards {
            line(&mut out, format_args!("{name}{{shard=\"{shard}\"}} {}", count(counters)));
        }
    }
    let gauges: [Figure<ShardReport, usize>; 4] = [
        ("mailbox_requests", "Requests that wait for an engine.", |s| s.mailbox),
        ("exchanges_open", "Requests that an engine has not answered.", |s| s.exchanges),
        ("effects_under_way", "Requests to database, cache and provider under way.", |s| s.under_way),
        ("keys_in_force", "Keys that open requests.", |s| s.keys),
    ];
    for (name, help, count) in gauges {
        let name = format!("p2p_sync_{name}");
        head(&mut out, &name, "gauge", help);
        for report in shards {
            line(&mut out, format_args!("{name}{{shard=\"{}\"}} {}", report.shard, count(report)));
        }
    }
    head(&mut out, "p2p_sync_service_up", "gauge", "Whether the last request to a service went through.");
    for (service, is_up) in services {
        if let Some(is_up) = is_up {
            let is_up = u8::from(is_up);
            line(&mut out, format_args!("p2p_sync_service_up{{service=\"{service}\"}} {is_up}"));
        }
    }
    durations.write(&mut out);
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _ = writeln!(out, "{line}");
}

/// Microseconds as exact decimal seconds.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_up_to_their_bounds() {
        let durations = Durations::default();
        for us in [0, 250, 251, 500_000, 500_001, 60_000_000] {
            durations.took(Duration::from_micros(us));
        }
        let mut out = String::new();
        durations.write(&mut out);
        for expected in [
            "_bucket{le=\"0.00025\"} 2\n",
            "_bucket{le=\"0.0005\"} 3\n",
            "_bucket{le=\"0.25\"} 3\n",
            "_bucket{le=\"0.5\"} 4\n",
            "_bucket{le=\"1\"} 5\n",
            "_bucket{le=\"10\"} 5\n",
            "_bucket{le=\"+Inf\"} 6\n",
            "_sum 61.000502\n",
            "_count 6\n",
        ] {
            assert!(out.contains(expected), "no {expected} in\n{out}");
        }
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample() {
        let counters = Counters { requests: 7, ..Counters::default() };
        let report = ShardReport { shard: 1, counters, mailbox: 2, exchanges: 3, under_way: 4, keys: 5 };
        let text = text(&[report], [("database", Some(true)), ("cache", None)], &Durations::default());
        for expected in [
            "# TYPE p2p_sync_requests_total counter\np2p_sync_requests_total{shard=\"1\"} 7\n",
            "p2p_sync_mailbox_requests{shard=\"1\"} 2\n",
            "p2p_sync_exchanges_open{shard=\"1\"} 3\n",
            "p2p_sync_effects_under_way{shard=\"1\"} 4\n",
            "p2p_sync_keys_in_force{shard=\"1\"} 5\n",
            "p2p_sync_service_up{service=\"database\"} 1\n",
        ] {
            assert!(text.contains(expected), "no {expected} in\n{text}");
        }
        assert!(!text.contains("service=\"cache\""));
        for line in text.lines() {
            let is_sample = line
                .split_once(' ')
                .is_some_and(|(name, value)| name.starts_with("p2p_sync_") && value.parse::<f64>().is_ok());
            assert!(line.starts_with("# ") || is_sample, "{line}");
        }
    }
}
