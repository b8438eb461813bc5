//! Commented scenarios to start from, as `p2psim init` writes them.

/// The kinds of starter scenario, each with what it shows.
pub const TEMPLATES: [(&str, &str); 4] = [
    ("host", "a hundred hosts on an ordinary network"),
    ("overload", "more work than the hosts can send, with critical operations that must come through"),
    ("faults", "partitions, crashes and clock steps, and a system that must come to rest afterwards"),
    (
        "peers",
        "peers with a database each, which are written side by side, cut off and set back, and must come to agree",
    ),
];

/// The starter scenario of this kind; the kinds are in [`TEMPLATES`].
pub fn template(kind: &str) -> Option<&'static str> {
    match kind {
        "host" => Some(HOST),
        "overload" => Some(OVERLOAD),
        "faults" => Some(FAULTS),
        "peers" => Some(PEERS),
        _ => None,
    }
}

const HOST: &str = r"# yaml-language-server: $schema=schema.json
# The line above gives editors completion and checks; let it point to scenarios/schema.json.
# Every number has a unit: 20ms, 10/s, 0.1%.
name: my-hosts
about: A hundred hosts on an ordinary network; most operations are positions, some are critical.
duration: 60s          # workload and faults last this long, in simulated time
settle: 30s            # then the system must come to rest within this time

topology:
  hosts: 100
  maps: 10             # host n plays on map n mod 10

network:               # what is not said here has a default
  to_server:
    latency: {lognormal: {median: 15ms, p99: 60ms}}
    loss: 0.1%
  to_host:
    latency: {lognormal: {median: 15ms, p99: 60ms}}
    loss: 0.1%

clocks:
  skew: 200ms          # each host's clock is off by up to this much, either way
  drift_ppm: 20

workload:
  - name: play
    hosts: all         # or {first: 10}, or {only: [0, 3]}
    arrivals: {poisson: 10/s}     # of each host
    mix:               # drawn by weight
      - {type: PLAYER_POSITION, weight: 8}
      - {type: MONSTER_DATA, weight: 3, bytes: 400}
      - {type: CHAT_MESSAGE, weight: 1}
      - {type: MAP_STATE, kind: sync_from, weight: 1}
      - {type: CRITICAL_GAME_STATE, critical: true, weight: 1}

expect:
  properties: [P5, P14, P19, P30]
  critical_miss_ratio_max: 1%     # how many critical operations may miss their deadline (P19)
  at_most:
    critical_p99: 400ms
";

const OVERLOAD: &str = r"# yaml-language-server: $schema=schema.json
# More work arrives than the main server can write. Ordinary operations are refused, with a result each;
# critical ones must keep their deadline, and work must flow again soon after.
name: my-overload
about: Hosts ask for three times what can be written, and critical operations keep their deadline.
duration: 30s
settle: 30s            # the queues must drain in this time

topology:
  hosts: 20

hosts:
  critical_timeout: 500ms
  critical_data_types: [CRITICAL_GAME_STATE]
  max_queue_size: 4    # operations that wait at a host; what comes on top is refused
  worker_threads: 2    # operations under way that are not critical
  critical_slots: 4    # kept free for critical ones

main_server:           # two transactions of four operations, 40 ms each: 200 operations a second
  batch_max: 4
  batches_in_flight_max: 2

database:
  latency: {constant: 40ms}

workload:
  - name: ordinary     # all the time
    arrivals: {poisson: 2/s}
    mix: &ordinary
      - {type: CHAT_MESSAGE, weight: 4, bytes: 200}
      - {type: ITEM_DROP, weight: 1, priority: true}
  - name: flood        # what fills the queues
    arrivals: {poisson: 40/s}
    from: 5s
    until: 20s
    mix: *ordinary
  - name: vital        # what must come through
    arrivals: {constant: 1/s}
    mix:
      - {type: CRITICAL_GAME_STATE}

expect:
  properties: [P5, P14, P19, P20, P21, P22]
  critical_miss_ratio_max: 0.1%
  critical_blocking_max: 50ms
  normal_stall_max: 5s
  overload: {from: 5s, until: 20s, factor_min: 3}
  recovery: {overload_ends: 20s, within: 4s, goodput_min: 90%, latency_max: 1s}
  at_most:
    critical_p99: 450ms

history: failing_keys  # keep only what a check found fault with
";

