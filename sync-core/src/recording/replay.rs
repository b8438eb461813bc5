//! Repeats a recording with fresh engines and compares every draw and every effect.

use std::fmt;
use std::io::BufRead;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::frame::Frame;
use super::line::{self, CallLine, EndLine, EngineLine, Line, WAKE};
use super::reader::Step;
use super::{
    EffectForm, EngineHeader, EngineKind, KeyError, KeyMark, Recording, RecordingError, ReplayEntropy, Totals,
};
use crate::engine::Engine;
use crate::entropy::Purpose;
use crate::host_sync::codec::{HostCodec, ServerCodec};
use crate::host_sync::policy::SessionPolicy;
use crate::host_sync::server::{Server, ServerInput};
use crate::host_sync::session::{Session, SessionInput};
use crate::id::AccountId;
use crate::time::{Instant, Now, Timestamp};

/// What engines are made of and a recording does not hold.
pub trait Parts {
    /// A host's end.
    type HostCodec: HostCodec<Request: Frame, Reply: Frame>;
    /// The main server's end.
    type ServerCodec: ServerCodec<Request: Frame, Reply: Frame>;
    /// How sessions decide.
    type Policy: SessionPolicy;

    /// The parts of a session with these keys.
    ///
    /// # Errors
    /// When a key is missing.
    fn session(
        &mut self,
        account: AccountId,
        keys: &[KeyMark],
    ) -> Result<(Self::HostCodec, Self::Policy), KeyError>;

    /// The parts of a server with these keys.
    ///
    /// # Errors
    /// When a key is missing.
    fn server(&mut self, shard: u32, keys: &[KeyMark]) -> Result<Self::ServerCodec, KeyError>;
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// How much was replayed, a call that differs included.
    pub totals: Totals,
    /// Why the recording goes no further, when it was not ended: a sentence for people.
    pub cut_short: Option<String>,
    /// The first difference; what comes after it was not looked at.
    pub difference: Option<Box<Difference>>,
}

/// Where a replay left the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line, from 1.
    pub line: u64,
    /// The engine, from 0.
    pub engine: u32,
    /// Its name.
    pub name: String,
    /// Which call of this engine, from 1; 0 is its construction.
    pub call: u64,
    /// What differs.
    pub what: What,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The engine draws for something else than it did.
    Draw {
        /// What was drawn for, if anything.
        recorded: Option<Purpose>,
        /// What is drawn for now, if anything.
        replayed: Option<Purpose>,
    },
    /// An effect is another one.
    Effect {
        /// Which effect of the call, from 1.
        place: usize,
        /// What is recorded, if anything: JSON or its digest.
        recorded: Option<String>,
        /// What the engine does now, if anything: its JSON, after its digest where digests are recorded.
        replayed: Option<String>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, engine, name, call, what } = self;
        write!(f, "line {line}: engine {engine} (`{name}`), ")?;
        if *call == 0 {
            write!(f, "at its start: ")?
        } else {
            write!(f, "call {call}: ")?
        }
        match what {
            What::Draw { recorded, replayed } => {
                let show = |purpose: &Option<Purpose>| match purpose {
                    Some(Purpose::Incarnation) => "an incarnation",
                    Some(Purpose::Iv) => "an initialisation vector",
                    Some(Purpose::Jitter) => "jitter",
                    None => "nothing more",
                };
                write!(f, "draws differ\n  recorded: {}\n  replayed: {}", show(recorded), show(replayed))
            }
            What::Effect { place, recorded, replayed } => {
                let show = |effect: &Option<String>| effect.clone().unwrap_or_else(|| "none".to_owned());
                write!(
                    f,
                    "effect {place} differs\n  recorded: {}\n  replayed: {}",
                    show(recorded),
                    show(replayed)
                )
            }
        }
    }
}

/// An engine of the recording, come to life again.
struct Revived<P: Parts> {
    name: String,
    calls: u64,
    entropy: ReplayEntropy,
    engine: Either<P>,
}

enum Either<P: Parts> {
    Session(Box<Session<P::HostCodec, ReplayEntropy, P::Policy>>),
    Server(Box<Server<P::ServerCodec, ReplayEntropy>>),
}

