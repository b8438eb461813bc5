//! P25 at a host: a secret stands in every field of its configuration that holds one, and in nothing that its program
//! logs, says, tells of itself or sends.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real sockets live in real time"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use sync_core::config::{Config, keys};
use sync_core::data_type::SyncDataType;
use sync_core::envelope::MasterKey;
use sync_core::host_sync::hosting::Report;
use sync_core::id::AccountId;
use sync_core::runtime::driver::{EmbeddedCache, EmbeddedDatabase};
use sync_core::runtime::facade::P2pDataSync;
use sync_core::time::Span;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::facade::Log;
use crate::live_support::canaries::Canaries;
use crate::live_support::{MASTER, PATIENCE, run, start};

const ACCEPTED: &str = "p2p-host:canary-2:7:Y2FuYXJ5IGFjY2VwdGVkIGtleSBvZiAzMiBieXRlcy4=";
const LEGACY: &str = "Y2FuYXJ5IGxlZ2FjeSBrZXkgb2YgMzIgYnl0ZXMhIS4=";
const PASSWORD: &str = "canary-of-the-cache";

/// Passes connections on to `server` and keeps every byte of either direction.
async fn listening_in(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((host, _)) = listener.accept().await {
            let there = TcpStream::connect(server).await.unwrap();
            let ((from_host, to_host), (from_server, to_server)) = (host.into_split(), there.into_split());
            for (mut from, mut to) in [(from_host, to_server), (from_server, to_host)] {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut bytes = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = from.read(&mut bytes).await {
                        kept.lock().unwrap().extend_from_slice(&bytes[..count]);
                        if to.write_all(&bytes[..count]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    (address, heard)
}

#[test]
fn no_secret_of_a_hosts_configuration_is_seen_anywhere() {
    let log = Log::of_process();
    run(async {
        let server = start("", EmbeddedDatabase::default(), EmbeddedCache::default()).await;
        let (address, heard) = listening_in(server.address()).await;
        let key = MASTER.parse::<MasterKey>().unwrap().host_key(AccountId(7)).to_text();
        let fields = [
            ("redis_password", PASSWORD),
            ("encryption_key", key.expose().as_str()),
            ("encryption_keys_accepted", ACCEPTED),
            ("legacy_encryption_key", LEGACY),
        ];
        // Every field of a host's that holds a secret, whatever keys will be added.
        let secret = |spec: &&&keys::KeySpec| spec.secret && spec.roles != keys::Roles::MainServerOnly;
        let names: Vec<_> = keys::ALL.iter().filter(secret).map(|spec| spec.name).collect();
        assert_eq!(names, fields.map(|(name, _)| name));
        let lines: String = fields.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        let text = format!(
            "role = host\nmain_server_endpoint = http://{address}/p2p-sync\nallow_legacy_envelope = 1\ndebug_mode = 1\n{lines}"
        );
        let canaries = Canaries::new(&[&fields[..], &[("the master key", MASTER)]].concat());
        // The alarm works.
        for (name, value) in &fields {
            assert_eq!(canaries.seen_in(format!("x{value}x").as_bytes()), Some(*name));
        }

        let (config, warnings) = Config::parse("host.conf", text.as_bytes()).unwrap();
        let shown = format!("{config:?} {warnings:?} {}", config.to_masked_text());
        canaries.absent_from("the configuration as it is shown", shown.as_bytes());
        let system = P2pDataSync::start(config).unwrap();
        canaries.absent_from("the facade's Debug form", format!("{system:?}").as_bytes());

        let account = system.account();
        let mut updates = system.subscribe(&["prontera"], &[]).unwrap();
        assert!(updates.next().await.is_ok());
        let mut said = Vec::new();
        for data in ["1", "{"] {
            let to = system.sync_to_main_server(SyncDataType::MapState, account, "prontera", data, false);
            said.push(format!("{:?}", system.wait_for_sync_result(to.await.unwrap(), PATIENCE).await));
        }
        let critical = system.sync_critical_data(SyncDataType::ChatMessage, account, "prontera", "1", true);
        said.push(format!("{:?}", system.wait_for_sync_result(critical.await.unwrap(), PATIENCE).await));
        let from = system.sync_from_main_server(SyncDataType::MapState, account, "prontera", "1", false);
        said.push(format!("{:?}", system.wait_for_sync_result(from.await.unwrap(), PATIENCE).await));
        system.cache_data("a", "b", 1).await.unwrap();
        said.push(format!("{:?}", system.get_cached_data("a").await));
        said.push(format!("{:?}", system.report(&Report::default()).await));
        said.push(format!("{:?}", system.create_embedding("prontera", "a").await));
        let other = system.sync_to_main_server(SyncDataType::MapState, AccountId(8), "m", "1", false).await;
        said.push(format!("{other:?}"));
        // The main server goes away: what is said of that.
        server.shutdown().await;
        let gone = system.sync_critical_data(SyncDataType::ChatMessage, account, "prontera", "2", true).await;
        said.push(format!("{:?}", system.wait_for_sync_result(gone.unwrap(), PATIENCE).await));
        let status = system.get_status().await;
        said.push(format!("{status:?} {}", serde_json::to_string(&status).unwrap()));
        said.push(format!("{:?}", system.shut_down(Span::from_ms(100)).await));
        for said in &said {
            canaries.absent_from(said, said.as_bytes());
        }

        // What is said of configurations that are not in order, in each of these fields.
        for (name, value) in &fields {
            for wrong in [format!("{value}\u{1}"), format!("x{value}"), format!("{value},{value}")] {
                let broken = text.replace(&format!("{name} = {value}\n"), &format!("{name} = {wrong}\n"));
                let why = match Config::parse("host.conf", broken.as_bytes()) {
                    Ok((config, warnings)) => {
                        format!(
                            "{warnings:?} {:?}",
                            P2pDataSync::start(config).map(drop).map_err(|e| e.to_string())
                        )
                    }
                    Err(found) => found.iter().map(|one| format!("{one} {one:?}")).collect(),
                };
                canaries.absent_from(&why, why.as_bytes());
            }
        }

        let (log, heard) = (log.all(), heard.lock().unwrap().clone());
        assert!(log.contains("settings in force") && log.contains("ended"), "{log}");
        canaries.absent_from("the log", log.as_bytes());
        assert!(heard.windows(14).any(|bytes| bytes == b"encrypted_data"));
        canaries.absent_from("what travels", &heard);
    });
}
