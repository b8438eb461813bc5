//! One line of a recording, and what guards it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{Draw, EngineHeader, Header};

/// A line as it is read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    /// Checked as bytes before.
    #[serde(rename = "sum")]
    _sum: Option<String>,
    pub(super) n: u64,
    #[serde(default, borrow, deserialize_with = "present")]
    pub(super) header: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) engine: Option<EngineLine>,
    #[serde(default, borrow)]
    pub(super) call: Option<CallLine<'a>>,
    #[serde(default)]
    pub(super) end: Option<EndLine>,
}

/// The header is read on its own, so that another version's can be told from damage.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize)]
pub(super) struct FormatOnly {
    pub(super) format: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EngineLine {
    pub(super) made_of: EngineHeader,
    pub(super) draws: Vec<Draw>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallLine<'a> {
    pub(super) engine: u32,
    pub(super) mono_us: u64,
    pub(super) wall_us: u64,
    #[serde(borrow)]
    pub(super) input: &'a RawValue,
    pub(super) draws: Vec<Draw>,
    #[serde(borrow)]
    pub(super) effects: Vec<&'a RawValue>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine {
    pub(super) engines: u64,
    pub(super) calls: u64,
}

/// A line as it is written, but for its sum.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content<'a> {
    Header(&'a Header),
    Engine(EngineRef<'a>),
    Call(CallLine<'a>),
    End(EndLine),
}

#[derive(Serialize)]
pub(super) struct EngineRef<'a> {
    pub(super) made_of: &'a EngineHeader,
    pub(super) draws: Vec<Draw>,
}

/// What stands for a call without an input.
pub(super) const WAKE: &str = "\"wake\"";

/// 128 bits of SHA-256 over an effect's JSON, as 32 hex digits.
pub fn digest(json: &[u8]) -> String {
    let hash = Sha256::digest(json);
    hash[..16].iter().fold(String::with_capacity(32), |mut text, byte| {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 0xf)]));
        text
    })
}

const HEX: &[u8; 16] = b"0123456789abcdef";

const SUM_BEGINS: &[u8] = b"{\"sum\":\"";
const SUM_ENDS: &[u8] = b"\",";
const SUM_DIGITS: usize = 16;
/// Where the rest of a line begins that the sum is over.
const REST: usize = SUM_BEGINS.len() + SUM_DIGITS + SUM_ENDS.len();

/// FNV-1a of 64 bits (Fowler, Noll and Vo): catches what happens to files by accident, not forgery.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Whether the line's sum fits; a line without one is taken as it stands.
pub(super) fn sum_fits(line: &[u8]) -> bool {
    let Some(after) = line.strip_prefix(SUM_BEGINS) else { return true };
    let Some((digits, rest)) = after.split_at_checked(SUM_DIGITS) else { return false };
    rest.strip_prefix(SUM_ENDS).is_some_and(|rest| digits == format!("{:016x}", sum(rest)).as_bytes())
}

/// Replaces the buffer by the line of this content, newline included.
pub(super) fn write(n: u64, content: &Content<'_>, line: &mut Vec<u8>) -> serde_json::Result<()> {
    line.clear();
    line.extend_from_slice(SUM_BEGINS);
    line.resize(line.len() + SUM_DIGITS, b'0');
    line.extend_from_slice(SUM_ENDS);
    line.extend_from_slice(format!("\"n\":{n},").as_bytes());
    let brace = line.len();
    serde_json::to_writer(&mut *line, content)?;
    // `{"call":..}` loses its brace: its field goes on in the line's own object.
    line.remove(brace);
    let digits = format!("{:016x}", sum(&line[REST..]));
    line[SUM_BEGINS.len()..SUM_BEGINS.len() + SUM_DIGITS].copy_from_slice(digits.as_bytes());
    line.push(b'\n');
    Ok(())
}
