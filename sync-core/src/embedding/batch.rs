//! How many texts one request to a provider holds.

use std::ops::Range;

use crate::limits;

/// What a request holds so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    texts: usize,
    bytes: usize,
}

impl Batch {
    /// Adds so many texts of so many bytes together, if there is room for all of them.
    pub fn takes(&mut self, texts: usize, bytes: usize) -> bool {
        let with = Self { texts: self.texts.saturating_add(texts), bytes: self.bytes.saturating_add(bytes) };
        let fits = with.texts <= limits::EMBEDDING_BATCH_TEXTS_MAX
            && with.bytes <= limits::EMBEDDING_BATCH_BYTES_MAX;
        if fits {
            *self = with;
        }
        fits
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.texts == 0
    }
}

/// The texts, in their order, cut into requests of at most [`limits::EMBEDDING_BATCH_TEXTS_MAX`] texts and
/// [`limits::EMBEDDING_BATCH_BYTES_MAX`] bytes each. A text that is larger than that gets a request of its own.
pub fn batches<T: AsRef<str>>(texts: &[T]) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    let mut batch = Batch::default();
    for (place, text) in texts.iter().enumerate() {
        let bytes = text.as_ref().len();
        match all.last_mut() {
            Some(last) if batch.takes(1, bytes) => last.end = place + 1,
            _ => {
                batch = Batch { texts: 1, bytes };
                all.push(place..place + 1);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The requests as pairs of their first text and the one behind their last.
    fn check(sizes: &[usize], expected: &[(usize, usize)]) {
        let texts: Vec<_> = sizes.iter().map(|size| "x".repeat(*size)).collect();
        let found: Vec<_> = batches(&texts).into_iter().map(|batch| (batch.start, batch.end)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_request_is_full_by_texts_or_by_bytes() {
        check(&[], &[]);
        check(&[1, 1, 1], &[(0, 3)]);
        check(
            &[1; limits::EMBEDDING_BATCH_TEXTS_MAX + 1],
            &[
                (0, limits::EMBEDDING_BATCH_TEXTS_MAX),
                (limits::EMBEDDING_BATCH_TEXTS_MAX, limits::EMBEDDING_BATCH_TEXTS_MAX + 1),
            ],
        );
        let half = limits::EMBEDDING_BATCH_BYTES_MAX / 2;
        check(&[half, half, 1], &[(0, 2), (2, 3)]);
        check(&[1, 2 * half + 1, 1], &[(0, 1), (1, 2), (2, 3)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_text_is_in_one_request(sizes in prop::collection::vec(0usize..20_000, 0..200)) {
            let texts: Vec<_> = sizes.iter().map(|size| "x".repeat(*size)).collect();
            let places: Vec<usize> = batches(&texts).into_iter().flatten().collect();
            prop_assert_eq!(places, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