const FAULTS: &str = r"# yaml-language-server: $schema=schema.json
# Things go wrong one after another. When `duration` is over everything is healed, and within `settle`
# the system must have come to rest with nothing lost and nothing done twice.
name: my-faults
about: Partitions, crashes, a slow database and a clock that steps; afterwards everything agrees again.
duration: 60s
settle: 60s

topology:
  hosts: 50
  maps: 5

network:
  to_server:
    loss: 1%
    duplicate: 0.5%
    reorder: 2%
    reorder_delay: 100ms
  to_host:
    loss: 1%
    tamper: 0.1%       # one bit flipped: must be noticed, never taken

workload:
  - name: play
    arrivals: {poisson: 5/s}
    mix:
      - {type: PLAYER_POSITION, weight: 5}
      - {type: ITEM_DROP, weight: 1}
      - {type: QUEST_PROGRESS, weight: 1, priority: true}

faults:
  - at: 5s             # `for` absent: until the end of `duration`
    for: 10s
    inject:
      partition: {hosts: {first: 10}, direction: to_host}   # the work is done, nobody learns of it
  - at: 20s
    for: 2s
    inject: {crash: main_server}          # or database, cache, {hosts: {only: [3]}}
  - at: 30s
    for: 5s
    inject:
      database: {latency: {constant: 500ms}, failures: 10%}
  - at: 40s
    for: 10s
    inject:
      degrade:
        hosts: {only: [0, 1, 2]}
        loss: 30%
  - at: 45s            # a step happens once and is not undone
    inject:
      clock_step: {hosts: {first: 5}, by: -2s}

expect:
  properties: [P5, P14, P30]
";

const PEERS: &str = r"# yaml-language-server: $schema=schema.json
# Peers with a database each, which applications read and write side by side. When the last fault is over, what
# they hold differently must become alike within `converge_within`, with nothing acknowledged lost.
name: my-peers
about: Three peers are written side by side while one is cut off, one dies and one is set back; afterwards they agree.
duration: 60s          # applications work and faults happen this long, in simulated time
settle: 60s            # then everything must come to rest within this time

clocks:
  skew: 500ms          # each database's clock is off by up to this much, either way

peers:
  count: 3
  links: mesh          # or ring, star, line, {random: {degree: 6}}
  sync_interval: 2s
  reconcile_interval: 10s        # how often everything is compared, by digests
  network: {loss: 1%, duplicate: 1%}
  rows: {users: 100, products: 50}   # there from the start; tables: {declared: ...} has your own

transactions:
  - name: writers
    peers: all         # or {first: 2}, or {only: [0, 2]}
    arrivals: {poisson: 5/s}     # at each peer
    sessions: 4        # a session does one thing after the other
    statements_max: 3  # of a transaction, which travels whole
    open_for: {exponential: {mean: 50ms}}
    mix:               # drawn by weight; row numbers from 0 up to `rows`
      - {do: put, table: users, rows: 120, weight: 4}
      - {do: put, table: products, rows: 60, weight: 2}
      - {do: delete, table: users, rows: 120}
      - {do: read, table: users, rows: 120, weight: 2}
    # texts: odd       # floats, emoji, control characters; large: one mebibyte each

steps:                 # transactions that are written down, for what must meet just so
  - {at: 12s, peer: 0, do: [{put: {table: users, row: 1}}]}
  - {at: 12s, peer: 2, do: [{delete: {table: users, row: 1}}]}

faults:
  - {at: 10s, for: 15s, inject: {peers: {cut: {from: {only: [2]}, to: all}}}}
  - {at: 30s, for: 5s, inject: {peers: {crash: {only: [0]}}}}
  - {at: 45s, inject: {peers: {set_back: {peers: {only: [1]}, by: 10s}}}}

expect:
  # `p2psim list --properties` says what each is; more of them fit peers.
  properties: [P1, P2, P4, P5, P6, P7, P9, P10, P11, P16, P18, P30]
  converge_within: 30s
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn every_starter_scenario_is_valid() {
        for (kind, _) in TEMPLATES {
            let text = template(kind).unwrap();
            assert!(text.starts_with("# yaml-language-server: $schema="), "{kind}");
            let scenario = Scenario::parse(kind, text.as_bytes()).unwrap_or_else(|diagnostics| {
                panic!("{}", diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            });
            assert_eq!(Scenario::parse(kind, scenario.to_yaml().as_bytes()).unwrap(), scenario, "{kind}");
        }
        assert_eq!(template("nothing"), None);
    }
}
