//! A best score that never falls; everything else goes by the last writer.
//!
//! The simulator knows it as `example-correct`.

use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::resolver::{Resolution, Resolver, Write, WriteId, WriteRefused};
use sync_core::peer_sync::row::{Extra, Image, RowVersion};
use sync_core::peer_sync::schema::Table;

/// `best` is the greatest of all sides. Two things make that lawful:
///
/// - A write that lowers it is refused. If it were taken, merging it with what its writer had seen would bring the
///   greater score back, and the write would be lost.
/// - What decides about the other columns does not look at `best`: a version that was merged already would else
///   compare differently from the write that it came from.
pub struct BestScore;

const COLUMN: &str = "amount";

impl Resolver for BestScore {
    fn on_write(
        &self,
        table: &Table,
        seen: Option<&RowVersion>,
        write: &Write,
    ) -> Result<Extra, WriteRefused> {
        let Some(content) = &write.content else { return Ok(Extra::None) };
        let before = seen.and_then(|seen| best(table, &seen.image));
        let now = number(table, content);
        if now.is_none() || now < before {
            let reason = format!("`{COLUMN}` is a whole number and never falls; write a greater one");
            return Err(WriteRefused::Resolver { row: write.row.clone(), reason });
        }
        Ok(Extra::None)
    }

    fn merge(&self, table: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
        let best = best(table, &one.image).max(best(table, &other.image));
        let rest = |row: &RowVersion| (WriteId::of(row), with_best(table, &row.image, None));
        let (_, image) = rest(one).max(rest(other));
        Resolution::Combined { image: with_best(table, &image, best), extra: Extra::None }
    }
}

fn best(table: &Table, image: &Image) -> Option<i64> {
    number(table, image.content()?)
}

fn number(table: &Table, content: &Content) -> Option<i64> {
    let text = content.column(table.place(COLUMN)?)?;
    // A merge writes the number again, so it must have one form only: the suites found `-0`.
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

/// The image with another score, tombstones included: a delete forgets no score either.
fn with_best(table: &Table, image: &Image, best: Option<i64>) -> Image {
    let best = best.map(|best| best.to_string());
    let place = table.place(COLUMN);
    let change = |content: &Content| {
        let column = |(at, value)| if Some(at) == place { best.as_deref() } else { value };
        Content::new(content.columns().enumerate().map(column))
    };
    match image {
        Image::Row(content) => Image::Row(change(content)),
        Image::Tombstone(last) => Image::Tombstone(last.as_ref().map(change)),
    }
}
