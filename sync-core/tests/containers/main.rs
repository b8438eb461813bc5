//! Everything against real servers: containers, or those at P2P_TEST_POSTGRES_URL and P2P_TEST_REDIS_URL where a test
//! says so. One program, because linking takes longer than most of what is tested.

#[path = "../live_support/mod.rs"]
mod live_support;
#[path = "../peer_support/mod.rs"]
mod peer_support;
#[path = "../runtime_support/mod.rs"]
mod runtime_support;
#[path = "../tls_support/mod.rs"]
mod tls_support;

mod canaries;
mod facade;
mod main_server_services;
mod peer_backup;
mod peer_node;
mod peer_store;
mod runtime_cache;
mod runtime_cache_faults;
mod runtime_costs;
mod runtime_embeddings;
mod runtime_schema;
mod runtime_store;
mod runtime_store_faults;
mod storage_document;
