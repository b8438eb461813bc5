//! Writes recordings.

use std::io::{self, BufWriter, Write};

use serde::Serialize;
use serde_json::value::RawValue;

use super::line::{self, CallLine, Content, EndLine, EngineRef, WAKE};
use super::{Draw, DrawLog, EffectForm, EngineHeader, Header, Totals};
use crate::limits;
use crate::time::Now;

/// Names an engine of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineIndex(pub(super) u32);

/// An input written down before an engine consumes it.
#[derive(Debug)]
pub struct NotedInput(io::Result<Box<RawValue>>);

impl NotedInput {
    /// Notes an input of a session or of a server.
    pub fn input<I: Serialize>(input: &I) -> Self {
        Self(serde_json::value::to_raw_value(input).map_err(io::Error::from))
    }

    /// Notes a call of [`wake`](crate::engine::Engine::wake).
    pub fn wake() -> Self {
        Self(RawValue::from_string(WAKE.to_owned()).map_err(io::Error::from))
    }

    fn begins_with(&self, begin: &str) -> bool {
        self.0.as_ref().is_ok_and(|json| json.get().starts_with(begin))
    }
}

/// Writes one recording.
///
/// Nothing is synced, and what lies in the buffer is lost when the process is killed: a replay goes as far as
/// the recording goes. The first error of the file ends the recording and is kept for
/// [`finish`](Recorder::finish); a recorder never disturbs what it records.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    out: BufWriter<W>,
    effects: EffectForm,
    lines: u64,
    totals: Totals,
    failed: Option<io::Error>,
    ended: bool,
    line: Vec<u8>,
    json: Vec<u8>,
}

impl<W: Write> Recorder<W> {
    /// Begins a recording with its header, which reaches the file at once.
    pub fn new(out: W, header: &Header) -> Self {
        let mut recorder = Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, out),
            effects: header.effects,
            lines: 0,
            totals: Totals::default(),
            failed: None,
            ended: false,
            line: Vec::new(),
            json: Vec::new(),
        };
        recorder.write(&Content::Header(header));
        recorder.flush();
        recorder
    }

    /// Adds an engine that has just been made, with what it drew meanwhile.
    pub fn engine(&mut self, made_of: &EngineHeader, draws: &DrawLog) -> EngineIndex {
        let index = EngineIndex(u32::try_from(self.totals.engines).unwrap_or(u32::MAX));
        self.totals.engines += 1;
        self.write(&Content::Engine(EngineRef { made_of, draws: draws.take() }));
        index
    }

    /// Adds a call: its moment, its input, what the engine drew and the effects that it appended.
    pub fn call<E: Serialize>(
        &mut self,
        engine: EngineIndex,
        now: Now,
        input: NotedInput,
        draws: &DrawLog,
        effects: &[E],
    ) {
        let draws = draws.take();
        self.totals.calls += 1;
        self.totals.operations += u64::from(input.begins_with("{\"ask\":"));
        self.totals.requests += u64::from(input.begins_with("{\"request\":"));
        self.totals.effects += effects.len() as u64;
        if let Err(error) = self.try_call(engine, now, input, draws, effects) {
            self.failed.get_or_insert(error);
        }
    }

    fn try_call<E: Serialize>(
        &mut self,
        engine: EngineIndex,
        now: Now,
        input: NotedInput,
        draws: Vec<Draw>,
        effects: &[E],
    ) -> io::Result<()> {
        let input = input.0?;
        let mut kept = Vec::with_capacity(effects.len());
        for effect in effects {
            kept.push(match self.effects {
                EffectForm::Full => serde_json::value::to_raw_value(effect)?,
                EffectForm::Digest => {
                    self.json.clear();
                    serde_json::to_writer(&mut self.json, effect)?;
                    serde_json::value::to_raw_value(&line::digest(&self.json))?
                }
            });
        }
        self.write(&Content::Call(CallLine {
            engine: engine.0,
            mono_us: now.monotonic.as_us(),
            wall_us: now.wall.as_us(),
            input: &input,
            draws,
            effects: kept.iter().map(|json| &**json).collect(),
        }));
        Ok(())
    }

    /// Hands what lies in the buffer to the file. For whoever may be killed and wants the recording to reach far.
    pub fn flush(&mut self) {
        if let (None, Err(error)) = (&self.failed, self.out.flush()) {
            self.failed = Some(error);
        }
    }

    /// Writes the end and says what was recorded. What comes later is not recorded.
    ///
    /// # Errors
    /// The first one since the beginning; the recording is then no whole one. A second call gives none.
    pub fn finish(&mut self) -> io::Result<Totals> {
        let Totals { engines, calls, .. } = self.totals;
        self.write(&Content::End(EndLine { engines, calls }));
        self.flush();
        self.ended = true;
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.totals),
        }
    }

    fn write(&mut self, content: &Content<'_>) {
        if self.ended || self.failed.is_some() {
            return;
        }
        self.lines += 1;
        let written =
            line::write(self.lines, content, &mut self.line).map_err(io::Error::from).and_then(|()| {
                if self.line.len() > limits::RECORDING_LINE_BYTES_MAX {
                    return Err(io::Error::new(
                        io::ErrorKind::FileTooLarge,
                        "a call too large to be recorded",
                    ));
                }
                self.out.write_all(&self.line)
            });
        self.failed = written.err();
    }
}

const BUFFER_BYTES: usize = 256 * 1024;
