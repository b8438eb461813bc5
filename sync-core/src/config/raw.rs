//! The raw layer: lines `key = value` with their places, and the findings about them.
//!
//! - A comment starts with `#` or `//` and has a line of its own: a value may hold `#`, as passwords
//!   and connection strings do, so nothing after a value is cut off.
//! - Blanks (space, tab) around a key and a value do not count; LF and CRLF both end a line; a UTF-8
//!   byte order mark at the start is skipped.
//! - A key stands once. Control characters, and bytes that are not UTF-8, are refused.

use std::collections::{BTreeMap, BTreeSet};

use super::excerpt::{self, Excerpt};
use super::keys::{self, KeySpec};
use crate::diagnostic::{Diagnostic, Severity};
use crate::limits;
use crate::secret::Secret;

/// One `key = value` of a known key.
pub(super) struct Entry {
    pub(super) spec: &'static KeySpec,
    /// Any value may be a secret until its key is looked at.
    pub(super) value: Secret<String>,
    line: Line,
    key_column: usize,
    value_column: usize,
}

/// What a file says, before it is understood.
pub(super) struct RawFile {
    /// By the key's name.
    pub(super) entries: BTreeMap<&'static str, Entry>,
    /// Keys with a line that was refused here: to call them missing would be a second error for one fault.
    pub(super) excused: BTreeSet<&'static str>,
}

/// Collects findings, up to a bound.
pub(super) struct Findings {
    file: String,
    list: Vec<Diagnostic>,
    dropped: usize,
}

/// Cuts the file into entries. `None` when it cannot be read as text at all.
pub(super) fn read(bytes: &[u8], findings: &mut Findings) -> Option<RawFile> {
    if bytes.len() > limits::CONFIG_BYTES_MAX {
        findings.file_error(
            format!("the file has {} bytes", bytes.len()),
            format!(
                "a configuration has at most {} bytes: is this the right file?",
                limits::CONFIG_BYTES_MAX
            ),
        );
        return None;
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        findings.file_error("the file is UTF-16", "save it as UTF-8");
        return None;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut file = RawFile { entries: BTreeMap::new(), excused: BTreeSet::new() };
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match std::str::from_utf8(line) {
            Ok(text) => file.read_line(index + 1, text, findings),
            Err(error) => {
                let valid = String::from_utf8_lossy(&line[..error.valid_up_to()]);
                file.excuse(&valid, findings);
                findings.push_with(|f| {
                    Line::new(index + 1, &valid)
                        .diagnostic(f, Severity::Error, valid.chars().count() + 1, 1, "not UTF-8")
                        .with_help("save the file as UTF-8")
                });
            }
        }
    }
    Some(file)
}

impl RawFile {
    fn read_line(&mut self, number: usize, text: &str, findings: &mut Findings) {
        let refused = |c: char| c.is_control() && c != '\t';
        if let Some(column) = text.chars().position(refused) {
            self.excuse(text, findings);
            findings.push_with(|f| {
                Line::new(number, text)
                    .diagnostic(f, Severity::Error, column + 1, 1, "a control character")
                    .with_help("remove it; lines end with LF or CRLF")
            });
            return;
        }
        let trimmed = text.trim_matches(keys::BLANK);
        if trimmed.is_empty() || keys::comment_marker(text).is_some() {
            return;
        }
        let key_column = columns(text, trimmed);
        let Some((left, right)) = text.split_once('=') else {
            self.excuse(text, findings);
            findings.push_with(|f| {
                let width = trimmed.chars().count();
                Line::new(number, text)
                    .diagnostic(f, Severity::Error, key_column, width, "no `key = value`")
                    .with_help("write `key = value`, or start the line with `#` for a comment")
            });
            return;
        };
        let key = left.trim_matches(keys::BLANK);
        let value = right.trim_matches(keys::BLANK);
        let Some(spec) = keys::find(key) else {
            self.excuse(text, findings);
            findings.push_with(|f| unknown_key(f, &Line::new(number, text), key, key_column));
            return;
        };
        let value_column = columns(text, value);
        let entry = Entry {
            spec,
            value: Secret::new(value.to_owned()),
            line: Line::new(number, text),
            key_column,
            value_column,
        };
        if let Some(first) = self.entries.get(spec.name) {
            let message = format!("`{}` stands twice", spec.name);
            let help = format!("the first is on line {}: keep one", first.line.number);
            findings.push_with(|f| entry.at_key(f, Severity::Error, message).with_help(help));
        } else if value.contains('\t') {
            self.excused.insert(spec.name);
            findings.push_with(|f| entry.at_value(f, "a tab inside the value").with_help("remove it"));
        } else {
            self.entries.insert(spec.name, entry);
        }
    }

