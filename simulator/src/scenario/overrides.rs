//! `--set path=value`: one setting put into a scenario's tree before it is read.

use super::tree::{self, Fault, Key, Node, Place, Value};

/// Puts the settings into the tree, in order.
pub(super) fn apply(root: &mut Node, sets: &[String]) -> Result<(), Fault> {
    sets.iter().enumerate().try_for_each(|(index, set)| apply_one(root, index + 1, set))
}

/// One part of a path, with its place in the setting.
enum Step {
    Name(Key),
    Index(usize, Place),
}

fn apply_one(root: &mut Node, source: usize, set: &str) -> Result<(), Fault> {
    let whole = Place { source, line: 1, column: 1, width: set.chars().count() };
    let Some((path, value)) = set.split_once('=') else {
        return Err(Fault::at(whole, "a setting needs a path and a value", SET_HELP));
    };
    let value = tree::parse_value(value, source, path.chars().count() + 1)?;
    let mut node = root;
    for step in steps(path, source)? {
        node = descend(node, step)?;
    }
    *node = value;
    Ok(())
}

fn steps(path: &str, source: usize) -> Result<Vec<Step>, Fault> {
    let mut steps = Vec::new();
    let mut column = 1;
    for part in path.split('.') {
        let (name, indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
        let place =
            |column, text: &str| Place { source, line: 1, column, width: text.chars().count().max(1) };
        if name.is_empty() {
            return Err(Fault::at(place(column, part), "a name is missing in the path", SET_HELP));
        }
        if steps.len() >= STEPS_MAX {
            return Err(Fault::at(place(column, part), "the path is too long", SET_HELP));
        }
        steps.push(Step::Name(Key { text: name.to_owned(), place: place(column, name) }));
        let mut at = column + name.chars().count();
        for index in indexes.split_inclusive(']') {
            let number =
                index.strip_prefix('[').and_then(|i| i.strip_suffix(']')).and_then(|i| i.parse().ok());
            let Some(number) = number else {
                let help = "an index is a number in brackets, as in `faults[0].at`";
                return Err(Fault::at(place(at, index), format!("`{index}` is not an index"), help));
            };
            steps.push(Step::Index(number, place(at, index)));
            at += index.chars().count();
        }
        column += part.chars().count() + 1;
    }
    Ok(steps)
}

/// The value one step below; maps are created, lists are not.
fn descend(node: &mut Node, step: Step) -> Result<&mut Node, Fault> {
    match step {
        Step::Name(key) => {
            if !matches!(node.value, Value::Map(_)) {
                *node = Node { place: key.place, value: Value::Map(Vec::new()) };
            }
            let Value::Map(entries) = &mut node.value else {
                return Err(Fault::at(key.place, "this is not a map", SET_HELP));
            };
            // The key moves to the end and takes the setting's place: what is set last counts.
            let value = match entries.iter().position(|(k, _)| k.text == key.text) {
                Some(found) => entries.remove(found).1,
                None => Node::nothing(key.place),
            };
            entries.push((key, value));
            let last = entries.len() - 1;
            Ok(&mut entries[last].1)
        }
        Step::Index(index, place) => match &mut node.value {
            Value::List(items) => {
                let length = items.len();
                items.get_mut(index).ok_or_else(|| {
                    let help = match length {
                        0 => "the list is empty: set the whole list, as in `faults=[...]`".to_owned(),
                        1 => "the list has one item: `[0]`".to_owned(),
                        _ => format!("the list has {length} items: `[0]` to `[{}]`", length - 1),
                    };
                    Fault::at(place, format!("there is no item {index}"), help)
                })
            }
            _ => {
                let help = "only lists have items: `workload`, `faults`, `mix` and the like";
                Err(Fault::at(place, "this is not a list", help))
            }
        },
    }
}

const SET_HELP: &str = "write it like `--set network.to_server.loss=5%` or `--set faults[0].at=3s`";
const STEPS_MAX: usize = 16;
