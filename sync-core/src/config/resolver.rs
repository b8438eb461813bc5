//! From raw entries to a [`Config`]: types, ranges, and what the role allows.
//!
//! A message never repeats a value: what may be shown of it is decided in one place, the excerpt.

use std::collections::BTreeSet;

use super::endpoint::{self, Endpoint};
use super::key_shape::{self, KeyShape};
use super::keys::{self, Roles};
use super::raw::{Entry, Findings, RawFile};
use super::reader::{Reader, near, parts};
use super::resolved::{Config, EmbeddingSettings, RedisSettings, Role, RulesSource, TlsFiles};
use crate::data_type::{SyncDataType, TypeSet};
use crate::diagnostic::Severity;
use crate::id::MapName;
use crate::limits;
use crate::secret::Secret;
use crate::time::Span;

/// Understands the whole file; `None` when anything was refused.
pub(super) fn resolve(file: RawFile, findings: &mut Findings) -> Option<Config> {
    let mut reader = Reader { file, findings };
    let role = reader.role();
    if role == Some(Role::Host) {
        reader.refuse_what_belongs_to_the_main_server();
    }
    // Everything is asked for before anything is given up, so that all errors are found at once.
    let main_server_endpoint = reader.main_server_endpoint(role);
    let tls = reader.tls();
    let tls_ca_file = reader.file(&keys::TLS_CA_FILE);
    let redis = reader.redis(role);
    let critical_timeout_ms = reader.number(&keys::CRITICAL_TIMEOUT_MS);
    let critical_types = reader.critical_types();
    let critical_slots = reader.count(&keys::CRITICAL_SLOTS);
    let host_batch_max = reader.count(&keys::HOST_BATCH_MAX);
    let pg_connection_string = reader.pg_connection_string();
    let embedding = reader.embedding();
    let vector_eligible_maps = reader.vector_eligible_maps();
    let encryption = reader.encryption_keys(role);
    let legacy_encryption_key = reader.legacy();
    let freshness_window_ms = reader.number(&keys::FRESHNESS_WINDOW_MS);
    let validation_rules = reader.validation_rules();
    let sync_interval_ms = reader.number(&keys::SYNC_INTERVAL_MS);
    let cache_expiry_seconds = reader.number(&keys::CACHE_EXPIRY_SECONDS);
    let queue_max = reader.count(&keys::MAX_QUEUE_SIZE);
    let worker_threads = reader.count(&keys::WORKER_THREADS);
    let debug_mode = reader.switch(&keys::DEBUG_MODE);
    let (encryption_key, encryption_keys_accepted) = encryption?;
    Some(Config {
        role: role?,
        main_server_endpoint: main_server_endpoint?,
        tls: tls?,
        tls_ca_file: tls_ca_file?.map(|entry| entry.text().into()),
        redis: redis?,
        critical_timeout: Span::from_ms(critical_timeout_ms?),
        critical_types: critical_types?,
        critical_slots: critical_slots?,
        host_batch_max: host_batch_max?,
        pg_connection_string: pg_connection_string?,
        embedding: embedding?,
        vector_eligible_maps: vector_eligible_maps?,
        encryption_key,
        encryption_keys_accepted,
        legacy_encryption_key: legacy_encryption_key?,
        freshness_window: Span::from_ms(freshness_window_ms?),
        validation_rules: validation_rules?,
        sync_interval: Span::from_ms(sync_interval_ms?),
        cache_expiry: Some(cache_expiry_seconds?).filter(|s| *s > 0).map(Span::from_secs),
        queue_max: queue_max?,
        worker_threads: worker_threads?,
        debug_mode: debug_mode?,
    })
}

