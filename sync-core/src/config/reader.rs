//! Takes values out of the raw file, by form, and reports those that are not of it.
//!
//! `None` stands for a value about which an error has been reported, so that every fault of a file
//! is found in one reading and none twice.

use super::endpoint::Endpoint;
use super::excerpt;
use super::keys::{BLANK, Form, KeySpec};
use super::raw::{Entry, Findings, RawFile};
use crate::diagnostic::nearest;
use crate::limits;
use crate::secret::Secret;

/// The raw file, from which each key is taken once, and where errors go.
pub(super) struct Reader<'a> {
    pub(super) file: RawFile,
    pub(super) findings: &'a mut Findings,
}

impl Reader<'_> {
    /// A switch which, when on, needs further keys; `missing` names those not given.
    pub(super) fn switch_that_needs(
        &mut self,
        spec: &'static KeySpec,
        missing: Vec<&'static str>,
    ) -> Option<bool> {
        let Some(entry) = self.given(spec)? else { return Some(spec.default == "1") };
        let on = self.number_in(&entry)? == 1;
        if on && !missing.is_empty() {
            let names = missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
            let help = format!("give {names}, or write `{} = 0`", spec.name);
            self.refuse(&entry, format!("`{} = 1` needs {names}", spec.name), help);
            return None;
        }
        Some(on)
    }

    pub(super) fn switch(&mut self, spec: &'static KeySpec) -> Option<bool> {
        self.number(spec).map(|number| number == 1)
    }

    pub(super) fn count(&mut self, spec: &'static KeySpec) -> Option<usize> {
        self.number(spec).and_then(|number| usize::try_from(number).ok())
    }

    pub(super) fn number(&mut self, spec: &'static KeySpec) -> Option<u64> {
        match self.given(spec)? {
            None => spec.default.parse().ok(),
            Some(entry) => self.number_in(&entry),
        }
    }

    pub(super) fn number_in(&mut self, entry: &Entry) -> Option<u64> {
        let (min, max) = entry.spec.form.bounds();
        let digits = entry.text().bytes().all(|b| b.is_ascii_digit());
        let number = entry.text().parse::<u64>().ok().filter(|n| digits && (min..=max).contains(n));
        if number.is_none() {
            let message = match (entry.spec.form, digits) {
                (Form::Switch, _) => "neither 0 nor 1",
                (_, true) => "out of range",
                (_, false) => "not a whole number",
            };
            self.refuse(entry, message, expectation(entry.spec));
        }
        number
    }

    pub(super) fn endpoint(&mut self, spec: &'static KeySpec) -> Option<Option<Endpoint>> {
        let Some(entry) = self.given(spec)? else { return Some(spec.default.parse().ok()) };
        match entry.text().parse::<Endpoint>() {
            Ok(endpoint) => Some(Some(endpoint)),
            Err(error) => {
                self.refuse(&entry, error.to_string(), error.help());
                None
            }
        }
    }

    /// The name of a file, as its entry.
    pub(super) fn file(&mut self, spec: &'static KeySpec) -> Option<Option<Entry>> {
        let Some(entry) = self.given(spec)? else { return Some(None) };
        let text = entry.text();
        if text.starts_with("-----") {
            let help = "write it to a file that only this program may read, and give the file's path";
            self.refuse(&entry, format!("`{}` takes the path of a file, not what is in it", spec.name), help);
            return None;
        }
        if text.len() > limits::FILE_PATH_BYTES_MAX || text.contains(['=', '@', '?', '#']) {
            self.refuse(&entry, format!("not a value of `{}`", spec.name), expectation(spec));
            return None;
        }
        Some(Some(entry))
    }

    pub(super) fn checked(&mut self, spec: &'static KeySpec, check: impl Fn(&str) -> bool) -> Option<String> {
        let Some(entry) = self.given(spec)? else { return Some(spec.default.to_owned()) };
        if check(entry.text()) {
            return Some(entry.text().to_owned());
        }
        self.refuse(&entry, format!("not a value of `{}`", spec.name), expectation(spec));
        None
    }

    pub(super) fn checked_secret(
        &mut self,
        spec: &'static KeySpec,
        check: impl Fn(&str) -> bool,
    ) -> Option<Option<Secret<String>>> {
        let Some(entry) = self.given(spec)? else { return Some(None) };
        if check(entry.text()) {
            return Some(Some(entry.value));
        }
        self.refuse(&entry, format!("not a value of `{}`", spec.name), expectation(spec));
        None
    }

    /// Takes a key's entry. `None` for a line already refused, `Some(None)` for the default.
    pub(super) fn given(&mut self, spec: &'static KeySpec) -> Option<Option<Entry>> {
        match self.file.entries.remove(spec.name) {
            None if self.file.excused.contains(spec.name) => None,
            None => Some(None),
            // Otherwise it would be shown wherever the configuration is.
            Some(entry) if !spec.secret && excerpt::holds_key(entry.text()) => {
                let help = "move it to the line of its own key";
                self.refuse(&entry, format!("a secret key as the value of `{}`", spec.name), help);
                None
            }
            Some(entry) if !entry.text().is_empty() => Some(Some(entry)),
            Some(_) if spec.default.is_empty() => Some(None),
            Some(entry) => {
                self.refuse(&entry, format!("`{}` has no value", spec.name), expectation(spec));
                None
            }
        }
    }

    /// Reports a key that must be given: at its empty value, or for the file when there is no such line.
    pub(super) fn missing(&mut self, spec: &'static KeySpec, message: &str, help: impl Into<String>) {
        match self.file.entries.remove(spec.name) {
            Some(entry) => self.refuse(&entry, message, help),
            None if self.file.excused.contains(spec.name) => {}
            None => {
                let help = format!("`{}` is missing: {}", spec.name, help.into());
                self.findings.file_error(message, help);
            }
        }
    }

    pub(super) fn refuse(&mut self, entry: &Entry, message: impl Into<String>, help: impl Into<String>) {
        self.refuse_part(entry, entry.text(), message, help);
    }

    pub(super) fn refuse_part(
        &mut self,
        entry: &Entry,
        part: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let mut help = help.into();
        if [" #", " //", "\t#", "\t//"].iter().any(|comment| entry.text().contains(comment)) {
            help.push_str("; a comment stands on a line of its own");
        }
        self.findings.push_with(|file| entry.at_part(file, part, message).with_help(help));
    }
}

/// The items of a comma list, as slices of the value.
pub(super) fn parts(entry: &Entry) -> impl Iterator<Item = &str> {
    entry.text().split(',').map(|part| part.trim_matches(BLANK))
}

/// The name that was probably meant.
pub(super) fn near(given: &str, names: &[&'static str]) -> Option<&'static str> {
    if given.len() > WORD_BYTES_MAX { None } else { nearest(given, names.iter().copied()) }
}

fn expectation(spec: &KeySpec) -> String {
    match spec.default {
        "" => format!("expected: {}", spec.form),
        default => format!("expected: {}; default {default}", spec.form),
    }
}

/// Longer words are not compared with names: the comparison takes time by length.
const WORD_BYTES_MAX: usize = 64;
