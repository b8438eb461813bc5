//! Tables: what is in them, and rows that are sent.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::answer::{Answer, ApiError, Named, guarded_body, ok};
use crate::limits;
use crate::peer_sync::announcement::{HostName, iso_text};
use crate::peer_sync::interface::changes::{self, ReadRow, ReceivedRows};
use crate::peer_sync::interface::{Fault, moment};
use crate::peer_sync::message::{Asked, Asker, PeerAnswer, PeerQuestion};
use crate::peer_sync::row::RowVersion;
use crate::peer_sync::store::{Outcome, PeerReply, PeerRequest};
use crate::peer_sync::version::NodeId;
use crate::runtime::peer_node::database::ReadRows;
use crate::runtime::wall_clock;
use crate::time::Timestamp;

/// Which part of a table.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    since: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

pub(super) type PartQuery = Result<Query<Part>, QueryRejection>;

impl Part {
    pub(super) fn of(query: PartQuery) -> Result<Self, ApiError> {
        let Query(part) = query.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.body_text()))?;
        match part.limit {
            Some(limit) if !(1..=limits::PAGE_ROWS_MAX).contains(&limit) => {
                Err(Fault::new(format!("`limit` is {limit}: give 1 to {}", limits::PAGE_ROWS_MAX)).into())
            }
            _ => Ok(part),
        }
    }

    fn since(&self) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = &self.since else { return Ok(None) };
        let wrong = || Fault::new("`since` is no moment such as 2025-01-01T12:00:00");
        Ok(Some(moment::parse(text).ok_or_else(wrong)?))
    }
}

pub(super) async fn info(State(api): State<Arc<Api>>, Named(table): Named) -> Answer {
    let table = api.table_name(&table)?;
    let PeerReply::Described(description) = api.database.execute(PeerRequest::Describe).await else {
        return Err(ApiError::unavailable("the database does not answer; try again"));
    };
    let of_table = description.tables.get(&table).copied().unwrap_or_default();
    let written = of_table.stamp.us > 0;
    ok(&json!({
        "table": table,
        "hash": format!("{:016x}", of_table.sum),
        "timestamp": written.then(|| iso_text(Timestamp::from_us(of_table.stamp.us))),
        "count": of_table.rows,
        "tombstones": of_table.tombstones,
        "set_aside": of_table.set_aside,
    }))
}

pub(super) async fn data(
    State(api): State<Arc<Api>>,
    Named(table): Named,
    query: PartQuery,
    request: Request,
) -> Answer {
    guarded_body(&api, request).await?;
    page(&api, &table, &Part { since: None, ..Part::of(query)? }).await
}

pub(super) async fn changed(
    State(api): State<Arc<Api>>,
    Named(table): Named,
    query: PartQuery,
    request: Request,
) -> Answer {
    guarded_body(&api, request).await?;
    page(&api, &table, &Part::of(query)?).await
}

async fn page(api: &Api, table: &str, part: &Part) -> Answer {
    let table = api.table(table)?;
    let since = part.since()?;
    let (rows, more) = rows(api, table.name.as_str(), since, part).await?;
    let after = rows.last().filter(|_| more).map(|row| &row.stored.row.key);
    ok(&changes::write(table, &rows, since, wall_clock(), after))
}

/// Rows of a page, and whether there are more behind it.
pub(super) async fn rows(
    api: &Api,
    table: &str,
    since: Option<Timestamp>,
    part: &Part,
) -> Result<(Vec<ReadRow>, bool), ApiError> {
    let rows_max = part.limit.unwrap_or(limits::API_ROWS_DEFAULT);
    let after = part.after.as_deref().map(changes::key).transpose()?;
    let read = ReadRows { table: api.table_name(table)?, since, after, rows_max: rows_max + 1 };
    let mut rows = api.database.read(read).await?;
    let more = rows.len() > rows_max;
    rows.truncate(rows_max);
    Ok((rows, more))
}

/// `sync-table` and `apply-changes`: rows with versions go through the engine like a peer's, others are an application's
/// writes.
pub(super) async fn apply(State(api): State<Arc<Api>>, Named(name): Named, request: Request) -> Answer {
    let bytes = guarded_body(&api, request).await?;
    let received = changes::read(api.table(&name)?, &bytes)?;
    let (applied, unchanged, refused) = match received.rows {
        ReceivedRows::Statements(statements) => (api.database.write(statements).await?, 0, 0),
        ReceivedRows::Versions(rows) => push(&api, received.source.as_ref(), rows).await?,
    };
    ok(&json!({
        "message": format!("rows of {name} taken over"),
        "rows_applied": applied,
        "rows_unchanged": unchanged,
        "rows_refused": refused,
        "source_peer": received.source,
    }))
}

async fn push(
    api: &Api,
    source: Option<&NodeId>,
    rows: Vec<RowVersion>,
) -> Result<(u64, u64, u64), ApiError> {
    let source = source.ok_or_else(|| Fault::new("rows with versions need `source_node`, who sends them"))?;
    let from = HostName::new("localhost").map_err(|error| ApiError::unavailable(error.to_string()))?;
    let asker = Asker::documented(source.clone());
    let asked = Asked { asker, question: PeerQuestion::Push(rows) };
    let outcomes = match api.front.ask(from, asked).await? {
        PeerAnswer::Pushed(outcomes) => outcomes,
        PeerAnswer::Refused(refusal) => {
            return Err(ApiError::new(StatusCode::CONFLICT, refusal.to_string()));
        }
        _ => return Err(ApiError::unavailable("the node has too much to do; try again")),
    };
    let mut counts = (0, 0, 0);
    for outcome in outcomes {
        match outcome {
            Outcome::Inserted | Outcome::Updated { .. } => counts.0 += 1,
            Outcome::Equal | Outcome::Beaten { .. } => counts.1 += 1,
            _ => counts.2 += 1,
        }
    }
    Ok(counts)
}
