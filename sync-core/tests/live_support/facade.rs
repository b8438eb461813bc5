//! What a program sees of the facade, over whatever database and cache stand behind the main server.

use std::path::PathBuf;

use sync_core::cache::{Notice, Publication};
use sync_core::data_type::SyncDataType;
use sync_core::host_sync::operation::Outcome;
use sync_core::id::AccountId;
use sync_core::runtime::driver::{CacheService, Database};
use sync_core::runtime::facade::{P2pDataSync, SyncError, SyncResult, WAIT_DEFAULT};
use sync_core::runtime::main_server::MainServer;
use sync_core::time::Span;
use sync_core::wire::ErrorCode;

use super::{MASTER, PATIENCE, start};

/// The configuration file of a host, gone when dropped.
pub(crate) struct HostFile(pub(crate) PathBuf);

impl HostFile {
    pub(crate) fn new(server: &MainServer, account: u32, more: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let master: sync_core::envelope::MasterKey = MASTER.parse().unwrap();
        let key = master.host_key(AccountId(account)).to_text();
        let text = format!(
            "role = host\nmain_server_endpoint = http://{}/p2p-sync\nencryption_key = {}\n{more}\n",
            server.address(),
            key.expose()
        );
        let name = format!("facade-{}-{}.conf", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) async fn system(server: &MainServer, account: u32, more: &str) -> P2pDataSync {
    P2pDataSync::init(&HostFile::new(server, account, more).0).await.unwrap()
}

async fn next(updates: &mut sync_core::runtime::facade::CriticalUpdates) -> Notice {
    tokio::time::timeout(std::time::Duration::from_secs(20), updates.next()).await.expect("in time").unwrap()
}

/// The whole interface once, with what only two hosts can show.
pub(crate) async fn the_whole_interface_works<D: Database, C: CacheService>(
    more: &str,
    database: D,
    cache: C,
) {
    let server = start(more, database, cache).await;
    let (one, two) = (system(&server, 1, "").await, system(&server, 2, "").await);
    let (account, map) = (one.account(), "prontera");
    assert_eq!(account, AccountId(1));
    let mut updates = two.subscribe(&[map], &[SyncDataType::MapState, SyncDataType::ChatMessage]).unwrap();
    assert_eq!(next(&mut updates).await, Notice::Gap);

    // To, from, critical; results by id.
    let state = r#"{"weather":"rain"}"#;
    let there = one.sync_to_main_server(SyncDataType::MapState, account, map, state, false).await.unwrap();
    let result = one.wait_for_sync_result(there, WAIT_DEFAULT).await;
    assert!(result.success() && result == SyncResult::Done(Outcome::Done(None)), "{result:?}");
    assert_eq!(one.get_sync_result(there).await, result);
    assert_eq!(two.get_sync_result(there).await, SyncResult::Unknown);
    let back =
        two.sync_from_main_server(SyncDataType::MapState, two.account(), map, "{}", true).await.unwrap();
    let result = two.wait_for_sync_result(back, Span::ZERO).await;
    assert_eq!(result.payload(), Some(r#"{"version":1,"data":"{\"weather\":\"rain\"}"}"#));
    let state = r#"{"weather":"sun"}"#;
    let first = one.sync_critical_data(SyncDataType::MapState, account, map, state, true).await.unwrap();
    assert!(one.wait_for_sync_result(first, WAIT_DEFAULT).await.success());
    let chat =
        one.sync_critical_data(SyncDataType::ChatMessage, account, map, r#""hi""#, true).await.unwrap();
    assert!(one.wait_for_sync_result(chat, WAIT_DEFAULT).await.success());

    // The other host is told of both, in their order. Gaps come as the server begins to follow.
    let mut told = Vec::new();
    while told.len() < 2 {
        match next(&mut updates).await {
            Notice::Gap => {}
            Notice::Publication(publication) => told.push(publication),
        }
    }
    let seen = told
        .iter()
        .map(|Publication { key, version, data, operation }| (key.data_type, *version, &**data, *operation));
    let expected =
        [(SyncDataType::MapState, 2, state, first), (SyncDataType::ChatMessage, 1, r#""hi""#, chat)];
    assert_eq!(seen.collect::<Vec<_>>(), expected);

    // Entries: one's own, shared ones, and their ends.
    one.cache_data("a", "mine", 0).await.unwrap();
    one.cache_data("shared:a", "ours", 3_600).await.unwrap();
    assert_eq!(one.get_cached_data("a").await.unwrap().as_deref(), Some("mine"));
    assert_eq!(two.get_cached_data("a").await.unwrap(), None);
    assert_eq!(two.get_cached_data("shared:a").await.unwrap().as_deref(), Some("ours"));
    assert!(two.has_cached_data("shared:a").await.unwrap() && !two.has_cached_data("a").await.unwrap());
    assert!(two.delete_cached_data("shared:a").await.unwrap());
    assert!(!one.delete_cached_data("shared:a").await.unwrap());
    one.cache_data("b", "brief", 1).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert_eq!(one.get_cached_data("b").await.unwrap(), None);
    let refused = one.cache_data("", "nowhere", 0).await;
    assert!(
        matches!(&refused, Err(SyncError::Rejected(r)) if r.code == ErrorCode::MalformedData),
        "{refused:?}"
    );

    // The queue and the status.
    for number in 0..20 {
        let data = number.to_string();
        one.sync_to_main_server(SyncDataType::ChatMessage, account, map, &data, false).await.unwrap();
    }
    assert!(one.process_sync_queue(3).await <= 3);
    one.process_sync_queue(usize::MAX).await;
    let status = one.get_status().await;
    assert_eq!((status.account_id, status.waiting, status.under_way), (1, 0, 0));
    assert_eq!((status.accepted, status.finished, status.refused, status.is_running), (30, 30, 0, true));
    let json = serde_json::to_string(&status).unwrap();
    assert!(json.starts_with(r#"{"version":""#) && !json.contains("p2p-host") && !json.contains("127.0.0.1"));

    drop(updates);
    assert_eq!(one.shut_down(PATIENCE).await.cut_short, 0);
    assert_eq!(two.shut_down(PATIENCE).await.cut_short, 0);
    server.shutdown().await;
}
