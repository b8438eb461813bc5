//! A scenario's text as a tree in which every key and value knows its place.
//!
//! Built from the parser of serde-saphyr (its event API), within bounds: size, nesting, number of values
//! after aliases are expanded. Nothing here knows the format; `decode` turns the tree into the types, and
//! `validate` asks it where a value stands.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, StructureStyle};
use sync_core::diagnostic::{Diagnostic, Severity};

use super::syntax;

/// Where something stands: in the file, or in one of the `--set` arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// 0 for the file, `n` for the n-th `--set`.
    pub(super) source: usize,
    /// Line, from 1.
    pub(super) line: usize,
    /// Column, from 1, in characters.
    pub(super) column: usize,
    /// Characters to underline.
    pub(super) width: usize,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A text; `plain` when written without quotes, so that it may also be a number or nothing.
    Scalar { text: String, plain: bool },
    /// Values in order.
    List(Vec<Node>),
    /// Keys and values in order, without duplicates.
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

/// What is wrong and where, before the text is put to it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Unknown as long as the fault travels up; the file as a whole when it stays so.
    pub(super) place: Option<Place>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// The texts that places refer to.
pub(super) struct Sources<'a> {
    pub(super) file_name: &'a str,
    pub(super) text: &'a str,
    pub(super) sets: &'a [String],
}

impl Node {
    /// A value that is not there.
    pub(super) fn nothing(place: Place) -> Self {
        Self { place, value: Value::Scalar { text: String::new(), plain: true } }
    }

    /// Whether this is YAML's null.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Where the value at a path such as `workload[0].until` stands, or the nearest thing above it.
    pub(super) fn locate(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = self.place;
        for step in path.split(['.', '[']) {
            let child = match (&node.value, step.strip_suffix(']')) {
                (Value::List(items), Some(index)) => index
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|item| (item.place, item)),
                (Value::Map(entries), None) => entries
                    .iter()
                    .rev()
                    .find(|(key, _)| key.text == step)
                    .map(|(key, value)| (if value.is_block() { key.place } else { value.place }, value)),
                _ => None,
            };
            let Some((at, value)) = child else { return place };
            (place, node) = (at, value);
        }
        place
    }

    /// Whether the value begins on a line below its key.
    fn is_block(&self) -> bool {
        match &self.value {
            Value::Scalar { .. } => false,
            Value::List(items) => items.first().is_some_and(|item| item.place.line >= self.place.line),
            Value::Map(entries) => entries.first().is_some_and(|(key, _)| key.place == self.place),
        }
    }
}

impl Fault {
    /// A fault at a place.
    pub(super) fn at(place: Place, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place: Some(place), message: message.into(), help: Some(help.into()) }
    }

    /// The same at this place unless it has one.
    pub(super) fn or_at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }
}

impl Sources<'_> {
    /// The fault as a person sees it.
    pub(super) fn diagnostic(&self, fault: Fault) -> Diagnostic {
        let Fault { place, message, help } = fault;
        let mut diagnostic = match place {
            None => Diagnostic::file_error(self.file_name, message, String::new()),
            Some(place) => {
                let (file, text) = match place.source.checked_sub(1).and_then(|n| self.sets.get(n)) {
                    Some(set) => ("--set", set.as_str()),
                    None => (self.file_name, self.text),
                };
                let place = clamp(place, text);
                Diagnostic::at(Severity::Error, file, text, place.line, place.column, place.width, message)
            }
        };
        diagnostic.help = help;
        diagnostic
    }
}

/// The place moved inside the text: the parser may point behind the last line.
fn clamp(mut place: Place, text: &str) -> Place {
    let lines = text.lines().count().max(1);
    let length = |line: usize| text.lines().nth(line - 1).map_or(0, |l| l.trim_end().chars().count());
    if place.line > lines || place.line == 0 {
        place.line = lines;
        while place.line > 1 && length(place.line) == 0 {
            place.line -= 1;
        }
        (place.column, place.width) = (length(place.line).max(1), 1);
    }
    place.column = place.column.clamp(1, length(place.line).max(1));
    place.width =
        place.width.clamp(1, (length(place.line) + 1 - place.column.min(length(place.line))).max(1));
    place
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    read(text, 0, 0)
}