    /// Notes the key that a refused line probably meant.
    fn excuse(&mut self, text: &str, findings: &Findings) {
        if findings.is_full() {
            // What is excused would not be reported any more, and comparing names takes time.
            return;
        }
        let word = text.trim_start_matches(keys::BLANK).split(['=', ' ', '\t']).next().unwrap_or("");
        self.excused.extend(keys::find(word).map(|spec| spec.name).or_else(|| excerpt::suggestion(word)));
    }
}

fn unknown_key(file: &str, line: &Line, key: &str, column: usize) -> Diagnostic {
    let message = if key.is_empty() {
        String::from("no key before `=`")
    } else if excerpt::may_show_key(key) {
        format!("unknown key `{key}`")
    } else {
        String::from("unknown key")
    };
    let help = excerpt::suggestion(key).map_or_else(
        || String::from("docs/configuration.md lists the keys"),
        |near| format!("did you mean `{near}`?"),
    );
    line.diagnostic(file, Severity::Error, column, key.chars().count(), message).with_help(help)
}

impl Entry {
    /// The value as the file has it.
    pub(super) fn text(&self) -> &str {
        self.value.expose()
    }

    /// A finding that underlines the key.
    pub(super) fn at_key(&self, file: &str, severity: Severity, message: impl Into<String>) -> Diagnostic {
        self.line.diagnostic(file, severity, self.key_column, self.spec.name.len(), message)
    }

    /// An error that underlines the value, or the key of an empty value.
    pub(super) fn at_value(&self, file: &str, message: impl Into<String>) -> Diagnostic {
        self.at_part(file, self.text(), message)
    }

    /// An error that underlines `part`, a slice of the value.
    pub(super) fn at_part(&self, file: &str, part: &str, message: impl Into<String>) -> Diagnostic {
        if self.text().is_empty() {
            return self.at_key(file, Severity::Error, message);
        }
        let column = self.value_column + columns(self.text(), part) - 1;
        self.line.diagnostic(file, Severity::Error, column, part.chars().count(), message)
    }
}

/// A line of the file, held only as findings may show it.
struct Line {
    number: usize,
    excerpt: Excerpt,
}

impl Line {
    fn new(number: usize, text: &str) -> Self {
        Self { number, excerpt: Excerpt::of(text) }
    }

    fn diagnostic(
        &self,
        file: &str,
        severity: Severity,
        column: usize,
        width: usize,
        message: impl Into<String>,
    ) -> Diagnostic {
        // What is hidden has no columns of its own: the mask stands for all of it.
        let (column, width) = match self.excerpt.mask_column {
            Some(mask) if column >= mask => (mask, excerpt::MASK.len()),
            Some(mask) if column + width > mask => (column, mask - column + excerpt::MASK.len()),
            _ => (column, width),
        };
        Diagnostic {
            severity,
            file: file.to_owned(),
            line: self.number,
            column: column.max(1),
            width: width.max(1),
            excerpt: self.excerpt.text.clone(),
            message: message.into(),
            help: None,
        }
    }
}

impl Findings {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new(), dropped: 0 }
    }

    /// Adds what `make` builds for the file of this name; past the bound it is counted only.
    pub(super) fn push_with(&mut self, make: impl FnOnce(&str) -> Diagnostic) {
        if !self.is_full() {
            let diagnostic = make(&self.file);
            self.list.push(diagnostic);
        } else {
            self.dropped += 1;
        }
    }

    /// Whether further findings are counted only.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= limits::CONFIG_DIAGNOSTICS_MAX
    }

    /// An error about the file as a whole.
    pub(super) fn file_error(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.push_with(|file| Diagnostic::file_error(file, message, help));
    }

    /// A warning about the file as a whole.
    pub(super) fn file_warning(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.push_with(|file| Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::file_error(file, message, help)
        });
    }

    /// All of them in the order of the lines, then how many there were beyond the bound.
    pub(super) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|d| (d.line, d.column));
        if self.dropped > 0 {
            let message = format!("{} further findings are not shown", self.dropped);
            self.list.push(Diagnostic::file_error(
                &self.file,
                message,
                "correct the first ones, then read again",
            ));
        }
        self.list
    }
}

/// The column, from 1, at which `part`, a slice of `whole`, starts; characters are counted.
fn columns(whole: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len());
    whole.get(..offset).unwrap_or(whole).chars().count() + 1
}
