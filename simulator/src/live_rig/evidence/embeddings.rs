//! Embeddings that a live run leaves behind, held against what its hosts wrote.

use rustc_hash::FxHashSet;
use sync_core::store::Content;

use crate::history::OpRef;
use crate::virtual_rig::manners::op_of;
use crate::virtual_rig::provider::text_of;
use crate::virtual_rig::services::embedded_texts;

/// Embeddings whose text is not one that an event with a row wrote.
pub(super) fn strange_texts(written: &FxHashSet<OpRef>, content: &Content) -> usize {
    let is_strange = |text: Option<String>| {
        let Some(text) = text else { return true };
        op_of(&text).is_none_or(|op| !written.contains(&op) || embedded_texts(op)[0] != text)
    };
    content.embeddings.values().filter(|row| is_strange(text_of(&row.metadata))).count()
}

#[cfg(test)]
mod tests {
    use sync_core::embedding::{Metadata, Vector};
    use sync_core::store::EmbeddingRow;

    use super::*;
    use crate::embedding::numbers;

    fn content(text: &str) -> Content {
        let metadata = serde_json::json!({ "text": text }).to_string();
        let row = EmbeddingRow {
            vector: Vector::new(numbers(text)).unwrap(),
            metadata: Metadata::parse(&metadata).unwrap(),
        };
        let mut content = Content::default();
        content.embeddings.insert(serde_json::from_str("\"1/map0/e1\"").unwrap(), row);
        content
    }

    #[test]
    fn a_text_must_be_that_of_an_event_with_a_row() {
        let op = OpRef { host: 3, ticket: 4 };
        let [text, other, _] = embedded_texts(op);
        let written = FxHashSet::from_iter([op]);
        assert_eq!(strange_texts(&written, &content(&text)), 0);
        assert_eq!(strange_texts(&written, &content(&other)), 1);
        assert_eq!(strange_texts(&written, &content("of nobody")), 1);
        assert_eq!(strange_texts(&FxHashSet::default(), &content(&text)), 1);
    }
}
