//! Traces: operations that are written down one by one, in a file beside the scenario.
//!
//! A `.csv` file names its columns in the first line; a `.jsonl` file has one object a line. The names are those
//! of [`Line`]. Everything wrong is said with its line, up to a bound.

use std::fmt::Display;

use serde::Deserialize;
use serde_json::{Map, Value};
use sync_core::diagnostic::{Diagnostic, Severity};

use super::model::{MixEntry, MixKind, Scenario};
use super::units::{DataType, Length};
use super::validate::MIX_BYTES;

/// An operation of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedAsk {
    /// The host.
    pub host: u32,
    /// Its intended moment.
    pub at_us: u64,
    /// What it is.
    pub entry: MixEntry,
}

/// One line as it is written. `time`, `host` and `type` are required.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    time: Length,
    host: u32,
    #[serde(rename = "type")]
    data_type: DataType,
    map: Option<u32>,
    #[serde(default)]
    kind: MixKind,
    #[serde(default)]
    critical: bool,
    #[serde(default)]
    priority: bool,
    bytes: Option<u32>,
}

/// Reads a trace for this scenario; `file_name` appears in the diagnostics.
pub(super) fn read(
    file_name: &str,
    bytes: &[u8],
    scenario: &Scenario,
) -> Result<Vec<TracedAsk>, Vec<Diagnostic>> {
    let whole = |message: String, help: &str| vec![Diagnostic::file_error(file_name, message, help)];
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("a trace has at most {FILE_BYTES_MAX} bytes");
        return Err(whole(message, "split it, or take its rates into workloads"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| whole("the file is not UTF-8 text".to_owned(), "save it with the encoding UTF-8"))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let mut reader = Reader { file_name, text, scenario, asks: Vec::new(), wrong: Vec::new() };
    if file_name.ends_with(".jsonl") {
        lines.for_each(|(number, line)| reader.take(number, line, serde_json::from_str(line)));
    } else if file_name.ends_with(".csv") {
        reader.csv(lines);
    } else {
        return Err(whole("a trace is a .csv or a .jsonl file".to_owned(), "rename it"));
    }
    let Reader { mut asks, wrong, .. } = reader;
    if !wrong.is_empty() {
        return Err(wrong);
    }
    if asks.is_empty() {
        return Err(whole(
            "the trace holds no operation".to_owned(),
            "remove it from `traces`, or add lines",
        ));
    }
    asks.sort_by_key(|ask| (ask.at_us, ask.host));
    Ok(asks)
}

struct Reader<'a> {
    file_name: &'a str,
    text: &'a str,
    scenario: &'a Scenario,
    asks: Vec<TracedAsk>,
    wrong: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn csv<'t>(&mut self, mut lines: impl Iterator<Item = (usize, &'t str)>) {
        let Some((number, head)) = lines.next() else { return };
        let columns: Vec<_> = head.split(',').map(str::trim).collect();
        if let Some(unknown) = columns.iter().find(|column| !COLUMNS.contains(column)) {
            let message = format!("`{unknown}` is no column of a trace");
            return self.refuse(number, head, message, format!("the columns are {}", COLUMNS.join(", ")));
        }
        for (number, line) in lines {
            let cells: Vec<_> = line.split(',').map(str::trim).collect();
            if cells.len() != columns.len() {
                let message = format!("{} values for {} columns", cells.len(), columns.len());
                self.refuse(number, line, message, "write one for each column, empty where there is none");
                continue;
            }
            let filled = columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
            let object: Map<_, _> =
                filled.map(|(column, cell)| ((*column).to_owned(), value(column, cell))).collect();
            self.take(number, line, serde_json::from_value(Value::Object(object)));
        }
    }

    fn take(&mut self, number: usize, line: &str, read: Result<Line, serde_json::Error>) {
        if self.wrong.len() >= WRONG_MAX {
            return;
        }
        let Line { time, host, data_type, map, kind, critical, priority, bytes } = match read {
            Ok(read) => read,
            Err(error) => {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or("not as expected").to_owned();
                let help =
                    "a line has time, host and type, and may have map, kind, critical, priority and bytes";
                return self.refuse(number, line, message, help);
            }
        };
        let (topology, duration) = (&self.scenario.topology, self.scenario.duration);
        let bytes = bytes.unwrap_or(BYTES);
        let (hosts, maps) = (topology.hosts, topology.maps);
        if host >= hosts {
            let message = format!("there is no host {host}");
            self.refuse(number, line, message, format!("hosts count from 0, and there are {hosts}"));
        } else if let Some(map) = map.filter(|map| *map >= maps) {
            let message = format!("there is no map {map}");
            self.refuse(number, line, message, format!("maps count from 0, and there are {maps}"));
        } else if time >= duration {
            let message = format!("{time} is not before the end of the scenario");
            self.refuse(number, line, message, format!("its `duration` is {duration}"));
        } else if !MIX_BYTES.contains(&bytes) {
            let help = format!("write {} to {}", MIX_BYTES.start(), MIX_BYTES.end());
            self.refuse(number, line, format!("`bytes` is {bytes} here"), help);
        } else {
            let entry =
                MixEntry { data_type, kind, critical, priority, weight: 1, bytes, map, hostile: None };
            self.asks.push(TracedAsk { host, at_us: time.as_us(), entry });
        }
    }

    fn refuse(&mut self, number: usize, line: &str, message: impl Display, help: impl Into<String>) {
        let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let width = line.trim().chars().count();
        let (file, text) = (self.file_name, self.text);
        self.wrong.push(
            Diagnostic::at(Severity::Error, file, text, number, column, width, message.to_string())
                .with_help(help),
        );
    }
}

