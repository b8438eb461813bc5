//! Secrets that are looked for (P25), in every form in which one might slip out.

use sync_core::envelope;

/// Base64, hexadecimal digits and bytes of a key; a text as it is.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let base64 = secret.rsplit(':').next().unwrap();
    let mut bytes = Vec::new();
    if envelope::decode_base64(base64.as_bytes(), &mut bytes).is_err() || bytes.len() != 32 {
        return vec![secret.as_bytes().to_vec()];
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![base64.as_bytes().to_vec(), hex.into_bytes(), bytes]
}

/// Secrets by name.
pub(crate) struct Canaries(Vec<(&'static str, Vec<u8>)>);

impl Canaries {
    pub(crate) fn new(secrets: &[(&'static str, &str)]) -> Self {
        let forms = |(name, secret): &(&'static str, &str)| {
            forms(secret).into_iter().map(|form| (*name, form)).collect::<Vec<_>>()
        };
        Self(secrets.iter().flat_map(forms).collect())
    }

    pub(crate) fn seen_in(&self, text: &[u8]) -> Option<&'static str> {
        let seen = |form: &[u8]| text.windows(form.len()).any(|window| window == form);
        self.0.iter().find(|(_, form)| seen(form)).map(|(name, _)| *name)
    }

    pub(crate) fn absent_from(&self, place: &str, text: &[u8]) {
        assert_eq!(self.seen_in(text), None, "seen in {place}");
    }
}
