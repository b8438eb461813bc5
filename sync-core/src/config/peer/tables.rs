//! Which tables and columns travel: those of the specification, or those of a file.

use super::{ENVIRONMENT, schema_error};
use crate::diagnostic::{Diagnostic, Severity, nearest};
use crate::limits;
use crate::peer_sync::row::TableName;
use crate::peer_sync::schema::{OnDeleted, Reference, Schema, Table};

/// The seven tables of the specification. `role` of a user is not among the columns: no peer may write it.
pub fn of_the_specification() -> Vec<Table> {
    [
        table(
            "users",
            "id username email password_hash full_name avatar created_at updated_at",
            &[],
            &["email"],
        ),
        table(
            "products",
            "id name description category_id user_id manufacturer price product_url availability status \
             created_at updated_at",
            &[("category_id", "categories"), ("user_id", "users")],
            &[],
        ),
        table(
            "reviews",
            "id user_id product_id rating title content status created_at updated_at",
            &[("user_id", "users"), ("product_id", "products")],
            &["user_id product_id"],
        ),
        table("categories", "id name slug description created_at", &[], &["name", "slug"]),
        table(
            "product_images",
            "id product_id image_url is_primary sort_order created_at",
            &[("product_id", "products")],
            &[],
        ),
        table(
            "review_media",
            "id review_id media_url media_type sort_order created_at",
            &[("review_id", "reviews")],
            &[],
        ),
        table("activity_logs", "id user_id action details created_at", &[("user_id", "users")], &[]),
    ]
    .into()
}

fn table(name: &str, columns: &str, references: &[(&str, &str)], unique: &[&str]) -> Table {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    Table {
        name: TableName(name.into()),
        columns: words(columns),
        key: words("id"),
        references: references
            .iter()
            .map(|(column, parent)| Reference {
                columns: words(column),
                table: TableName((*parent).into()),
                on_deleted: OnDeleted::default(),
            })
            .collect(),
        unique: unique.iter().map(|columns| words(columns)).collect(),
        policy: Default::default(),
    }
}

/// Reads a file of tables: a JSON array of objects as [`Table`] is written.
///
/// # Errors
/// What is wrong with it, with its place.
pub fn parse(file: &str, text: &str) -> Result<Vec<Table>, Diagnostic> {
    if text.len() > limits::CONFIG_BYTES_MAX {
        return Err(Diagnostic::file_error(file, "the file is too large", "declare fewer tables"));
    }
    serde_json::from_str(text).map_err(|error| {
        // A message of the parser ends with the place, which the finding shows by itself.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let (line, column) = (error.line().max(1), error.column().max(1));
        Diagnostic::at(Severity::Error, file, text, line, column, 1, message)
            .with_help("an array of `{\"name\", \"columns\", \"key\"}`, see docs/peer-node.md")
    })
}

/// Of these tables the ones that are named; all if none is.
///
/// # Errors
/// A name that is no table's, or tables that do not go together.
pub fn choose(mut tables: Vec<Table>, names: &[String]) -> Result<Schema, Diagnostic> {
    for name in names {
        if !tables.iter().any(|table| table.name.as_str() == name) {
            let known: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("name some of: {}", known.join(", ")),
            };
            let message = format!("SYNC_TABLES: {name:?} is no table");
            return Err(Diagnostic::file_error(ENVIRONMENT, message, help));
        }
    }
    if !names.is_empty() {
        tables.retain(|table| names.iter().any(|name| table.name.as_str() == name));
    }
    let schema = Schema::new(tables).map_err(|error| schema_error(ENVIRONMENT, &error))?;
    if schema.tables().next().is_none() {
        let help = "declare at least one table in `SYNC_SCHEMA_FILE`";
        return Err(Diagnostic::file_error(ENVIRONMENT, "no table travels", help));
    }
    Ok(schema)
}