/// Reads the value of the `source`-th `--set`, which stands after `offset` characters.
pub(super) fn parse_value(text: &str, source: usize, offset: usize) -> Result<Node, Fault> {
    let place = Place { source, line: 1, column: offset + 1, width: text.chars().count() };
    if text.trim().is_empty() {
        return Ok(Node::nothing(place));
    }
    read(text, source, offset)
}

fn read(text: &str, source: usize, offset: usize) -> Result<Node, Fault> {
    let mut options = granit_parser::options! {
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    options.set_emit_comments(false);
    let mut builder = Builder { source, offset, ..Builder::default() };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| {
            let mark = error.marker();
            let place = builder.place_of(mark.line(), mark.col(), 1);
            let flow = builder.open.iter().rev().find(|frame| frame.flow).map(|frame| frame.place);
            syntax::explain(error.kind(), &error.info(), place, flow, text)
        })?;
        builder.event(event, span)?;
    }
    builder.root.ok_or_else(|| Fault {
        place: None,
        message: "the file is empty".into(),
        help: Some("`p2psim init host` writes a scenario to start from".into()),
    })
}

/// The tree under construction.
#[derive(Default)]
struct Builder {
    source: usize,
    offset: usize,
    open: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
    anchors: BTreeMap<usize, Anchored>,
    cost: usize,
}

/// A collection whose end has not come yet.
struct Frame {
    place: Place,
    /// In `[...]` or `{...}`.
    flow: bool,
    anchor: usize,
    cost: usize,
    depth: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key>, lines: BTreeMap<String, usize> },
}

/// A finished value that aliases may refer to.
struct Anchored {
    node: Node,
    cost: usize,
    depth: usize,
}

impl Builder {
    fn place_of(&self, line: usize, col: usize, width: usize) -> Place {
        let offset = if line == 1 { self.offset } else { 0 };
        Place { source: self.source, line, column: col + 1 + offset, width: width.max(1) }
    }

