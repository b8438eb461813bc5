//! How rows ought to stand by the rules between them (references, natural keys), over all that one peer stores.
//!
//! It is made anew with [`constraints::standings`], which defines what is right; peers keep theirs up to date with other
//! code, at every change. The schema is that of the scenario, whatever a peer's database was made with.

use std::collections::BTreeMap;

use sync_core::peer_sync::constraints;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::{RowId, RowVersion};
use sync_core::peer_sync::schema::Schema;
use sync_core::peer_sync::store::Standing;

use crate::history::peers::Ought;

/// How each of these rows ought to stand, and what applications ought to see of it. Rows of tables that the schema does not
/// have are left out.
pub(crate) fn oughts<'a>(
    schema: &Schema,
    rows: impl Iterator<Item = &'a RowVersion> + Clone,
) -> BTreeMap<RowId, Ought> {
    let standings = constraints::standings(schema, rows.clone());
    rows.filter_map(|version| {
        let standing = standings.get(&version.row)?.clone();
        let shows = matches!(standing, Standing::Visible | Standing::Revived);
        let visible = version.image.content().filter(|_| shows).map(Content::hash);
        Some((version.row.clone(), Ought { standing, visible }))
    })
    .collect()
}
