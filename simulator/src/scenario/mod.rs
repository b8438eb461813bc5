//! Scenario files: what they say (`model`), how they are read, and what is said about a mistake in one.
//!
//! [`Scenario::parse`] takes any bytes and gives a scenario that holds every rule of the format, or
//! diagnostics with line, column and remedy; it never panics. The text is parsed into a tree that knows its
//! places (`tree`), `--set` arguments are put into the tree (`overrides`), serde turns it into the types
//! (`decode`), and `validate` checks what types cannot say.

mod decode;
mod factor;
mod failure;
mod init;
pub mod model;
mod number;
mod overrides;
mod schema;
mod syntax;
mod trace;
mod tree;
pub mod units;
pub(crate) mod validate;

pub use factor::Factor;
pub use init::{TEMPLATES, template};
pub use model::*;
pub use schema::schema_json;
pub use trace::TracedAsk;
pub(crate) use validate::MIX_BYTES;
pub use validate::known_properties;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sync_core::diagnostic::{Diagnostic, Severity};

use crate::own_resolvers::OwnResolvers;
use tree::Sources;

impl Scenario {
    /// Reads a scenario file; `file_name` appears in the diagnostics.
    pub fn parse(file_name: &str, bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        Self::parse_with(file_name, bytes, &[])
    }

    /// Reads a scenario file and puts `path=value` settings into it, as `--set` gives them:
    /// `network.to_server.loss=5%`, `faults[0].at=3s`. Maps that a path needs are created; diagnostics
    /// about a setting point into it, with the file name `--set`.
    pub fn parse_with(file_name: &str, bytes: &[u8], sets: &[String]) -> Result<Self, Vec<Diagnostic>> {
        let mut nothing = |_: &str| -> std::io::Result<Vec<u8>> {
            Err(std::io::Error::other("a trace is read only where the scenario is a file"))
        };
        Self::parse_in(file_name, bytes, sets, &mut nothing)
    }

    /// The same where `read` gives the files that a scenario names, by their path from its folder.
    pub fn parse_in(
        file_name: &str,
        bytes: &[u8],
        sets: &[String],
        read: &mut dyn FnMut(&str) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, Vec<Diagnostic>> {
        Self::parse_for(&OwnResolvers::default(), file_name, bytes, sets, read)
    }

    /// The same for a program that has these resolvers; other names of resolvers are refused.
    pub fn parse_for(
        own: &OwnResolvers,
        file_name: &str,
        bytes: &[u8],
        sets: &[String],
        read: &mut dyn FnMut(&str) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let text = text_of(file_name, bytes)?;
        let sources = Sources { file_name, text, sets };
        let one = |fault| vec![sources.diagnostic(fault)];
        let mut root = tree::parse(text).map_err(one)?;
        overrides::apply(&mut root, sets).map_err(one)?;
        let mut scenario: Self = decode::decode(&root).map_err(one)?;
        let faults = validate::validate(&scenario, &root, own);
        if !faults.is_empty() {
            return Err(faults.into_iter().map(|fault| sources.diagnostic(fault)).collect());
        }
        let mut traces = std::mem::take(&mut scenario.traces);
        let mut wrong = Vec::new();
        for (index, trace) in traces.iter_mut().enumerate() {
            let found = read(&trace.file).map_err(|error| {
                let place = root.locate(&format!("traces[{index}].file"));
                let message = format!("cannot read `{}`: {error}", trace.file.escape_debug());
                let help = "check the path; it counts from the folder of this file";
                vec![sources.diagnostic(tree::Fault::at(place, message, help))]
            });
            match found.and_then(|bytes| trace::read(&trace.file, &bytes, &scenario)) {
                Ok(operations) => trace.operations = operations,
                Err(found) => wrong.extend(found),
            }
        }
        scenario.traces = traces;
        if wrong.is_empty() { Ok(scenario) } else { Err(wrong) }
    }

    /// The canonical text: every field with its value, and [`Scenario::parse`] gives the same scenario.
    pub fn to_yaml(&self) -> String {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(self, options)
            .expect("memory takes any text, and the model holds nothing that YAML cannot")
    }
}

/// The bytes as text, when they can be a scenario at all.
fn text_of<'a>(file_name: &str, bytes: &'a [u8]) -> Result<&'a str, Vec<Diagnostic>> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than a scenario can be: {FILE_BYTES_MAX} bytes");
        return Err(vec![Diagnostic::file_error(file_name, message, "is this the right file?")]);
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let message = format!("byte 0x{:02x} is not UTF-8 text", bytes[error.valid_up_to()]);
        vec![
            Diagnostic::at(
                Severity::Error,
                file_name,
                &String::from_utf8_lossy(bytes),
                line,
                column,
                1,
                message,
            )
            .with_help("save the file with the encoding UTF-8"),
        ]
    })
}

/// Largest scenario file.
pub(crate) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What a file holds, up to one byte more than it may: enough to see that it is too large, however large it is.
pub(crate) fn read_bounded(path: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same for a file that a scenario names.
pub(crate) fn read_named(folder: &Path, file: &str) -> std::io::Result<Vec<u8>> {
    read_bounded(&folder.join(file), trace::FILE_BYTES_MAX)
}