/// A cell as JSON; what is not of its column's kind stays a text, and is refused as such.
fn value(column: &str, cell: &str) -> Value {
    match column {
        "host" | "map" | "bytes" => cell.parse::<u32>().map_or_else(|_| cell.into(), Value::from),
        "critical" | "priority" => cell.parse::<bool>().map_or_else(|_| cell.into(), Value::from),
        _ => cell.into(),
    }
}

const COLUMNS: [&str; 8] = ["time", "host", "type", "map", "kind", "critical", "priority", "bytes"];
/// Bytes of the data text where none are given.
const BYTES: u32 = 96;
/// Largest trace.
pub(super) const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Mistakes that one reading reports.
const WRONG_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Plan};
    use crate::run::run;
    use crate::verdict::Verdict;

    const SCENARIO: &str = "
name: traced
about: For tests.
duration: 2s
topology: { hosts: 2, maps: 2 }
workload:
  - name: players
    arrivals: { poisson: 5/s }
    mix: [{ type: CHAT_MESSAGE }]
traces:
  - { name: recorded, file: recorded.csv }
expect: { properties: [P5, P14, P30] }
";

    fn parse(file: &str, trace: &str) -> Result<Scenario, Vec<Diagnostic>> {
        let text = SCENARIO.replace("recorded.csv", file);
        let mut read = |name: &str| {
            assert_eq!(name, file);
            Ok(trace.as_bytes().to_vec())
        };
        Scenario::parse_in("x.yaml", text.as_bytes(), &[], &mut read)
    }

    const CSV: &str = "time,host,type,map,kind,critical\n\
         1500ms,1,PLAYER_DATA,0,sync_to,true\n\
         \n\
         10ms,0,MAP_STATE,,sync_from,\n";
    const JSONL: &str = r#"{"time":"1500ms","host":1,"type":"PLAYER_DATA","map":0,"critical":true}
{"time":"10ms","host":0,"type":"MAP_STATE","kind":"sync_from"}
"#;

    #[test]
    fn both_forms_say_the_same_and_the_plan_needs_no_file() {
        let asks = |scenario: &Scenario| -> Vec<_> {
            let plan = Plan::new(scenario, 1);
            assert!(plan.world.traces.is_empty());
            assert_eq!(Plan::parse("plan.txt", plan.to_text().as_bytes()), Ok(plan.clone()));
            plan.actions
                .into_iter()
                .filter_map(|a| if let Action::Ask(ask) = a { Some(ask) } else { None })
                .collect()
        };
        let [csv, jsonl] = [parse("a.csv", CSV), parse("a.jsonl", JSONL)].map(Result::unwrap);
        let asks_csv = asks(&csv);
        assert_eq!(asks_csv, asks(&jsonl));
        let told: Vec<_> =
            asks_csv.iter().map(|ask| (ask.op.to_string(), ask.at_us, ask.entry.map)).collect();
        assert_eq!(
            told,
            [("0.1099511627776".into(), 10_000, None), ("1.1099511627776".into(), 1_500_000, Some(0))]
        );
        let summary = run(&Plan::new(&csv, 1)).summary;
        assert_eq!((summary.verdict, summary.counts.critical.completed), (Verdict::Pass, 1));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |trace: &str, line: usize, message: &str| {
            let wrong = parse("a.csv", trace).unwrap_err();
            assert_eq!((wrong[0].file.as_str(), wrong[0].line), ("a.csv", line), "{}", wrong[0]);
            assert!(wrong[0].message.contains(message) && wrong[0].help.is_some(), "{}", wrong[0]);
        };
        check("time,host,kin\n", 1, "`kin` is no column");
        check("time,host,type\n10ms,0\n", 2, "2 values for 3 columns");
        check("time,host,type\n10,0,MAP_STATE\n", 2, "needs a unit");
        check("time,host,type\n10ms,x,MAP_STATE\n", 2, "invalid type");
        check("time,host,type\n10ms,0,MAP_STAT\n", 2, "is not a data type");
        check("time,host\n10ms,0\n", 2, "missing field `type`");
        check("time,host,type\n\n10ms,2,MAP_STATE\n", 3, "no host 2");
        check("time,host,type,map\n10ms,1,MAP_STATE,2\n", 2, "no map 2");
        check("time,host,type\n2s,1,MAP_STATE\n", 2, "not before the end");
        check("time,host,type,bytes\n1s,1,MAP_STATE,3\n", 2, "`bytes` is 3");
        check("time,host,type\n", 0, "holds no operation");
        let wrong = parse("a.txt", CSV).unwrap_err();
        assert!(wrong[0].message.contains(".csv or a .jsonl"), "{}", wrong[0]);
        let unread = Scenario::parse("x.yaml", SCENARIO.as_bytes()).unwrap_err();
        assert_eq!(unread[0].line, 11, "{}", unread[0]);
    }
}