impl<R: BufRead> Recording<R> {
    /// Repeats every call until the first difference or the end.
    ///
    /// # Errors
    /// When the recording is damaged or a key is missing. A last line without an end is no damage: the process
    /// that wrote it was killed.
    pub fn replay<P: Parts>(mut self, parts: &mut P) -> Result<Replayed, RecordingError> {
        let mut engines: Vec<Revived<P>> = Vec::new();
        let mut totals = Totals::default();
        loop {
            let step = self.step()?;
            if step != Step::Line {
                let line = self.line();
                let why = match step {
                    Step::CutShort => format!("line {line} is cut short"),
                    _ => format!("it ends after line {} without an end", line - 1),
                };
                let cut_short = Some(format!("{why}: the process that wrote it was killed"));
                return Ok(Replayed { totals, cut_short, difference: None });
            }
            let buffer = std::mem::take(&mut self.buffer);
            let difference = match self.parse(&buffer)? {
                Line { engine: Some(engine), .. } => {
                    totals.engines += 1;
                    self.revive(engine, parts, &mut engines)?
                }
                Line { call: Some(call), .. } => self.call(&call, &mut engines, &mut totals)?,
                Line { end: Some(end), .. } => {
                    self.ended(end, &totals)?;
                    return Ok(Replayed { totals, cut_short: None, difference: None });
                }
                _ => return Err(self.damaged(&"a second header")),
            };
            if let Some(difference) = difference {
                return Ok(Replayed { totals, cut_short: None, difference: Some(Box::new(difference)) });
            }
            self.buffer = buffer;
        }
    }

    fn ended(&mut self, end: EndLine, totals: &Totals) -> Result<(), RecordingError> {
        if (end.engines, end.calls) != (totals.engines, totals.calls) {
            let EndLine { engines, calls } = end;
            return Err(self.damaged(&format_args!(
                "it counts {engines} engines and {calls} calls, but {} and {} came before",
                totals.engines, totals.calls
            )));
        }
        match self.step()? {
            Step::End => Ok(()),
            Step::Line | Step::CutShort => Err(self.damaged(&"it comes after the end")),
        }
    }

    fn revive<P: Parts>(
        &self,
        EngineLine { made_of, draws }: EngineLine,
        parts: &mut P,
        engines: &mut Vec<Revived<P>>,
    ) -> Result<Option<Difference>, RecordingError> {
        let EngineHeader { name, kind, keys } = made_of;
        if let Some(setting) = kind.out_of_range() {
            return Err(self.damaged(&format_args!("`{setting}` is larger than any configuration allows")));
        }
        let no_key = |error| RecordingError::Key { line: self.line(), name: name.clone(), error };
        let entropy = ReplayEntropy::default();
        entropy.load(draws);
        let engine = match kind {
            EngineKind::Session { account, settings } => {
                let (codec, policy) = parts.session(account, &keys).map_err(no_key)?;
                let session = Session::new(account, Arc::new(settings), codec, entropy.clone(), policy);
                Either::Session(Box::new(session))
            }
            EngineKind::Server { shard, settings } => {
                let codec = parts.server(shard, &keys).map_err(no_key)?;
                Either::Server(Box::new(Server::new(Arc::new(settings), codec, entropy.clone())))
            }
        };
        let place = engines.len() as u32;
        engines.push(Revived { name, calls: 0, entropy, engine });
        Ok(engines.last().and_then(|engine| engine.differing_draw(self.line(), place)))
    }

