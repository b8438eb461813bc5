//! Rows in bulk: the text format of COPY, which costs the server far less than arrays of parameters do.

use std::io::Write as _;

use sqlx::postgres::PgConnection;

use crate::runtime::postgres::PostgresError;

/// From so many rows on a statement of its own, which has no plan to come back to, is worth it.
pub(super) const ROWS_MIN: usize = 64;

/// Rows, column by column.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: Vec<u8>,
    /// Whether the row has a column already.
    begun: bool,
}

impl Lines {
    /// A text, or a null.
    pub(super) fn text(&mut self, value: Option<&str>) {
        self.next();
        let Some(value) = value else { return self.text.extend_from_slice(b"\\N") };
        let mut rest = value.as_bytes();
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
            let (plain, special) = rest.split_at(at);
            self.text.extend_from_slice(plain);
            let escaped: &[u8] = match special.first() {
                Some(b'\t') => b"\\t",
                Some(b'\n') => b"\\n",
                Some(b'\r') => b"\\r",
                _ => b"\\\\",
            };
            self.text.extend_from_slice(escaped);
            rest = special.get(1..).unwrap_or_default();
        }
        self.text.extend_from_slice(rest);
    }

    /// A number, or a null.
    pub(super) fn number(&mut self, value: Option<i64>) {
        let Some(value) = value else { return self.text(None) };
        self.next();
        // Writing to memory cannot fail.
        let _ = write!(self.text, "{value}");
    }

    /// A truth value.
    pub(super) fn truth(&mut self, value: bool) {
        self.next();
        self.text.push(if value { b't' } else { b'f' });
    }

    /// Bytes, in hexadecimal digits.
    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.next();
        self.text.extend_from_slice(b"\\\\x");
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
        self.text.extend(value.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    }

    /// Ends a row.
    pub(super) fn end(&mut self) {
        self.text.push(b'\n');
        self.begun = false;
    }

    fn next(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            self.text.push(b'\t');
        }
    }

    /// Has `COPY ... FROM STDIN` take them.
    pub(super) async fn send(self, connection: &mut PgConnection, copy: &str) -> Result<(), PostgresError> {
        let mut stream = connection.copy_in_raw(copy).await?;
        // Whoever gives this up gives up its connection, too.
        stream.send(self.text).await?;
        stream.finish().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_what_they_are() {
        let mut lines = Lines::default();
        lines.text(Some("a\tb\\N\r\n"));
        lines.text(None);
        lines.text(Some(""));
        lines.number(Some(-7));
        lines.end();
        lines.number(None);
        lines.truth(true);
        lines.bytes(&[0, 0xaf]);
        lines.text(Some("\\."));
        lines.end();
        let text = String::from_utf8(lines.text).unwrap();
        assert_eq!(text, "a\\tb\\\\N\\r\\n\t\\N\t\t-7\n\\N\tt\t\\\\x00af\t\\\\.\n");
    }
}
