//! A host's program: writes a map's state, reads it back, and follows what is critical on the map.
//!
//! `cargo run --features programs --example host -- p2p_data_sync.conf`

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;

use sync_core::cache::Notice;
use sync_core::data_type::SyncDataType;
use sync_core::runtime::facade::{P2pDataSync, WAIT_DEFAULT};
use sync_core::time::Span;

const MAP: &str = "prontera";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name the host's configuration file")?;
    let system = P2pDataSync::init(path).await?;
    let mut updates = system.subscribe(&[MAP], &[SyncDataType::MapState])?;
    // Always first: whatever was critical before is to be read.
    assert_eq!(updates.next().await?, Notice::Gap);

    // The published form of a map's state, and what the application adds.
    let state = format!(r#"{{"map_name":"{MAP}","host_id":{},"weather":"rain"}}"#, system.account().0);
    let written =
        system.sync_critical_data(SyncDataType::MapState, system.account(), MAP, &state, true).await?;
    println!("{written}: {:?}", system.wait_for_sync_result(written, Span::from_ms(500)).await);
    let read =
        system.sync_from_main_server(SyncDataType::MapState, system.account(), MAP, "{}", false).await?;
    println!("{read}: {:?}", system.wait_for_sync_result(read, WAIT_DEFAULT).await.payload());
    loop {
        if let Notice::Publication(update) = updates.next().await? {
            println!("told of version {} by {}", update.version, update.operation);
            break;
        }
    }

    system.cache_data("last map", MAP, 60).await?;
    println!("cached: {:?}", system.get_cached_data("last map").await?);
    println!("{}", serde_json::to_string_pretty(&system.get_status().await)?);
    system.shut_down(Span::from_secs(5)).await;
    Ok(())
}