    fn call<P: Parts>(
        &self,
        call: &CallLine<'_>,
        engines: &mut [Revived<P>],
        totals: &mut Totals,
    ) -> Result<Option<Difference>, RecordingError> {
        let Some(revived) = engines.get_mut(call.engine as usize) else {
            return Err(self.damaged(&format_args!("there is no engine {}", call.engine)));
        };
        revived.calls += 1;
        revived.entropy.load(call.draws.clone());
        let now = Now { monotonic: Instant::from_us(call.mono_us), wall: Timestamp::from_us(call.wall_us) };
        let input = call.input.get();
        let form = self.header().effects;
        let (effects, differing) = match &mut revived.engine {
            Either::Session(session) => {
                let input = if input == WAKE { None } else { Some(self.input(input)?) };
                totals.operations += u64::from(matches!(input, Some(SessionInput::Ask(_))));
                repeat(&mut **session, now, input, &call.effects, form)
            }
            Either::Server(server) => {
                let input = if input == WAKE { None } else { Some(self.input(input)?) };
                totals.requests += u64::from(matches!(input, Some(ServerInput::Request { .. })));
                repeat(&mut **server, now, input, &call.effects, form)
            }
        }
        .map_err(|error| self.damaged(&error))?;
        totals.calls += 1;
        totals.effects += effects;
        let draw = revived.differing_draw(self.line(), call.engine);
        Ok(draw.or_else(|| differing.map(|what| revived.differs(self.line(), call.engine, what))))
    }

    fn input<I: for<'de> serde::Deserialize<'de>>(&self, json: &str) -> Result<I, RecordingError> {
        serde_json::from_str(json).map_err(|error| self.damaged(&format_args!("no such input: {error}")))
    }
}

impl<P: Parts> Revived<P> {
    fn differs(&self, line: u64, engine: u32, what: What) -> Difference {
        Difference { line, engine, name: self.name.clone(), call: self.calls, what }
    }

    fn differing_draw(&self, line: u64, engine: u32) -> Option<Difference> {
        let mismatch = self.entropy.verdict()?;
        let what = What::Draw { recorded: mismatch.recorded, replayed: mismatch.drawn };
        Some(self.differs(line, engine, what))
    }
}

/// Makes a call and says how many effects it had and which one differs, if one does.
fn repeat<N: Engine<Effect: Serialize>>(
    engine: &mut N,
    now: Now,
    input: Option<N::Input>,
    recorded: &[&RawValue],
    form: EffectForm,
) -> serde_json::Result<(u64, Option<What>)> {
    let mut effects = Vec::new();
    match input {
        Some(input) => engine.handle(now, input, &mut effects),
        None => engine.wake(now, &mut effects),
    }
    for place in 0..effects.len().max(recorded.len()) {
        let json = effects.get(place).map(serde_json::to_string).transpose()?;
        let kept = json.as_ref().map(|json| match form {
            EffectForm::Full => json.clone(),
            EffectForm::Digest => format!("\"{}\"", line::digest(json.as_bytes())),
        });
        let recorded = recorded.get(place).map(|json| json.get());
        if kept.as_deref() != recorded {
            return Ok((effects.len() as u64, Some(differing(place, form, recorded, kept, json))));
        }
    }
    Ok((effects.len() as u64, None))
}

fn differing(
    place: usize,
    form: EffectForm,
    recorded: Option<&str>,
    kept: Option<String>,
    json: Option<String>,
) -> What {
    let same = match (recorded, &kept) {
        (Some(recorded), Some(kept)) if form == EffectForm::Full => {
            recorded.bytes().zip(kept.bytes()).take_while(|(a, b)| a == b).count()
        }
        _ => 0,
    };
    let replayed = match (form, kept, json) {
        (EffectForm::Digest, Some(digest), Some(json)) => Some(format!("{digest} of {}", excerpt(&json, 0))),
        (_, kept, _) => kept.map(|kept| excerpt(&kept, same)),
    };
    What::Effect { place: place + 1, recorded: recorded.map(|json| excerpt(json, same)), replayed }
}

/// So much of a text as helps, around a place in it.
fn excerpt(text: &str, place: usize) -> String {
    let from = text.floor_char_boundary(place.saturating_sub(EXCERPT_BYTES / 2).min(text.len()));
    let to = text.floor_char_boundary((from + EXCERPT_BYTES).min(text.len()));
    let left_out = |out: bool| if out { "..." } else { "" };
    format!("{}{}{}", left_out(from > 0), &text[from..to], left_out(to < text.len()))
}

const EXCERPT_BYTES: usize = 600;
