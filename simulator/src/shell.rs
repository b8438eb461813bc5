//! Commands to be pasted into a shell.

/// A word as a POSIX shell reads it back.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_when_needed() {
        assert_eq!(quote("scenarios/smoke/a.yaml"), "scenarios/smoke/a.yaml");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("faults[0].at=3s"), "'faults[0].at=3s'");
    }
}
