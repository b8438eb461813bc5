//! The one table of keys: what may be said in `p2p_data_sync.conf`, and what it does.

use std::fmt;
use std::fmt::Write as _;

use crate::limits;

/// What is known of one key.
#[derive(Debug)]
pub struct KeySpec {
    /// As written in the file.
    pub name: &'static str,
    /// Where it counts.
    pub roles: Roles,
    /// What holds when the key is left out; empty for nothing. Only a key whose default is empty
    /// may stand with an empty value.
    pub default: &'static str,
    /// What is taken.
    pub form: Form,
    /// Whether the value is hidden wherever it would be shown.
    pub secret: bool,
    /// What it does, in one line.
    pub behaviour: &'static str,
    /// The tests that show it, with `; ` between them: each a file of `sync-core/tests/it`, or of `containers` beside it,
    /// and a name.
    pub test: &'static str,
}

/// Which roles a key concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// Host and main server.
    Both,
    /// Hosts; without effect at a main server.
    Host,
    /// The main server; without effect at a host.
    MainServer,
    /// The main server; a host's file is refused when it says anything but the default.
    MainServerOnly,
}

/// What a key takes as its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A whole number within bounds, both included.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
        /// Empty for a plain number.
        unit: &'static str,
    },
    /// `0` or `1`.
    Switch,
    /// Anything else, in words.
    Text(&'static str),
}

impl Form {
    /// The bounds of a number.
    pub const fn bounds(self) -> (u64, u64) {
        match self {
            Self::Number { min, max, .. } => (min, max),
            Self::Switch => (0, 1),
            Self::Text(_) => (0, u64::MAX),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { min, max, unit: "" } => write!(f, "{min} to {max}"),
            Self::Number { min, max, unit } => write!(f, "{min} to {max} {unit}"),
            Self::Switch => f.write_str("0 or 1"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "both",
            Self::Host => "host",
            Self::MainServer => "main_server",
            Self::MainServerOnly => "main_server only",
        })
    }
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static KeySpec> {
    ALL.into_iter().find(|spec| spec.name == name)
}

/// The table as Markdown, for `docs/configuration.md`.
pub fn markdown_table() -> String {
    let mut table = String::from(
        "| key | roles | default | range | behaviour | test (`sync-core/tests/it`, `containers/` beside it) |\n|---|---|---|---|---|---|\n",
    );
    for spec in ALL {
        let default = if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
        let secret = if spec.secret { " Secret." } else { "" };
        // Writing to a string cannot fail.
        let tests = spec.test.replace("; ", "`, `");
        let _ = writeln!(
            table,
            "| `{}` | {} | {default} | {} | {}{secret} | `{tests}` |",
            spec.name, spec.roles, spec.form, spec.behaviour
        );
    }
    table
}

/// What surrounds keys and values without counting. Not every Unicode space: it may be a password's.
pub(super) const BLANK: [char; 2] = [' ', '\t'];

/// What makes a line a comment, when it is one.
pub(super) fn comment_marker(line: &str) -> Option<&'static str> {
    ["#", "//"].into_iter().find(|marker| line.trim_start_matches(BLANK).starts_with(marker))
}

const fn key(
    name: &'static str,
    roles: Roles,
    default: &'static str,
    form: Form,
    behaviour: &'static str,
    test: &'static str,
) -> KeySpec {
    KeySpec { name, roles, default, form, secret: false, behaviour, test }
}

const fn secret(
    name: &'static str,
    roles: Roles,
    form: &'static str,
    behaviour: &'static str,
    test: &'static str,
) -> KeySpec {
    KeySpec { name, roles, default: "", form: Form::Text(form), secret: true, behaviour, test }
}

/// Characters that a path can do without and a pasted address or password cannot are not taken.
const PEM_FILE: Form = Form::Text("path of a PEM file, without `=`, `@`, `?` and `#`");

const fn number(min: u64, max: u64, unit: &'static str) -> Form {
    Form::Number { min, max, unit }
}

macro_rules! table {
    ($($id:ident = $spec:expr;)*) => {
        $(pub(super) static $id: KeySpec = $spec;)*
        /// Every key, in the order in which a configuration is written out.
        pub static ALL: [&KeySpec; [$($spec.name),*].len()] = [$(&$id),*];
    };
}

