//! Reads a file of `NAME=value` lines, such as `.env`.
//!
//! A `#` begins a comment, at the start of a line or behind a space; `export` before a name does not count; a value may
//! stand in single or double quotes, in which everything stands for itself.

use crate::diagnostic::{Diagnostic, Severity};
use crate::limits;

/// One variable of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvLine {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it stands, from 1.
    pub line: usize,
}

/// Reads a file.
///
/// # Errors
/// Everything that is no variable, without its text: it may be a secret.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<EnvLine>, Vec<Diagnostic>> {
    let whole = |message: &str, help: &str| Err(vec![Diagnostic::file_error(file, message, help)]);
    if bytes.len() > limits::CONFIG_BYTES_MAX {
        return whole("the file is too large", "keep nothing but `NAME=value` lines in it");
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return whole("the file is not UTF-8", "save it as UTF-8");
    };
    let (mut lines, mut findings) = (Vec::new(), Vec::new());
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match read_line(line) {
            Ok((name, value)) => lines.push(EnvLine { name: name.to_owned(), value, line: at + 1 }),
            Err(wrong) => {
                let shown = "(not shown: it may hold a secret)";
                let found = Diagnostic::at(Severity::Error, file, shown, 1, 1, shown.len(), wrong.0);
                findings.push(Diagnostic { line: at + 1, ..found }.with_help(wrong.1));
            }
        }
        if findings.len() == limits::CONFIG_DIAGNOSTICS_MAX {
            break;
        }
    }
    if findings.is_empty() { Ok(lines) } else { Err(findings) }
}

fn read_line(line: &str) -> Result<(&str, String), (&'static str, &'static str)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) =
        line.split_once('=').ok_or(("no `=`", "write `NAME=value`, or `#` before a comment"))?;
    let name = name.trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(plain) || name.as_bytes()[0].is_ascii_digit() {
        return Err(("no name before the `=`", "a name has letters, digits and `_`"));
    }
    let value = value.trim();
    if let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (inner, rest) =
            value[1..].split_once(quote).ok_or(("a quote does not end", "end it on the same line"))?;
        let rest = rest.trim_start();
        if !rest.is_empty() && !rest.starts_with('#') {
            return Err(("something stands behind the quote", "put the whole value into quotes"));
        }
        return Ok((name, inner.to_owned()));
    }
    let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
    let value = if value.starts_with('#') { "" } else { value[..end].trim_end() };
    Ok((name, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_names_and_values() {
        let check = |line: &str, name: &str, value: &str| {
            let read = parse(".env", line.as_bytes()).unwrap();
            let read: Vec<_> = read.iter().map(|line| (line.name.as_str(), line.value.as_str())).collect();
            assert_eq!(read, [(name, value)], "{line}");
        };
        check("A=1", "A", "1");
        check("  export A = 1  # one", "A", "1");
        check("A=", "A", "");
        check("A= # none", "A", "");
        check("A=x#y", "A", "x#y");
        check("A='x # y' # z", "A", "x # y");
        check("A=\"'\"", "A", "'");
        check("\u{feff}# first\r\n\r\nA=1\r\n", "A", "1");
    }

    #[test]
    fn what_is_no_variable_is_named_by_its_line_and_not_shown() {
        for wrong in ["hunter2", "=hunter2", "1A=hunter2", "A B=hunter2", "A='hunter2", "A='hunter2' x"] {
            let found = parse(".env", format!("A=1\n{wrong}\n").as_bytes()).unwrap_err();
            let text = found[0].to_string();
            assert!(found[0].line == 2 && !text.contains("hunter2") && text.contains("help"), "{text}");
        }
        assert!(parse(".env", b"\xff").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(".env", &bytes);
        }

        #[test]
        fn quoted_values_come_back(value in "[^'\\r\\n]{0,40}") {
            let read = parse(".env", format!("A='{value}'").as_bytes()).unwrap();
            prop_assert_eq!(&read[0].value, &value);
        }
    }
}
