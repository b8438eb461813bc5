//! YAML's syntax errors in plain words.

use serde_saphyr::granit_parser::ErrorKind;

use super::tree::{Fault, Place};

/// The parser's complaint with a remedy, moved to the line at fault where the parser notices it late.
///
/// `flow` is the innermost bracket open there.
pub(super) fn explain(
    kind: &ErrorKind,
    info: &str,
    mut place: Place,
    flow: Option<Place>,
    text: &str,
) -> Fault {
    let tab_at_fault = matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
    );
    let below = Place { line: place.line + 2, ..place };
    let tab =
        tab_in_indentation(place, text).or_else(|| tab_in_indentation(below, text).filter(|_| tab_at_fault));
    if let Some(tab) = tab {
        return Fault::at(
            tab,
            "a tab is used as indentation",
            "indent with spaces, two to a level; most editors can replace tabs by spaces",
        );
    }
    if let Some(open) = flow.filter(|open| open.line < place.line) {
        let open = Place { width: 1, ..open };
        let (bracket, closing) = if char_at(open, text) == Some('[') { ('[', ']') } else { ('{', '}') };
        let message = format!("`{bracket}` is not closed before line {}, or a comma is missing", place.line);
        return Fault::at(open, message, format!("add `{closing}`, or the comma"));
    }
    let (message, help) = match kind {
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            let before: String = line_of(text, place.line).chars().take(place.column - 1).collect();
            if before.contains(": ") {
                let help = "put quotes around text that holds a colon and a space";
                return Fault::at(place, "a second `: ` on this line", help);
            }
            let key = before.trim_start_matches([' ', '-']);
            let column = before.chars().count() - key.chars().count() + 1;
            return Fault::at(
                Place { column, width: key.chars().count().max(1), ..place },
                "a key cannot stand here: the line above has a value already, or this one is indented too far",
                "keys of one map begin in the same column",
            );
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            let rest = line_of(text, place.line).trim_end().chars().count() + 1;
            let place = Place { width: rest.saturating_sub(place.column).max(1), ..place };
            return Fault::at(place, "this line is no `key: value`", "put a colon and a space after the key");
        }
        ErrorKind::ExpectedBlockMappingKey if line_of(text, place.line).trim_start().starts_with("- ") => {
            let line = line_of(text, place.line);
            let column = line.chars().take_while(|c| *c == ' ').count() + 1;
            return Fault::at(
                Place { column, width: 1, ..place },
                "a list item stands among `key: value` lines",
                "put it below the key of its list, or remove the `-`",
            );
        }
        ErrorKind::ExpectedBlockSequenceEntry => (
            "this line is no item of the list above",
            "begin it with `- `, or indent it like the key it belongs with",
        ),
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::InvalidIndentation
        | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::InvalidBlockScalarIndent => (
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
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::DocumentIndicatorInQuotedScalar => {
            place = open_quote(place, text).unwrap_or(place);
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

fn line_of(text: &str, line: usize) -> &str {
    text.lines().nth(line.saturating_sub(1)).unwrap_or("")
}

fn char_at(place: Place, text: &str) -> Option<char> {
    line_of(text, place.line).chars().nth(place.column.saturating_sub(1))
}

/// The quotation mark nearest above that its line does not close.
fn open_quote(place: Place, text: &str) -> Option<Place> {
    (1..=place.line).rev().take(LINES_SEARCHED_MAX).find_map(|line| {
        let content: Vec<char> = line_of(text, line).chars().take(COLUMNS_SEARCHED_MAX).collect();
        let begins = |at: usize| at == 0 || matches!(content[at - 1], ' ' | '[' | '{' | ',');
        let open = (0..content.len()).find(|&at| {
            matches!(content[at], '"' | '\'')
                && begins(at)
                && content[at + 1..].iter().filter(|c| **c == content[at]).count() % 2 == 0
        })?;
        Some(Place { line, column: open + 1, width: 1, ..place })
    })
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

/// How far above the place an open quotation mark is looked for.
const LINES_SEARCHED_MAX: usize = 100;
/// How far into each of these lines.
const COLUMNS_SEARCHED_MAX: usize = 400;
