//! YAML's syntax errors in plain words.

use serde_saphyr::granit_parser::ErrorKind;

use super::tree::{Fault, Place};

/// The parser's complaint with a remedy, moved to the line at fault where the parser notices it late.
pub(super) fn explain(kind: &ErrorKind, info: &str, place: Place, text: &str) -> Fault {
    if let Some(tab) = tab_in_indentation(place, text) {
        return Fault::at(
            tab,
            "a tab is used as indentation",
            "indent with spaces, two to a level; most editors can replace tabs by spaces",
        );
    }
    let (message, help) = match kind {
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => (
            "a `key: value` cannot stand here",
            "check that this line is indented like its neighbours, and put quotes around text that holds `: `",
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            ("this line is no `key: value`", "put a colon and a space after the key")
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::InvalidIndentation
        | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::ExpectedBlockSequenceEntry => (
            "the indentation of this line fits no line above",
            "keys of one map begin in the same column, and so do the `-` of one list",
        ),
        ErrorKind::BlockSequenceEntryNotAllowed | ErrorKind::BlockEntryInFlowCollection => {
            ("a list item cannot stand here", "put `- ` on a line of its own, below the key of the list")
        }
        ErrorKind::UnclosedFlowCollection { open } => {
            let message = format!("`{open}` is never closed");
            return Fault::at(place, message, format!("add `{}`", if *open == '[' { ']' } else { '}' }));
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return Fault::at(place, format!("`{open}` is closed by `{close}`"), "use the matching bracket");
        }
        ErrorKind::MisplacedFlowCollectionEnd => {
            ("this bracket closes nothing", "remove it, or add the opening one")
        }
        ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::FlowMappingValueAdjacentCollection => {
            ("a comma or a closing bracket is missing", "separate with `, ` and close what was opened")
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            ("this quotation mark is never closed", "add the closing one at the end of the text")
        }
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            ("something follows the closing quotation mark", "put the whole value inside the quotes")
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            ("no such escape after `\\`", "write `\\\\` for a backslash, or use single quotes")
        }
        ErrorKind::UnknownAnchor => {
            ("this alias refers to nothing above", "put quotes around text that begins with `*`")
        }
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => ("a tab cannot stand here", "use spaces instead"),
        ErrorKind::UnexpectedCharacter { character } => {
            let message = format!("a value cannot begin with `{}`", character.escape_debug());
            return Fault::at(place, message, "put quotes around the value");
        }
        ErrorKind::RecursionLimitExceeded => {
            ("values are nested too deeply", "a scenario needs fewer than ten levels")
        }
        ErrorKind::CommentNotSeparated => ("a comment needs a space before `#`", "put a space there"),
        _ => {
            let message = format!("this is not valid YAML: {info}");
            return Fault::at(place, message, "compare with a starter scenario: `p2psim init host`");
        }
    };
    Fault::at(place, message, help)
}

/// A tab in the indentation of the line at fault, or of the line above it.
fn tab_in_indentation(place: Place, text: &str) -> Option<Place> {
    [place.line, place.line.saturating_sub(1)].into_iter().filter(|line| *line > 0).find_map(|line| {
        let content = text.lines().nth(line - 1)?;
        let indent = content.chars().take_while(|c| matches!(c, ' ' | '\t'));
        let column = indent.enumerate().find(|(_, c)| *c == '\t')?.0 + 1;
        Some(Place { line, column, width: 1, ..place })
    })
}