table! {
    ROLE = key("role", Roles::Both, "main_server", Form::Text("`host` or `main_server`"),
        "Which side this is; a file without it is read as the main server's, with a warning.",
        "config.rs: a_file_without_role_is_the_main_servers_with_a_warning");
    MAIN_SERVER_ENDPOINT = key("main_server_endpoint", Roles::Both, "",
        Form::Text("`https://host[:port]/path`; `http://` to this machine only"),
        "Where hosts send their operations; a host must have it, a main server serves its path.",
        "facade.rs: the_whole_interface_works_in_memory");
    TLS_CERTIFICATE_FILE = key("tls_certificate_file", Roles::MainServerOnly, "", PEM_FILE,
        "Certificate chain of the main server, its own first: with it the listener speaks TLS and nothing else; needs `tls_private_key_file`.",
        "tls.rs: hosts_health_and_figures_go_over_tls");
    TLS_PRIVATE_KEY_FILE = key("tls_private_key_file", Roles::MainServerOnly, "", PEM_FILE,
        "Private key of that certificate, not encrypted: PKCS#8, PKCS#1 or SEC1. Both files are read once, at the start.",
        "tls.rs: what_is_wrong_with_a_file_is_said_with_its_remedy");
    TLS_CA_FILE = key("tls_ca_file", Roles::Both, "", PEM_FILE,
        "Authorities that are trusted where `https://` is spoken, beside those of the system.",
        "tls.rs: a_certificate_that_is_not_good_is_refused_and_told_why");
    REDIS_HOST = key("redis_host", Roles::Both, "localhost",
        Form::Text("host name or IP address; at a host this machine only"),
        "Redis of the main server's cache. A host asks the main server for what is cached and uses no Redis: there the four keys are checked, and nothing more.",
        "containers/main_server_services.rs: a_server_goes_on_without_redis_and_shows_nothing_stale_when_it_is_back");
    REDIS_PORT = key("redis_port", Roles::Both, "6379", number(1, limits::REDIS_PORT_MAX, ""),
        "Port of Redis.",
        "containers/main_server_services.rs: a_server_goes_on_without_redis_and_shows_nothing_stale_when_it_is_back");
    REDIS_PASSWORD = secret("redis_password", Roles::Both, "text",
        "Password of Redis; empty for none.",
        "containers/runtime_cache.rs: a_wrong_password_is_named_and_not_shown");
    REDIS_DB = key("redis_db", Roles::Both, "0", number(0, limits::REDIS_DB_MAX, ""),
        "Number of the Redis database.",
        "containers/storage_document.rs: psql_and_redis_cli_show_what_the_document_shows");
    CRITICAL_TIMEOUT_MS = key("critical_timeout_ms", Roles::Host, "500",
        number(limits::CRITICAL_TIMEOUT_MS_MIN, limits::CRITICAL_TIMEOUT_MS_MAX, "ms"),
        "From the asking of a critical operation to its result; past it the deadline is missed.",
        "session.rs: the_deadline_of_a_critical_operation_counts_from_the_asking_also_while_it_waits");
    CRITICAL_DATA_TYPES = key("critical_data_types", Roles::Both, "",
        Form::Text("comma list of data types, such as `PLAYER_POSITION,MAP_STATE`"),
        "Types that are critical however they are asked for; empty for none.",
        "session.rs: a_type_in_critical_data_types_is_critical_however_it_was_asked_for; server.rs: critical_operations_go_ahead_of_others_that_gather");
    CRITICAL_SLOTS = key("critical_slots", Roles::Host, "4",
        number(limits::CRITICAL_SLOTS_MIN, limits::CRITICAL_SLOTS_MAX, "operations"),
        "Critical operations under way at once, beside those of `worker_threads`.",
        "session.rs: work_that_is_not_critical_never_takes_a_critical_slot");
    HOST_BATCH_MAX = key("host_batch_max", Roles::Host, "1",
        number(1, limits::BATCH_OPERATIONS_MAX as u64, "operations"),
        "Waiting operations that are not critical and go to the main server in one request, in the slot of one.",
        "main_server.rs: what_waits_at_a_host_travels_in_one_request");
    PG_CONNECTION_STRING = secret("pg_connection_string", Roles::MainServerOnly,
        "`postgresql://...` or `host=... dbname=...`",
        "PostgreSQL with pgvector: state, operations and embeddings.",
        "containers/storage_document.rs: psql_and_redis_cli_show_what_the_document_shows");
    OPENAI_API_KEY = secret("openai_api_key", Roles::MainServerOnly, "printable ASCII without spaces",
        "Key for OpenAI embeddings; empty for none.",
        "embedding_client.rs: many_texts_go_in_several_requests_and_each_provider_gets_its_key");
    OPENAI_ENDPOINT = key("openai_endpoint", Roles::MainServerOnly, "https://api.openai.com/v1",
        Form::Text("`https://host[:port]/path`; `http://` to this machine only"),
        "Base address of OpenAI, or of a server that speaks like it; `/embeddings` is appended.",
        "embedding_client.rs: many_texts_go_in_several_requests_and_each_provider_gets_its_key");
    OPENAI_EMBEDDING_MODEL = key("openai_embedding_model", Roles::MainServerOnly, "text-embedding-ada-002",
        Form::Text("1 to 128 characters out of `A-Z a-z 0-9 . _ - : /`"),
        "Model asked for embeddings at OpenAI; it must give 1536 dimensions.",
        "embedding_client.rs: many_texts_go_in_several_requests_and_each_provider_gets_its_key");
    AZURE_OPENAI_ENDPOINT = key("azure_openai_endpoint", Roles::MainServerOnly, "",
        Form::Text("`https://host[:port]/path`; `http://` to this machine only"),
        "Base address of the Azure OpenAI resource; needed with `use_azure_openai = 1`.",
        "embedding_client.rs: many_texts_go_in_several_requests_and_each_provider_gets_its_key");
    AZURE_OPENAI_KEY = secret("azure_openai_key", Roles::MainServerOnly, "printable ASCII without spaces",
        "Key for Azure OpenAI; needed with `use_azure_openai = 1`.",
        "embedding_client.rs: many_texts_go_in_several_requests_and_each_provider_gets_its_key");
    AZURE_OPENAI_DEPLOYMENT = key("azure_openai_deployment", Roles::MainServerOnly, "text-embedding-ada-002",
        Form::Text("1 to 128 characters out of `A-Z a-z 0-9 . _ -`"),
        "Deployment asked for embeddings at Azure; it must give 1536 dimensions.",
        "embedding_client.rs: many_texts_go_in_several_requests_and_each_provider_gets_its_key");
    AZURE_OPENAI_API_VERSION = key("azure_openai_api_version", Roles::MainServerOnly, "2023-05-15",
        Form::Text("`YYYY-MM-DD` or `YYYY-MM-DD-preview`"),
        "The `api-version` of requests to Azure.",
        "embedding_client.rs: many_texts_go_in_several_requests_and_each_provider_gets_its_key");
    USE_AZURE_OPENAI = key("use_azure_openai", Roles::MainServerOnly, "0", Form::Switch,
        "1: embeddings come from Azure OpenAI; 0: from OpenAI.",
        "config.rs: the_switch_chooses_the_embedding_provider");
    VECTOR_ELIGIBLE_MAPS = key("vector_eligible_maps", Roles::Both, "",
        Form::Text("comma list of map names"),
        "Maps whose data may be embedded for search; empty for none. The main server's counts; at a host without effect.",
        "server_embeddings.rs: a_map_that_is_not_eligible_gives_nothing_to_the_provider");
    ENCRYPTION_KEY = secret("encryption_key", Roles::Both,
        "host: `p2p-host:<key id>:<account id>:<base64>`; main_server: `p2p-master:<key id>:<base64>`",
        "Seals and opens what travels; must be given. A host's account is that of its key.",
        "envelope.rs: only_the_right_key_opens");
    ENCRYPTION_KEYS_ACCEPTED = secret("encryption_keys_accepted", Roles::Both,
        "comma list of at most 8 keys of the same form, each with its own key id",
        "Further keys that open but never seal, for the time of a rotation.",
        "envelope.rs: keys_are_replaced_without_a_gap");
    ALLOW_LEGACY_ENVELOPE = key("allow_legacy_envelope", Roles::Both, "0", Form::Switch,
        "1: the sync endpoint also takes requests of the older form, which nothing protects against forgery (docs/host-sync.md). A host never believes a reply of that form.",
        "sync_endpoint.rs: older_hosts_are_served_only_where_they_are_allowed");
    LEGACY_ENCRYPTION_KEY = secret("legacy_encryption_key", Roles::Both, "base64 of 32 bytes",
        "Key of frames of the older form; needed with, and refused without, `allow_legacy_envelope = 1`.",
        "sync_endpoint.rs: older_hosts_are_served_only_where_they_are_allowed");
    FRESHNESS_WINDOW_MS = key("freshness_window_ms", Roles::MainServer, "30000",
        number(limits::FRESHNESS_WINDOW_MS_MIN, limits::FRESHNESS_WINDOW_MS_MAX, "ms"),
        "How far the time stamped on a request may lie from the server's, before or after.",
        "server.rs: an_authentic_request_that_is_not_valid_gets_a_sealed_rejection");
    VALIDATION_RULES = key("validation_rules", Roles::MainServer, "default",
        Form::Text("`default` for those built in, the name of a file of rules, or `off`"),
        "What hosts write is held against these rules (docs/validation.md); `serve --rules` goes before it.",
        "main_server_program.rs: rules_are_named_in_the_configuration_or_on_the_command_line");
    SYNC_INTERVAL_MS = key("sync_interval_ms", Roles::Host, "1000",
        number(limits::SYNC_INTERVAL_MS_MIN, limits::SYNC_INTERVAL_MS_MAX, "ms"),
        "Pause between two reports of a host on its metrics and maps, where its program has them made at intervals.",
        "facade.rs: a_host_reports_at_its_interval_and_learns_its_parts");
    CACHE_EXPIRY_SECONDS = key("cache_expiry_seconds", Roles::Both, "3600",
        number(0, limits::CACHE_EXPIRY_SECONDS_MAX, "s"),
        "Lifetime of what the main server caches; 0 never expires. At a host without effect.",
        "server_cache.rs: a_lifetime_counts_from_when_the_database_was_asked");
    MAX_QUEUE_SIZE = key("max_queue_size", Roles::Host, "10000",
        number(limits::QUEUE_MIN, limits::QUEUE_MAX, "operations"),
        "Operations that wait at once, all lanes together; beyond it the newest of less weight gives way.",
        "session_order.rs: a_full_queue_refuses_normal_work; session_order.rs: critical_displaces_normal_then_priority_else_it_is_refused");
    WORKER_THREADS = key("worker_threads", Roles::Both, "4",
        number(limits::WORKERS_MIN, limits::WORKERS_MAX, ""),
        "Host: operations under way at once that are not critical; main_server: shards of the engine.",
        "session.rs: an_operation_keeps_its_slot_while_it_backs_off; main_server.rs: the_figures_say_what_the_engines_counted");
    DEBUG_MODE = key("debug_mode", Roles::Both, "0", Form::Switch,
        "1: more is logged, never a secret.",
        "facade.rs: debug_mode_logs_what_happens_and_no_secret; main_server_program.rs: a_server_says_where_it_listens_serves_and_ends_in_order");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_of_a_number_lies_within_its_bounds() {
        for spec in ALL {
            let (min, max) = spec.form.bounds();
            if !matches!(spec.form, Form::Text(_)) {
                let default: u64 = spec.default.parse().unwrap();
                assert!((min..=max).contains(&default), "{}", spec.name);
            }
        }
    }

    #[test]
    fn names_are_distinct_and_secrets_have_no_default() {
        for (index, spec) in ALL.into_iter().enumerate() {
            assert!(ALL[index + 1..].iter().all(|other| other.name != spec.name), "{}", spec.name);
            assert!(!spec.secret || spec.default.is_empty(), "{}", spec.name);
            assert!(!format!("{}{}", spec.form, spec.behaviour).contains('|'), "{}", spec.name);
        }
    }

    #[test]
    fn words_in_the_table_agree_with_the_limits() {
        assert_eq!(limits::PROVIDER_NAME_BYTES_MAX, 128);
        assert_eq!(limits::KEYS_ACCEPTED_MAX, 8);
    }
}
