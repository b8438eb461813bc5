//! An error or warning about a text that a person wrote, with place and remedy.

use std::fmt;

/// How serious it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The input is taken all the same.
    Warning,
    /// The input is refused.
    Error,
}

/// One finding in a text file: what is wrong, where, and what to do about it.
///
/// Lines and columns count from 1; columns count characters. `excerpt` is the offending line, with
/// secrets already masked by whoever made the diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The file's name as the person gave it.
    pub file: String,
    /// Line, from 1; 0 when the finding concerns the file as a whole.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// Characters to underline, at least 1.
    pub width: usize,
    /// The line's text.
    pub excerpt: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without a place inside the file.
    pub fn file_error(file: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            width: 0,
            excerpt: String::new(),
            message: message.into(),
            help: Some(help.into()),
        }
    }

    /// A finding at `line` and `column` of `source`, with that line as the excerpt.
    pub fn at(
        severity: Severity,
        file: &str,
        source: &str,
        line: usize,
        column: usize,
        width: usize,
        message: impl Into<String>,
    ) -> Self {
        let excerpt = source.lines().nth(line.saturating_sub(1)).unwrap_or("").trim_end_matches('\r');
        Self {
            severity,
            file: file.to_owned(),
            line,
            column: column.max(1),
            width: width.max(1),
            excerpt: excerpt.to_owned(),
            message: message.into(),
            help: None,
        }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        writeln!(f, "{word}: {}", self.message)?;
        if self.line == 0 {
            write!(f, " --> {}", self.file)?;
        } else {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            writeln!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
            writeln!(f, "{gutter} |")?;
            // A tab would shift the caret: it is shown as one space, as its column counts one.
            let shown: String = self
                .excerpt
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(EXCERPT_CHARS_MAX)
                .collect();
            writeln!(f, "{number} | {shown}")?;
            let left = " ".repeat((self.column - 1).min(EXCERPT_CHARS_MAX));
            write!(f, "{gutter} | {left}{}", "^".repeat(self.width.min(EXCERPT_CHARS_MAX)))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

const EXCERPT_CHARS_MAX: usize = 200;

/// The candidate nearest to `given`, when it is near enough to be a likely typing error.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates = Vec::from_iter(candidates);
    // Who writes the beginning of a name means that one, however much is missing.
    let begun = |candidate: &&&str| given.len() >= 4 && candidate.starts_with(given);
    if let Some(candidate) = candidates.iter().filter(begun).min_by_key(|candidate| candidate.len()) {
        return Some(candidate);
    }
    candidates
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&given.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_place_with_a_caret() {
        let source = "a = 1\nredis_prt = 6379\n";
        let shown = Diagnostic::at(Severity::Error, "x.conf", source, 2, 1, 9, "unknown key `redis_prt`")
            .with_help("did you mean `redis_port`?")
            .to_string();
        assert_eq!(
            shown,
            "error: unknown key `redis_prt`\n --> x.conf:2:1\n  |\n2 | redis_prt = 6379\n  | ^^^^^^^^^\n  = help: did you mean `redis_port`?"
        );
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(nearest("redis_prt", ["redis_host", "redis_port"]), Some("redis_port"));
        assert_eq!(nearest("zzz", ["redis_host", "redis_port"]), None);
        let policies = ["first_writer", "last_writer_by_column", "last_writer_by_row"];
        assert_eq!(nearest("last_write", policies), Some("last_writer_by_row"));
    }
}
