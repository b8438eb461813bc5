//! The facade over PostgreSQL and Redis.

use crate::live_support::facade::the_whole_interface_works;
use crate::live_support::{run, server_config};
use crate::runtime_support::{Postgres, Redis, services};
use sync_core::runtime::main_server::{connect_cache, connect_database};
use sync_core::runtime::postgres::PostgresOptions;

#[test]
fn the_whole_interface_works_over_real_servers() {
    run(async {
        let (postgres, redis) = (Postgres::started(false).await, Redis::started().await);
        // Waits until the container takes connections.
        postgres.connect(PostgresOptions::default()).await.close().await;
        redis.connect().await;
        let more = format!(
            "worker_threads = 2
{}",
            services(&postgres, &redis)
        );
        let config = server_config(&more);
        let (database, cache) =
            (connect_database(&config).await.unwrap(), connect_cache(&config).await.unwrap());
        the_whole_interface_works(&more, database, cache).await;
    });
}
