//! What is measured of three databases that are kept in step.

use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::Size;
use super::figures::{self, Figures};
use super::mesh::{How, Mesh};
use super::servers::{INSERT, Servers, ask, make_rows, run};

/// Rows that are updated on each side of a partition, and how many of them on both.
const UPDATES: u32 = 1_000;
const SHARED: u32 = 200;

/// Everything that both can do.
pub(super) async fn all(mesh: &mut Mesh<'_>, size: Size, figures: &mut Figures) {
    bulk(mesh, size, figures).await;
    latency(mesh, size, figures).await;
    catch_up(mesh, size, figures).await;
}

/// A bulk insert at the first, and an update of all its rows, each until the two others have it.
async fn bulk(mesh: &mut Mesh<'_>, size: Size, figures: &mut Figures) {
    let rows = size.bulk;
    run(&mut mesh.clients[0], &make_rows(1, rows)).await;
    mesh.servers.calm().await;
    let before = mesh.used();
    // From the commit on: what the statement itself costs is measured apart.
    run(&mut mesh.clients[0], INSERT).await;
    let started = Instant::now();
    mesh.arrived(&format!("SELECT max('x') FROM products WHERE id = md5('row {rows}')::uuid"), &[1, 2]).await;
    figures.seconds(figures::INSERT, started.elapsed());
    figures.used(mesh.used() - before);
    mesh.same_everywhere().await;

    mesh.servers.calm().await;
    run(&mut mesh.clients[0], "UPDATE products SET price = price + 1").await;
    let started = Instant::now();
    let marker = format!(
        "SELECT max('x') FROM products WHERE id = md5('row {rows}')::uuid AND price = {rows} / 100.0 + 1"
    );
    mesh.arrived(&marker, &[1, 2]).await;
    figures.seconds(figures::UPDATE, started.elapsed());
    mesh.same_everywhere().await;
}

/// Single rows, each until both others show it, with pauses as people make them: up to 40 ms.
async fn latency(mesh: &mut Mesh<'_>, size: Size, figures: &mut Figures) {
    let mut times = Vec::new();
    for n in 0..size.singles {
        let pause_us = u64::from(n).wrapping_mul(6_364_136_223_846_793_005) >> 33;
        tokio::time::sleep(Duration::from_micros(pause_us % 40_000)).await;
        let row = format!("INSERT INTO products (id, name) VALUES (md5('single {n}')::uuid, 'single')");
        run(&mut mesh.clients[0], &row).await;
        let started = Instant::now();
        let shows = format!("SELECT max(name) FROM products WHERE id = md5('single {n}')::uuid");
        let (_, others) = mesh.clients.split_at_mut(1);
        let (one, other) = others.split_at_mut(1);
        tokio::join!(until_shown(&mut one[0], &shows), until_shown(&mut other[0], &shows));
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100];
    figures.seconds(figures::LATENCY_P50, percentile(50));
    figures.seconds(figures::LATENCY_P99, percentile(99));
}