impl Reader<'_> {
    fn role(&mut self) -> Option<Role> {
        let Some(entry) = self.given(&keys::ROLE)? else {
            self.findings.file_warning(
                "no `role`: read as the main server's file",
                "write `role = main_server`, or `role = host` for a P2P host",
            );
            return Some(Role::MainServer);
        };
        let role = Role::ALL.into_iter().find(|role| role.name() == entry.text());
        if role.is_none() {
            let near = near(entry.text(), &Role::ALL.map(Role::name));
            let help = near.map_or_else(
                || String::from("write `host` or `main_server`"),
                |near| format!("did you mean `{near}`?"),
            );
            self.refuse(&entry, "no such role", help);
        }
        role
    }

    fn refuse_what_belongs_to_the_main_server(&mut self) {
        for spec in keys::ALL.into_iter().filter(|spec| spec.roles == Roles::MainServerOnly) {
            let Some(entry) = self.file.entries.remove(spec.name) else { continue };
            if entry.text().is_empty() || entry.text() == spec.default {
                continue;
            }
            let help = "the database, the embedding provider and the server's certificate belong to the main \
                        server: remove the line; a host reaches what is there through `main_server_endpoint`";
            self.findings.push_with(|file| {
                let message = format!("`{}` in a host's file", spec.name);
                entry.at_key(file, Severity::Error, message).with_help(help)
            });
        }
    }

    fn main_server_endpoint(&mut self, role: Option<Role>) -> Option<Option<Endpoint>> {
        let spec = &keys::MAIN_SERVER_ENDPOINT;
        if role == Some(Role::Host) && self.file.entries.get(spec.name).is_none_or(|e| e.text().is_empty()) {
            let help =
                "write `main_server_endpoint = https://host/path`, as the main server's operator told you";
            self.missing(spec, "a host needs `main_server_endpoint`", help);
            return None;
        }
        self.endpoint(spec)
    }

    /// Both files or none.
    fn tls(&mut self) -> Option<Option<TlsFiles>> {
        let certificate = self.file(&keys::TLS_CERTIFICATE_FILE);
        let private_key = self.file(&keys::TLS_PRIVATE_KEY_FILE);
        let (entry, missing) = match (certificate?, private_key?) {
            (None, None) => return Some(None),
            (Some(certificate), Some(private_key)) => {
                let (certificate, private_key) = (certificate.text().into(), private_key.text().into());
                return Some(Some(TlsFiles { certificate, private_key }));
            }
            (Some(entry), None) => (entry, &keys::TLS_PRIVATE_KEY_FILE),
            (None, Some(entry)) => (entry, &keys::TLS_CERTIFICATE_FILE),
        };
        let message = format!("`{}` needs `{}`", entry.spec.name, missing.name);
        self.refuse(&entry, message, "name both files, or none for plain HTTP");
        None
    }

    fn redis(&mut self, role: Option<Role>) -> Option<RedisSettings> {
        let host = self.redis_host(role);
        let port = self.number(&keys::REDIS_PORT).map(u16::try_from);
        let password = self.checked_secret(&keys::REDIS_PASSWORD, |_| true);
        let db = self.number(&keys::REDIS_DB).map(u32::try_from);
        Some(RedisSettings { host: host?, port: port?.ok()?, password: password?, db: db?.ok()? })
    }

    fn redis_host(&mut self, role: Option<Role>) -> Option<String> {
        let Some(entry) = self.given(&keys::REDIS_HOST)? else {
            return Some(keys::REDIS_HOST.default.to_owned());
        };
        let Some(host) = endpoint::host(entry.text()) else {
            self.refuse(&entry, "not a host name or IP address", "the port stands in `redis_port`");
            return None;
        };
        if role == Some(Role::Host) && !endpoint::is_loopback(&host) {
            let help =
                "write `localhost` or leave it out; what is shared travels through `main_server_endpoint`";
            self.refuse(&entry, "a host uses Redis on this machine only", help);
            return None;
        }
        Some(host)
    }

    fn critical_types(&mut self) -> Option<TypeSet> {
        let Some(entry) = self.given(&keys::CRITICAL_DATA_TYPES)? else { return Some(TypeSet::default()) };
        let mut types = Some(TypeSet::default());
        for part in parts(&entry) {
            match part.parse::<SyncDataType>() {
                Ok(data_type) => {
                    if let Some(types) = &mut types {
                        types.insert(data_type);
                    }
                }
                Err(_) if part.is_empty() => {
                    self.refuse_part(&entry, part, "an empty name in the list", "remove the comma");
                    types = None;
                }
                Err(_) => {
                    let names = SyncDataType::ALL.map(SyncDataType::name);
                    let help = near(part, &names).map_or_else(
                        || format!("the types are {}", names.join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.refuse_part(&entry, part, "no such data type", help);
                    types = None;
                }
            }
        }
        types
    }

    fn vector_eligible_maps(&mut self) -> Option<BTreeSet<MapName>> {
        let Some(entry) = self.given(&keys::VECTOR_ELIGIBLE_MAPS)? else { return Some(BTreeSet::new()) };
        if parts(&entry).count() > limits::VECTOR_MAPS_MAX {
            let help = format!("at most {}", limits::VECTOR_MAPS_MAX);
            self.refuse(&entry, "too many maps", help);
            return None;
        }
        let mut maps = Some(BTreeSet::new());
        for part in parts(&entry) {
            match MapName::new(part) {
                Ok(map) if !part.is_empty() => {
                    maps = maps.map(|mut maps| {
                        maps.insert(map);
                        maps
                    })
                }
                Ok(_) => {
                    self.refuse_part(&entry, part, "an empty name in the list", "remove the comma");
                    maps = None;
                }
                Err(error) => {
                    self.refuse_part(&entry, part, "not a map's name", error.to_string());
                    maps = None;
                }
            }
        }
        maps
    }

    fn validation_rules(&mut self) -> Option<RulesSource> {
        let entry = self.file(&keys::VALIDATION_RULES)?;
        Some(entry.map_or(RulesSource::BuiltIn, |entry| RulesSource::from(entry.text())))
    }

    fn pg_connection_string(&mut self) -> Option<Option<Secret<String>>> {
        self.checked_secret(&keys::PG_CONNECTION_STRING, |text| {
            text.starts_with("postgresql://") || text.starts_with("postgres://") || text.contains('=')
        })
    }

    fn embedding(&mut self) -> Option<EmbeddingSettings> {
        let provider_key = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        let is_name = |text: &str, further: &[u8]| {
            text.len() <= limits::PROVIDER_NAME_BYTES_MAX
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || further.contains(&b))
        };
        let openai_endpoint = self.endpoint(&keys::OPENAI_ENDPOINT);
        let openai_api_key = self.checked_secret(&keys::OPENAI_API_KEY, provider_key);
        let model = self.checked(&keys::OPENAI_EMBEDDING_MODEL, |text| is_name(text, b"._-:/"));
        let azure_openai_endpoint = self.endpoint(&keys::AZURE_OPENAI_ENDPOINT);
        let azure_openai_key = self.checked_secret(&keys::AZURE_OPENAI_KEY, provider_key);
        let deployment = self.checked(&keys::AZURE_OPENAI_DEPLOYMENT, |text| is_name(text, b"._-"));
        let api_version = self.checked(&keys::AZURE_OPENAI_API_VERSION, is_api_version);
        let needed = [
            (&keys::AZURE_OPENAI_ENDPOINT, azure_openai_endpoint == Some(None)),
            (&keys::AZURE_OPENAI_KEY, azure_openai_key == Some(None)),
        ];
        let missing = needed.into_iter().filter(|(_, missing)| *missing).map(|(spec, _)| spec.name).collect();
        let use_azure_openai = self.switch_that_needs(&keys::USE_AZURE_OPENAI, missing);
        Some(EmbeddingSettings {
            openai_endpoint: openai_endpoint??,
            openai_api_key: openai_api_key?,
            openai_embedding_model: model?,
            azure_openai_endpoint: azure_openai_endpoint?,
            azure_openai_key: azure_openai_key?,
            azure_openai_deployment: deployment?,
            azure_openai_api_version: api_version?,
            use_azure_openai: use_azure_openai?,
        })
    }

    fn encryption_keys(&mut self, role: Option<Role>) -> Option<(Secret<String>, Vec<Secret<String>>)> {
        let stands = |entry: &Entry| !entry.text().is_empty();
        let sealing = if self.file.entries.get(keys::ENCRYPTION_KEY.name).is_some_and(stands) {
            self.given(&keys::ENCRYPTION_KEY).flatten()
        } else {
            let help = role.map_or_else(|| String::from("write `role` first"), key_shape::how_to_make);
            self.missing(&keys::ENCRYPTION_KEY, "no encryption key", help);
            None
        };
        let accepted = self.given(&keys::ENCRYPTION_KEYS_ACCEPTED);
        // Without a role there is no form to judge by.
        let role = role?;
        let mut seen = Vec::new();
        let sealing =
            sealing.and_then(|entry| self.key(&entry, entry.text(), role, &mut seen).then_some(entry.value));
        let accepted = match accepted? {
            None => Some(Vec::new()),
            Some(entry) => self.accepted_keys(&entry, role, &mut seen),
        };
        Some((sealing?, accepted?))
    }

    fn accepted_keys(
        &mut self,
        entry: &Entry,
        role: Role,
        seen: &mut Vec<KeyShape>,
    ) -> Option<Vec<Secret<String>>> {
        if parts(entry).count() > limits::KEYS_ACCEPTED_MAX {
            let help =
                format!("at most {}: take out those that no host uses any more", limits::KEYS_ACCEPTED_MAX);
            self.refuse(entry, "too many keys", help);
            return None;
        }
        // Every key is judged, also after a wrong one.
        let good = parts(entry).filter(|part| self.key(entry, part, role, seen)).count();
        (good == parts(entry).count())
            .then(|| parts(entry).map(|part| Secret::new(part.to_owned())).collect())
    }

    /// Whether `part` is a key of the role's form, of another id than those seen, and of the same account.
    fn key(&mut self, entry: &Entry, part: &str, role: Role, seen: &mut Vec<KeyShape>) -> bool {
        match key_shape::check(part, role) {
            Err(error) => {
                self.refuse_part(entry, part, error.to_string(), error.help(role));
                false
            }
            Ok(shape) if seen.iter().any(|other| other.id == shape.id) => {
                let help = "a frame names its key by the id: give each key its own";
                self.refuse_part(entry, part, "two keys with the same id", help);
                false
            }
            Ok(shape) if seen.iter().any(|other| other.account != shape.account) => {
                let help = "a host acts for the one account of its `encryption_key`";
                self.refuse_part(entry, part, "a key of another account", help);
                false
            }
            Ok(shape) => {
                seen.push(shape);
                true
            }
        }
    }

    fn legacy(&mut self) -> Option<Option<Secret<String>>> {
        let entry = self.given(&keys::LEGACY_ENCRYPTION_KEY);
        let missing =
            if matches!(entry, Some(None)) { vec![keys::LEGACY_ENCRYPTION_KEY.name] } else { vec![] };
        let allowed = self.switch_that_needs(&keys::ALLOW_LEGACY_ENVELOPE, missing);
        let Some(entry) = entry? else { return allowed.map(|_| None) };
        if !key_shape::is_base64_of_32_bytes(entry.text()) {
            let help = "the key of the older form stands alone, without `p2p-...:` before it";
            self.refuse(&entry, "not the base64 of exactly 32 bytes", help);
            return None;
        }
        if !allowed? {
            let help =
                "remove the key, or write `allow_legacy_envelope = 1` for as long as older hosts are about";
            self.refuse(&entry, "a legacy key without `allow_legacy_envelope = 1`", help);
            return None;
        }
        self.findings.push_with(|file| {
            let message = "frames of the older form are accepted: nothing protects them against forgery";
            entry
                .at_key(file, Severity::Warning, message)
                .with_help("set `allow_legacy_envelope = 0` when the last older host is gone")
        });
        Some(Some(entry.value))
    }
}

fn is_api_version(text: &str) -> bool {
    let date = text.strip_suffix("-preview").unwrap_or(text).as_bytes();
    date.len() == 10
        && date.iter().enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
