//! Reads recordings, line by line.

use std::io::{self, BufRead, Read as _};

use thiserror::Error;

use super::line::{self, FormatOnly, Line};
use super::{FORMAT, Header, KeyError};
use crate::limits;

/// A recording whose header has been read.
#[derive(Debug)]
pub struct Recording<R> {
    reader: R,
    header: Header,
    lines: u64,
    /// The line that was read last.
    pub(super) buffer: Vec<u8>,
}

/// A recording cannot be replayed.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("line {line} cannot be read: {error}")]
    Unreadable {
        /// Which line, from 1.
        line: u64,
        /// Why.
        error: io::Error,
    },
    /// The file does not begin as a recording does.
    #[error("this is not a recording: its first line is no header")]
    NotARecording,
    /// Another version of the format.
    #[error("the recording has format {found}, and this program reads format {FORMAT}")]
    Version {
        /// The file's version.
        found: u32,
    },
    /// A line is not what was written.
    #[error("line {line} is damaged: {what}")]
    Damaged {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A key is missing or wrong.
    #[error("line {line}: the engine `{name}` cannot be made: {error}")]
    Key {
        /// Which line, from 1.
        line: u64,
        /// The engine's name.
        name: String,
        /// Which key.
        error: KeyError,
    },
}

impl RecordingError {
    /// Which line it concerns, from 1.
    pub const fn line(&self) -> u64 {
        match self {
            Self::Unreadable { line, .. } | Self::Damaged { line, .. } | Self::Key { line, .. } => *line,
            Self::NotARecording | Self::Version { .. } => 1,
        }
    }

    /// What to do about it.
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check that the file can be read",
            Self::NotARecording => "give a recording, or a folder of them, as `run --record` writes it",
            Self::Version { .. } => "replay it with the version of the program that wrote it",
            Self::Damaged { .. } => {
                "copy the file again from where it was written, or record again; in a line changed on purpose leave `sum` out"
            }
            Self::Key { error: KeyError::NotDerived(_), .. } => {
                "the recording was made with other keys than its header says: record again"
            }
            Self::Key { .. } => {
                "give the file that holds the host's key or the main server's with --key, once for each key"
            }
        }
    }
}

/// What reading a line came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It lies in the buffer, without its newline.
    Line,
    /// There is none.
    End,
    /// The file ends in the middle of one.
    CutShort,
}

impl<R: BufRead> Recording<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is not one of a recording of this format.
    pub fn open(reader: R) -> Result<Self, RecordingError> {
        let header = Header {
            format: FORMAT,
            frames: String::new(),
            effects: super::EffectForm::Digest,
            rig_seed: None,
            defect: None,
        };
        let mut recording = Self { reader, header, lines: 0, buffer: Vec::new() };
        if recording.step()? != Step::Line {
            return Err(RecordingError::NotARecording);
        }
        let buffer = std::mem::take(&mut recording.buffer);
        let line: Line<'_> = serde_json::from_slice(&buffer).map_err(|_| RecordingError::NotARecording)?;
        let header = line.header.ok_or(RecordingError::NotARecording)?.get();
        let format: FormatOnly = serde_json::from_str(header).map_err(|_| RecordingError::NotARecording)?;
        if format.format != FORMAT {
            return Err(RecordingError::Version { found: format.format });
        }
        recording.parse(&buffer)?;
        recording.header = serde_json::from_str(header).map_err(|error| recording.damaged(&error))?;
        recording.buffer = buffer;
        Ok(recording)
    }

    /// What holds for the whole recording.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Lines read so far.
    pub(super) const fn line(&self) -> u64 {
        self.lines
    }

    /// Reads the next line into the buffer.
    pub(super) fn step(&mut self) -> Result<Step, RecordingError> {
        self.buffer.clear();
        let mut bounded = (&mut self.reader).take(limits::RECORDING_LINE_BYTES_MAX as u64);
        let read = bounded.read_until(b'\n', &mut self.buffer);
        self.lines += 1;
        match read {
            Err(error) => Err(RecordingError::Unreadable { line: self.lines, error }),
            Ok(0) => Ok(Step::End),
            Ok(_) if self.buffer.last() == Some(&b'\n') => {
                self.buffer.pop();
                Ok(Step::Line)
            }
            Ok(bytes) if bytes == limits::RECORDING_LINE_BYTES_MAX => Err(self.damaged(&"it has no end")),
            Ok(_) => Ok(Step::CutShort),
        }
    }

    /// Parses a line taken out of the buffer.
    pub(super) fn parse<'a>(&self, bytes: &'a [u8]) -> Result<Line<'a>, RecordingError> {
        if !line::sum_fits(bytes) {
            return Err(self.damaged(&"its sum does not fit"));
        }
        let line: Line<'a> = serde_json::from_slice(bytes).map_err(|error| self.damaged(&error))?;
        self.checked(&line)?;
        Ok(line)
    }

    fn checked(&self, line: &Line<'_>) -> Result<(), RecordingError> {
        if line.n != self.lines {
            return Err(self.damaged(&format_args!("it says that it is line {}: lines are missing", line.n)));
        }
        let kinds = [line.header.is_some(), line.engine.is_some(), line.call.is_some(), line.end.is_some()];
        if kinds.iter().filter(|kind| **kind).count() != 1 {
            return Err(self.damaged(&"it is not exactly one of header, engine, call and end"));
        }
        Ok(())
    }

    pub(super) fn damaged(&self, what: &dyn std::fmt::Display) -> RecordingError {
        RecordingError::Damaged { line: self.lines, what: what.to_string() }
    }
}
