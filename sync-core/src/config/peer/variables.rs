//! The one table of the variables that a peer reads from its environment, and what each does.

use std::fmt::Write as _;

use crate::config::keys::Form;
use crate::limits;

/// What is known of one variable.
#[derive(Debug)]
pub struct VariableSpec {
    /// As written in the environment.
    pub name: &'static str,
    /// What holds when it is not given, or empty; empty for nothing.
    pub default: &'static str,
    /// What is taken.
    pub form: Form,
    /// Whether the value is hidden wherever it would be shown.
    pub secret: bool,
    /// What it does, in one line.
    pub behaviour: &'static str,
    /// The test that shows it: a file of `sync-core/tests` and a name.
    pub test: &'static str,
}

/// The variable of this name.
pub fn find(name: &str) -> Option<&'static VariableSpec> {
    ALL.into_iter().find(|spec| spec.name == name)
}

/// The table as Markdown, for `docs/peer-node.md`.
pub fn markdown_table() -> String {
    let mut table = String::from(
        "| variable | default | range | behaviour | test (`sync-core/tests/it`, `containers/` beside it) |\n|---|---|---|---|---|\n",
    );
    for spec in ALL {
        let default = if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
        let secret = if spec.secret { " Secret." } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | {default} | {} | {}{secret} | `{}` |",
            spec.name, spec.form, spec.behaviour, spec.test
        );
    }
    table
}

const fn variable(
    name: &'static str,
    default: &'static str,
    form: Form,
    behaviour: &'static str,
    test: &'static str,
) -> VariableSpec {
    VariableSpec { name, default, form, secret: false, behaviour, test }
}

const fn secret(
    name: &'static str,
    form: &'static str,
    behaviour: &'static str,
    test: &'static str,
) -> VariableSpec {
    VariableSpec { name, default: "", form: Form::Text(form), secret: true, behaviour, test }
}

const PORT: Form = Form::Number { min: 0, max: 65_535, unit: "" };
const SWITCH: Form = Form::Text("`true` or `false` (also `1`, `0`, `yes`, `no`, `on`, `off`)");

macro_rules! table {
    ($($id:ident = $spec:expr;)*) => {
        $(pub(super) static $id: VariableSpec = $spec;)*
        /// Every variable, in the order in which they are documented.
        pub static ALL: [&VariableSpec; [$($spec.name),*].len()] = [$(&$id),*];
    };
}

table! {
    API_PORT = variable("API_PORT", "8000", PORT,
        "TCP port of the documented endpoints; 0 takes a free one.",
        "peer_node.rs: a_node_answers_on_its_ports_and_says_which");
    P2P_PORT = variable("P2P_PORT", "8001", PORT,
        "TCP port where peers read feeds and compare digests; 0 takes a free one. Must differ from `API_PORT`.",
        "peer_node.rs: a_node_answers_on_its_ports_and_says_which");
    DISCOVERY_PORT = variable("DISCOVERY_PORT", "8002", PORT,
        "UDP port where announcements of peers are heard; 0 takes a free one.",
        "peer_node.rs: peers_on_one_machine_find_each_other_by_announcements");
    BIND_ADDRESS = variable("BIND_ADDRESS", "0.0.0.0", Form::Text("an IP address of this machine"),
        "Where all three ports are opened; `0.0.0.0` for everywhere, `127.0.0.1` for this machine only. The address of one interface hears no broadcasts: name its peers in `STATIC_PEERS`.",
        "peer_node.rs: a_node_answers_on_its_ports_and_says_which");
    NODE_NAME = variable("NODE_NAME", "", Form::Text("1 to 64 characters out of `A-Z a-z 0-9 _ - .`"),
        "Names the node among its peers. Without it a name is generated once and kept in the database; a database that has another name refuses to start.",
        "peer_node.rs: a_node_answers_on_its_ports_and_says_which");
    DATABASE_URL = secret("DATABASE_URL", "`postgresql://...` or `host=... dbname=...`",
        "The node's own PostgreSQL database. Must be given, unless the node runs with `--memory`.",
        "peer_node_program.rs: what_is_wrong_with_the_environment_is_said_with_its_remedy");
    ENABLE_P2P_SYNC = variable("ENABLE_P2P_SYNC", "true", SWITCH,
        "Whether the node synchronises by itself. If not, it answers its peers and asks nobody.",
        "peer_node.rs: a_node_that_does_not_synchronise_asks_nobody");
    ENABLE_AUTO_DISCOVERY = variable("ENABLE_AUTO_DISCOVERY", "true", SWITCH,
        "Whether the node announces itself and heeds announcements.",
        "peer_node.rs: without_discovery_only_given_peers_are_met");
    SYNC_INTERVAL = variable("SYNC_INTERVAL", "30",
        Form::Number { min: 1, max: limits::SYNC_INTERVAL_SECS_MAX, unit: "s" },
        "From one round with a peer to the next, and from one announcement to the next. Changes travel at once, whatever this says.",
        "peer_config.rs: every_variable_takes_what_it_should_and_refuses_what_it_should_not");
    STATIC_PEERS = variable("STATIC_PEERS", "", Form::Text("comma list of `host[:port]`; the port is the peer's `API_PORT`, 8000 unless it is given"),
        "Peers that are tried for ever, whether they announce themselves or not.",
        "peer_node.rs: without_discovery_only_given_peers_are_met");
    DISCOVERY_PEER_PORTS = variable("DISCOVERY_PEER_PORTS", "8002,8004,8006", Form::Text("comma list of at most 32 ports"),
        "UDP ports to which announcements go, so that nodes on one machine with ports of their own find each other.",
        "peer_node.rs: peers_on_one_machine_find_each_other_by_announcements");
    DISCOVERY_ADDRESSES = variable("DISCOVERY_ADDRESSES", "255.255.255.255,127.0.0.1", Form::Text("comma list of at most 32 IPv4 addresses, broadcast ones included"),
        "Where announcements go.",
        "peer_node.rs: peers_on_one_machine_find_each_other_by_announcements");
    MAX_PEERS = variable("MAX_PEERS", "10", Form::Number { min: 1, max: limits::PEERS_MAX as u64, unit: "peers" },
        "Peers known at once; those of `STATIC_PEERS` are known beyond it, too.",
        "peer_config.rs: every_variable_takes_what_it_should_and_refuses_what_it_should_not");
    P2P_SHARED_KEY = secret("P2P_SHARED_KEY", "`p2p-peers:<base64 of 32 bytes>`, as `peer-node new-shared-key` prints it",
        "The key of all peers of a mesh: requests, answers and announcements are signed with it, and nothing else is heeded. A node without one says so.",
        "peer_node_key.rs: peers_with_one_key_meet_and_others_are_refused");
    SYNC_TABLES = variable("SYNC_TABLES", "", Form::Text("comma list of tables"),
        "The tables that travel, out of the seven of the specification or those of `SYNC_SCHEMA_FILE`; empty for all.",
        "peer_config.rs: tables_are_chosen_by_name_and_never_without_their_parents");
    SYNC_SCHEMA_FILE = variable("SYNC_SCHEMA_FILE", "", Form::Text("path of a JSON file"),
        "Tables and columns of one's own in place of those of the specification: the allow-list of what peers may read and write.",
        "peer_config.rs: a_file_declares_tables_of_ones_own");
}
