//! A child's side of its parent: the text it was started with, and the parent's end.
//!
//! The standard input carries a text (a configuration, say) and then stays open, so that its end is the
//! parent's end: the system closes the pipe however the parent ends, SIGKILL included. The text is preceded
//! by its length on a line of its own, because any other mark of its end could be part of it. A signal at
//! the parent's death (PR_SET_PDEATHSIG) would not do: Linux sends it when the *thread* that started the
//! child ends, which for a thread of an executor may be at any time, and other systems have none.

use std::io::{self, BufRead, Read as _, Write};

use sync_core::secret::Secret;
use tokio::sync::mpsc;

/// The text that the parent sent, read from the standard input. Called once, before anything else reads
/// there.
pub fn text() -> io::Result<Secret<String>> {
    read_text(&mut io::stdin().lock())
}

/// Ends this process with exit code [`EXIT_ORPHANED`] when the parent ends. Whatever else comes on the
/// standard input is discarded. The thread that this takes is of its own, so that a busy executor does not
/// outlive the parent.
pub fn end_with_parent() -> io::Result<()> {
    std::thread::Builder::new().name("parent".to_owned()).spawn(|| {
        // An error is the end as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(EXIT_ORPHANED);
    })?;
    Ok(())
}

/// The lines that the parent sends after the text. When the parent ends this process does, as with
/// [`end_with_parent`].
pub fn orders() -> io::Result<mpsc::UnboundedReceiver<String>> {
    // A parent sends few; one that waits until they are taken would not see its end.
    let (to, orders) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("parent".to_owned()).spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            // Nobody may listen any more.
            let _ = to.send(line);
        }
        std::process::exit(EXIT_ORPHANED);
    })?;
    Ok(orders)
}

/// The lines that the parent sends after the text; the channel ends with the parent. The thread that this
/// takes is of its own, since a read of the standard input cannot be given up.
pub fn lines() -> io::Result<mpsc::Receiver<String>> {
    let (to, lines) = mpsc::channel(LINES_MAX);
    std::thread::Builder::new().name("parent".to_owned()).spawn(move || {
        for line in io::stdin().lock().lines() {
            // An error is the end as well.
            let Ok(line) = line else { return };
            if to.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// Prints a line that the parent waits for.
pub fn announce(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// The text as [`text`] reads it.
pub(super) fn frame(text: &Secret<String>) -> Secret<Vec<u8>> {
    let mut bytes = format!("{}\n", text.expose().len()).into_bytes();
    bytes.extend_from_slice(text.expose().as_bytes());
    Secret::new(bytes)
}

fn read_text(input: &mut impl BufRead) -> io::Result<Secret<String>> {
    let mut length = String::new();
    input.by_ref().take(LENGTH_DIGITS_MAX).read_line(&mut length)?;
    let length: usize = length
        .strip_suffix('\n')
        .and_then(|length| length.parse().ok())
        .filter(|length| *length <= TEXT_BYTES_MAX)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the text's length is expected first"))?;
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the text is not UTF-8"))?;
    Ok(Secret::new(text))
}

/// The exit code of a child whose parent ended.
pub const EXIT_ORPHANED: i32 = 4;

const TEXT_BYTES_MAX: usize = 16 << 20;
const LINES_MAX: usize = 64;
const LENGTH_DIGITS_MAX: u64 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_out_as_it_went_in_and_what_follows_is_left() {
        for text in ["", "one line", "a\n\n3\nend\n", "Ünï"] {
            let mut bytes = frame(&Secret::new(text.to_owned())).expose().clone();
            bytes.extend_from_slice(b"rest");
            let mut input = bytes.as_slice();
            assert_eq!(read_text(&mut input).unwrap().expose(), text);
            assert_eq!(input, b"rest");
        }
    }

    #[test]
    fn a_text_that_is_cut_short_or_of_no_length_is_an_error() {
        for bytes in [&b""[..], b"5\nabcd", b"x\nabc", b"-1\n", b"99999999999\n", b"5", b"2\n\xff\xff"] {
            assert!(read_text(&mut &*bytes).is_err(), "{bytes:?}");
        }
    }
}