async fn until_shown(client: &mut PgConnection, shows: &str) {
    while ask(client, shows).await.is_none() {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

/// The third is away while rows are written, in transactions of 10,000.
async fn catch_up(mesh: &mut Mesh<'_>, size: Size, figures: &mut Figures) {
    mesh.absent(2, true).await;
    let mut from = size.bulk + 1;
    let last = size.bulk + size.catch_up;
    while from <= last {
        let to = (from + 9_999).min(last);
        run(&mut mesh.clients[0], &make_rows(from, to)).await;
        run(&mut mesh.clients[0], INSERT).await;
        from = to + 1;
    }
    let marker = format!("SELECT max('x') FROM products WHERE id = md5('row {last}')::uuid");
    mesh.arrived(&marker, &[1]).await;
    mesh.servers.calm().await;
    let started = Instant::now();
    mesh.absent(2, false).await;
    mesh.arrived(&marker, &[2]).await;
    figures.seconds(figures::CATCH_UP, started.elapsed());
    mesh.same_everywhere().await;
}

/// Links between peers that are cut and mended.
pub(super) async fn cuts(mesh: &mut Mesh<'_>, figures: &mut Figures) {
    let update = |from: u32, to: u32, node: &str| {
        format!(
            "UPDATE products SET node_id = '{node}' WHERE id IN (SELECT md5('row ' || n)::uuid FROM generate_series({from}, {to}) AS n)"
        )
    };
    cut(mesh, &[(0, 1), (1, 2)]);
    run(&mut mesh.clients[0], &update(1, UPDATES, "first")).await;
    run(&mut mesh.clients[1], &update(UPDATES - SHARED + 1, 2 * UPDATES - SHARED, "second")).await;
    // Long enough that they have noticed.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let started = Instant::now();
    cut(mesh, &[]);
    both_told(mesh, "first", UPDATES - SHARED).await;
    mesh.equal(&[0, 1, 2]).await;
    figures.seconds(figures::HEAL, started.elapsed());
    for client in &mut mesh.clients {
        let won = ask(client, "SELECT count(*)::text FROM products WHERE node_id = 'second'").await;
        assert_eq!(won, Some(UPDATES.to_string()), "the later write wins");
    }
    mesh.same_everywhere().await;

    cut(mesh, &[(0, 2)]);
    let started = Instant::now();
    run(&mut mesh.clients[0], &update(1, UPDATES, "one end")).await;
    run(&mut mesh.clients[2], &update(2 * UPDATES + 1, 3 * UPDATES, "other end")).await;
    both_told(mesh, "one end", UPDATES).await;
    both_told(mesh, "other end", UPDATES).await;
    mesh.equal(&[0, 1, 2]).await;
    figures.seconds(figures::ONE_LINK, started.elapsed());
    cut(mesh, &[]);
    mesh.equal(&[0, 1, 2]).await;
    mesh.same_everywhere().await;
}

fn cut(mesh: &Mesh<'_>, pairs: &[(usize, usize)]) {
    if let How::Peers(peers) = &mesh.how {
        peers.links.cut(pairs);
    }
}

/// Waits until so many rows of a writer are everywhere: being equal alone may mean that nothing has gone anywhere yet.
async fn both_told(mesh: &mut Mesh<'_>, node: &str, rows: u32) {
    let told = format!("SELECT max('x') FROM products WHERE node_id = '{node}' HAVING count(*) = {rows}");
    for client in &mut mesh.clients {
        let found = || format!("SELECT ({told})");
        while ask(client, &found()).await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The same rows by COPY, from memory to the two others at once; those of a catch-up to one.
pub(super) async fn floor(servers: &Servers, name: &str, size: Size, figures: &mut Figures) {
    let mut clients = servers.databases(name).await;
    run(&mut clients[0], &make_rows(1, size.bulk)).await;
    let rows = copied(&mut clients[0]).await;
    servers.calm().await;
    let before = servers.used();
    let (one, other) = clients.split_at_mut(2);
    let started = Instant::now();
    tokio::join!(copy(&mut one[1], &rows), copy(&mut other[0], &rows));
    figures.seconds(figures::INSERT, started.elapsed());
    let mut used = servers.used() - before;
    used.sent_bytes = 2.0 * rows.len() as f64;
    figures.used(used);
    run(&mut clients[0], &make_rows(size.bulk + 1, size.bulk + size.catch_up)).await;
    let rows = copied(&mut clients[0]).await;
    servers.calm().await;
    let started = Instant::now();
    copy(&mut clients[2], &rows).await;
    figures.seconds(figures::CATCH_UP, started.elapsed());
    drop(clients);
    servers.drop(name).await;
}

async fn copied(client: &mut PgConnection) -> Vec<u8> {
    use futures_util::TryStreamExt as _;
    let chunks = client.copy_out_raw("COPY source TO STDOUT (FORMAT binary)").await.unwrap();
    chunks
        .try_fold(Vec::new(), async |mut all, chunk| {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
        .unwrap()
}

async fn copy(client: &mut PgConnection, rows: &[u8]) {
    let mut stream = client.copy_in_raw("COPY products FROM STDIN (FORMAT binary)").await.unwrap();
    for chunk in rows.chunks(1024 * 1024) {
        stream.send(chunk).await.unwrap();
    }
    stream.finish().await.unwrap();
}