    fn place(&self, span: &Span) -> Place {
        let width = if span.start.line() == span.end.line() { span.len() } else { usize::MAX };
        self.place_of(span.start.line(), span.start.col(), width)
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let place = self.place(&span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let help = "one scenario to a file: remove the line `---` or what follows it";
                    return Err(Fault::at(place, "a second document begins here", help));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), place)?;
                let plain = style == ScalarStyle::Plain;
                let cost = 1 + text.len() / TEXT_BYTES_PER_COST;
                let node = Node { place, value: Value::Scalar { text: text.into_owned(), plain } };
                self.value(Anchored { node, cost, depth: 0 }, anchor)
            }
            Event::SequenceStart(style, anchor, tag) => {
                refuse_tag(tag.is_some(), place)?;
                self.begin(place, style, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                refuse_tag(tag.is_some(), place)?;
                let content = Content::Map { entries: Vec::new(), key: None, lines: BTreeMap::new() };
                self.begin(place, style, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&span),
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(target) => {
                    let Anchored { node, cost, depth } = target;
                    charge(&mut self.cost, *cost, place)?;
                    let copy = Anchored { node: node.clone(), cost: *cost, depth: *depth };
                    self.attach(copy, 0)
                }
                None => Err(Fault::at(
                    place,
                    "this alias stands inside what it refers to",
                    "write the value out instead of using `*`",
                )),
            },
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        place: Place,
        style: StructureStyle,
        anchor: usize,
        content: Content,
    ) -> Result<(), Fault> {
        if let Some(Frame { content: Content::Map { key: None, .. }, .. }) = self.open.last() {
            let help = "a key is one word before a colon; put quotes around text with brackets";
            return Err(Fault::at(place, "a list or a map cannot be a key", help));
        }
        charge(&mut self.cost, 1, place)?;
        self.open.push(Frame {
            place,
            flow: style == StructureStyle::Flow,
            anchor,
            cost: 1,
            depth: 1,
            content,
        });
        Ok(())
    }

    fn end(&mut self, span: &Span) -> Result<(), Fault> {
        let Some(frame) = self.open.pop() else { return Ok(()) };
        let Frame { mut place, flow, anchor, cost, depth, content } = frame;
        let end = self.place_of(span.end.line(), span.end.col(), 1);
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        // A block's place is its first key or dash; `[...]` and `{...}` on one line are wholly underlined.
        match &value {
            Value::Map(entries) if !flow && !entries.is_empty() => place = entries[0].0.place,
            _ if flow && end.line == place.line && end.column > place.column => {
                place.width = end.column - place.column;
            }
            _ => place.width = 1,
        }
        self.attach(Anchored { node: Node { place, value }, cost, depth }, anchor)
    }

    fn value(&mut self, value: Anchored, anchor: usize) -> Result<(), Fault> {
        charge(&mut self.cost, value.cost, value.node.place)?;
        self.attach(value, anchor)
    }

    /// Puts a finished value where it belongs.
    fn attach(&mut self, value: Anchored, anchor: usize) -> Result<(), Fault> {
        let place = value.node.place;
        if anchor != 0 {
            charge(&mut self.cost, value.cost, place)?;
            let Anchored { node, cost, depth } = &value;
            self.anchors.insert(anchor, Anchored { node: node.clone(), cost: *cost, depth: *depth });
        }
        let level = self.open.len();
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(value.node);
            return Ok(());
        };
        if level + value.depth > DEPTH_MAX {
            let help = "a scenario needs fewer than ten levels";
            return Err(Fault::at(place, "values are nested too deeply", help));
        }
        frame.cost += value.cost;
        frame.depth = frame.depth.max(value.depth + 1);
        match &mut frame.content {
            Content::List(items) => items.push(value.node),
            Content::Map { entries, key, lines } => match key.take() {
                None => *key = Some(new_key(value.node, lines)?),
                Some(key) => {
                    let mut node = value.node;
                    if node.is_nothing() {
                        node.place = key.place;
                    }
                    entries.push((key, node));
                }
            },
        }
        Ok(())
    }
}

fn new_key(node: Node, lines: &mut BTreeMap<String, usize>) -> Result<Key, Fault> {
    let place = node.place;
    let Value::Scalar { text, .. } = node.value else {
        return Err(Fault::at(place, "a list or a map cannot be a key", "write the key as plain text"));
    };
    if let Some(first) = lines.insert(text.clone(), place.line) {
        let help = format!("it stands on line {first} already: remove one of the two");
        return Err(Fault::at(place, format!("`{text}` is given twice"), help));
    }
    Ok(Key { text, place })
}

fn refuse_tag(tagged: bool, place: Place) -> Result<(), Fault> {
    if !tagged {
        return Ok(());
    }
    let help = "remove the word that begins with `!`; to make something text, put quotes around it";
    Err(Fault::at(place, "this value has a YAML tag, and scenarios use none", help))
}

fn charge(cost: &mut usize, more: usize, place: Place) -> Result<(), Fault> {
    *cost += more;
    if *cost <= COST_MAX {
        return Ok(());
    }
    let help = "use fewer aliases and shorter lists; `hosts: {first: n}` stands for a list of hosts";
    Err(Fault::at(place, "too many values", help))
}

/// Levels of nesting, aliases expanded: bounds every recursion over the tree.
const DEPTH_MAX: usize = 32;
/// Values in one tree, aliases expanded.
const COST_MAX: usize = 400_000;
/// Long texts count as several values.
const TEXT_BYTES_PER_COST: usize = 64;
