//! Embeddings in PostgreSQL, with pgvector. Vectors travel as arrays of singles, bit for bit.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::batch::answer;
use super::{MOMENT_US_MAX, PostgresError};
use crate::embedding::{Distance, Metadata, Vector};
use crate::store::{Applied, Apply, EmbeddingId, EmbeddingRow, Match, SearchEmbeddings};

const CHANGE: &str = "SELECT status, outcome, is_duplicate FROM p2p_sync.apply_embedding(\
     $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::real[]::vector(1536), $12::jsonb)";
const SEARCH: &str = "SELECT id, distance, metadata::text \
     FROM p2p_sync.search_embeddings($1::real[]::vector(1536), $2, $3::jsonb)";
/// Everything, for comparisons.
pub(super) const ALL: &str = "SELECT id, embedding::real[], metadata::text FROM p2p_sync.embeddings";

/// Applies an operation and stores the embedding, or removes it when there is none to store.
pub(super) async fn change(
    connection: &mut PgConnection,
    apply: &Apply,
    id: &EmbeddingId,
    row: Option<(&Vector, &Metadata)>,
) -> Result<Applied, PostgresError> {
    let signed = |number: u64, name| i64::try_from(number).map_err(|_| PostgresError::OutOfRange(name));
    if apply.received.as_us() > MOMENT_US_MAX {
        return Err(PostgresError::OutOfRange("the moment of an operation"));
    }
    let row = sqlx::query(CHANGE)
        .bind(i64::from(apply.operation.account.0))
        .bind(apply.operation.incarnation.0.cast_signed())
        .bind(signed(apply.operation.counter, "the counter of an operation")?)
        .bind(i16::from(apply.data_type.wire()))
        .bind(apply.map.as_str())
        .bind(signed(apply.sequence, "the sequence of an operation")?)
        .bind(apply.critical)
        .bind(&*apply.data)
        .bind(signed(apply.received.as_us(), "the moment of an operation")?)
        .bind(id.as_str())
        .bind(row.map(|(vector, _)| vector.numbers()))
        .bind(row.map(|(_, metadata)| metadata.as_str()))
        .fetch_one(connection)
        .await?;
    answer(&row)
}

/// Finds the nearest.
pub(super) async fn search(
    connection: &mut PgConnection,
    request: &SearchEmbeddings,
) -> Result<Vec<Match>, PostgresError> {
    let rows = sqlx::query(SEARCH)
        .bind(request.vector.numbers())
        .bind(i32::try_from(request.limit).map_err(|_| PostgresError::OutOfRange("the limit of a search"))?)
        .bind(request.filter.as_ref().map(Metadata::as_str))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Match {
                id: EmbeddingId::from_text(row.try_get(0)?).map_err(|_| PostgresError::Unexpected)?,
                distance: Distance::from_fraction(row.try_get(1)?),
                metadata: Metadata::parse(row.try_get(2)?).map_err(|_| PostgresError::Unexpected)?,
            })
        })
        .collect()
}

/// A row of [`ALL`].
pub(super) fn row(row: &PgRow) -> Result<(EmbeddingId, EmbeddingRow), PostgresError> {
    let id = EmbeddingId::from_text(row.try_get(0)?).map_err(|_| PostgresError::Unexpected)?;
    let vector = Vector::new(row.try_get(1)?).map_err(|_| PostgresError::Unexpected)?;
    let metadata = Metadata::parse(row.try_get(2)?).map_err(|_| PostgresError::Unexpected)?;
    Ok((id, EmbeddingRow { vector, metadata }))
}
