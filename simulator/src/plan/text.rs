//! The text form of a plan.
//!
//! ```text
//! p2psim plan 1
//! seed 42
//! world
//!   name: normal-load
//!   ...
//! actions
//!   generate w0 {"name":"players","arrivals":{"poisson":"10/s"},...}
//!   ask 3.17 at 1234567us {"type":"PLAYER_POSITION","critical":true,...}
//!   fault f0 {"at":"5s","for":"2s","inject":{...}}
//!   transact t0 {"name":"writers","arrivals":{"poisson":"2/s"},...}
//!   act 1.0 at 1000000us {"session":0,"do":[{"put":{"table":"users","row":1}}]}
//! ```
//!
//! The world is a scenario's YAML without workload and faults. Lines that are empty or start with
//! `#` do not count outside the world.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use sync_core::diagnostic::{Diagnostic, Severity};

use super::{Act, Action, Ask, Plan};
use crate::arrivals::TICKET_STREAM_BIT;
use crate::history::OpRef;
use crate::own_resolvers::OwnResolvers;
use crate::scenario::MIX_BYTES;
use crate::scenario::model::{Scenario, Step};
use crate::scenario::units::Length;

/// Why a text is not a plan.
pub type PlanError = Vec<Diagnostic>;

const HEAD: &str = "p2psim plan 1";
/// Workloads count from 0 and are part of their operations' names and ranks.
const WORKLOADS_MAX: u32 = 1 << 16;
/// Keeps the actions within what the kernel can tell apart.
pub(crate) const FILE_BYTES_MAX: usize = 512 * 1024 * 1024;

impl Plan {
    /// The text form.
    pub fn to_text(&self) -> String {
        let mut out = format!("{HEAD}\nseed {}\n", self.seed);
        if let Some(defect) = self.defect {
            out += &format!("defect {defect}\n");
        }
        out += "world\n";
        for line in self.world.to_yaml().lines() {
            out += &format!("  {line}\n");
        }
        out += "actions\n";
        for action in &self.actions {
            let line = match action {
                Action::Generate(number, workload) => format!("generate w{number} {}", json(workload)),
                Action::Ask(ask) => format!("ask {} at {}us {}", ask.op, ask.at_us, json(&ask.entry)),
                Action::Inject(number, fault) => format!("fault f{number} {}", json(fault)),
                Action::Transact(number, stream) => format!("transact t{number} {}", json(stream)),
                Action::Act(act) => format!("act {} at {}us {}", act.op, act.at_us, json(&act.body)),
            };
            out += &format!("  {line}\n");
        }
        out
    }

    /// Reads the text form; `file_name` appears in the diagnostics.
    pub fn parse(file_name: &str, bytes: &[u8]) -> Result<Self, PlanError> {
        Self::parse_for(&OwnResolvers::default(), file_name, bytes)
    }

    /// The same for a program that has these resolvers.
    pub fn parse_for(own: &OwnResolvers, file_name: &str, bytes: &[u8]) -> Result<Self, PlanError> {
        let whole = |message: &str| {
            vec![Diagnostic::file_error(file_name, message, "a plan is the `plan.txt` of a run's folder")]
        };
        if bytes.len() > FILE_BYTES_MAX {
            return Err(whole("the file is too large for a plan"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| whole("the file is not UTF-8 text"))?;
        Reader { own, file_name, text }.plan()
    }
}

struct Reader<'a> {
    own: &'a OwnResolvers,
    file_name: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn plan(&self) -> Result<Plan, PlanError> {
        let mut seed = None;
        let mut defect = None;
        let mut world = String::new();
        let mut world_line = None;
        let mut actions = Vec::new();
        // Where each action stands.
        let mut places = Vec::new();
        let mut section = "";
        for (number, line) in (1..).zip(self.text.lines()) {
            if number == 1 {
                if line.trim_end() != HEAD {
                    return Err(self.at(1, line, "this is not a plan", "a plan starts with `p2psim plan 1`"));
                }
                continue;
            }
            let indented = line.starts_with("  ");
            let trimmed = line.trim();
            if section == "world" && (indented || trimmed.is_empty()) {
                world_line.get_or_insert(number);
                world += line.get(2..).unwrap_or("");
                world.push('\n');
                continue;
            }
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            match (section, indented, trimmed.split_once(' ').unwrap_or((trimmed, ""))) {
                (_, false, (word @ ("seed" | "defect"), _))
                    if (word == "seed" && seed.is_some()) || (word == "defect" && defect.is_some()) =>
                {
                    return Err(self.at(
                        number,
                        line,
                        "the plan says this twice",
                        "keep one of the two lines",
                    ));
                }
                (_, false, ("seed", value)) => {
                    seed = Some(value.parse().map_err(|_| {
                        self.at(number, line, "a seed is a whole number below 2^64", "write `seed 42`")
                    })?);
                }
                (_, false, ("defect", value)) => {
                    defect = Some(value.parse().map_err(|_| {
                        self.at(
                            number,
                            line,
                            "a defect is a number of the zoo",
                            "`p2psim list --zoo` shows them",
                        )
                    })?);
                }
                (_, false, ("world" | "actions", "")) => section = trimmed,
                ("actions", true, (word, rest)) => {
                    actions.push(self.action(number, line, word, rest)?);
                    places.push((number, line));
                }
                _ => {
                    return Err(self.at(
                        number,
                        line,
                        "a plan has no such line here",
                        "a plan has `seed`, `defect`, `world` and `actions`, the last two with indented lines",
                    ));
                }
            }
        }
        let missing = |what: &str| {
            vec![Diagnostic::file_error(self.file_name, format!("the plan has no `{what}`"), "add it")]
        };
        let world_line = world_line.ok_or_else(|| missing("world"))?;
        let world = self.scenario(self.file_name, world.as_bytes()).map_err(|found| {
            // Places are those of the world's own text: shift them to the plan's.
            found.into_iter().map(|d| shift(d, world_line - 1)).collect::<Vec<_>>()
        })?;
        let plan = Plan { seed: seed.ok_or_else(|| missing("seed"))?, defect, world, actions };
        self.names(&plan, &places)?;
        self.check(&plan)?;
        Ok(plan)
    }

    fn action(&self, number: usize, line: &str, word: &str, rest: &str) -> Result<Action, PlanError> {
        let bad = |message: &str| {
            self.at(
                number,
                line,
                message,
                "an action is `generate w0 {...}`, `ask 3.17 at 1234567us {...}`, `fault f0 {...}`, or among peers \
                 `transact t0 {...}` or `act 1.0 at 1234567us {...}`",
            )
        };
        let (name, rest) = rest.split_once(' ').ok_or_else(|| bad("the action is not complete"))?;
        let numbered = |prefix| {
            let digits = name.strip_prefix(prefix).and_then(|digits| digits.parse().ok());
            digits.ok_or_else(|| bad("the action's name is a letter and a number"))
        };
        match word {
            "generate" => Ok(Action::Generate(numbered('w')?, self.json(number, line, rest)?)),
            "fault" => Ok(Action::Inject(numbered('f')?, self.json(number, line, rest)?)),
            "transact" => Ok(Action::Transact(numbered('t')?, self.json(number, line, rest)?)),
            "ask" | "act" => {
                let op: OpRef = name.parse().map_err(|_| bad("an operation's name is `<host>.<ticket>`"))?;
                let (at, rest) = rest
                    .strip_prefix("at ")
                    .and_then(|rest| rest.split_once("us "))
                    .ok_or_else(|| bad("`at <microseconds>us` is expected"))?;
                let at_us = at.parse().map_err(|_| bad("`at <microseconds>us` is expected"))?;
                Ok(match word {
                    "ask" => Action::Ask(Ask { op, at_us, entry: self.json(number, line, rest)? }),
                    _ => Action::Act(Act { op, at_us, body: self.json(number, line, rest)? }),
                })
            }
            _ => Err(bad("there is no such action")),
        }
    }

    fn json<T: DeserializeOwned>(&self, number: usize, line: &str, json: &str) -> Result<T, PlanError> {
        serde_json::from_str(json).map_err(|error| {
            let start = line.find('{').unwrap_or(0);
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or("not as expected").to_owned();
            let mut found = self.at(number, line, &message, "the fields are those of the scenario format");
            for diagnostic in &mut found {
                diagnostic.column = start + error.column().max(1);
                diagnostic.width = 1;
            }
            found
        })
    }

    /// Each action has a name of its own, by which everything about it is drawn, and each operation
    /// fits the world.
    fn names(&self, plan: &Plan, places: &[(usize, &str)]) -> Result<(), PlanError> {
        let mut generators = BTreeSet::new();
        let mut faults = BTreeSet::new();
        let mut asks = BTreeSet::new();
        for (action, (number, line)) in plan.actions.iter().zip(places) {
            let refuse = |message: String, help: &str| Err(self.at(*number, line, &message, help));
            let own = match action {
                Action::Generate(name, _) if *name >= WORKLOADS_MAX => {
                    let message = format!("w{name} is too great a number for a workload");
                    return refuse(message, &format!("write a number below {WORKLOADS_MAX}"));
                }
                Action::Generate(name, _) => generators.insert(*name),
                Action::Inject(name, _) => faults.insert(*name),
                Action::Transact(name, _) if *name >= WORKLOADS_MAX => {
                    let message = format!("t{name} is too great a number for a stream of transactions");
                    return refuse(message, &format!("write a number below {WORKLOADS_MAX}"));
                }
                // Hosts and peers are never in one world, so their streams may share numbers.
                Action::Transact(name, _) => generators.insert(*name),
                Action::Act(act) => {
                    if let Some((message, help)) = out_of_place(act, plan) {
                        return refuse(message, &help);
                    }
                    asks.insert(act.op)
                }
                Action::Ask(ask) => {
                    if let Some((message, help)) = misfit(ask, &plan.world) {
                        return refuse(message, &help);
                    }
                    asks.insert(ask.op)
                }
            };
            if !own {
                return refuse("two actions have this name".to_owned(), "give each a name of its own");
            }
        }
        for (action, (number, line)) in plan.actions.iter().zip(places) {
            let (Action::Ask(Ask { op, .. }) | Action::Act(Act { op, .. })) = action else { continue };
            let stream = op.ticket >> TICKET_STREAM_BIT;
            if u32::try_from(stream).is_ok_and(|stream| generators.contains(&stream)) {
                let message = format!("two actions may have the name {op}: w{stream} generates such names");
                return Err(self.at(
                    *number,
                    line,
                    &message,
                    "write the generator out with `replay --expand --print`",
                ));
            }
        }
        Ok(())
    }

    /// What the parts cannot say alone: the actions have to fit the world.
    fn check(&self, plan: &Plan) -> Result<(), PlanError> {
        let mut whole = plan.world.clone();
        for action in &plan.actions {
            match action {
                Action::Generate(_, workload) => {
                    let mut workload = workload.clone();
                    // Two generator lines may stem from two plans: names need not differ.
                    workload.name = format!("w{}", whole.workload.len());
                    whole.workload.push(workload);
                }
                Action::Inject(_, fault) => whole.faults.push(fault.clone()),
                Action::Transact(_, stream) => {
                    let mut stream = stream.clone();
                    stream.name = format!("t{}", whole.transactions.len());
                    whole.transactions.push(stream);
                }
                Action::Act(act) => whole.steps.push(Step {
                    at: Length::from_us(act.at_us),
                    peer: act.op.host,
                    session: act.body.session,
                    statements: act.body.statements.clone(),
                    open_for: Length::from_us(act.body.open_us),
                }),
                // Looked at one by one, where they stand.
                Action::Ask(_) => {}
            }
        }
        self.scenario("plan", whole.to_yaml().as_bytes()).map(drop).map_err(|found| {
            found
                .into_iter()
                .map(|d| {
                    Diagnostic::file_error(
                        self.file_name,
                        format!("an action does not fit the world: {}", d.message),
                        d.help.unwrap_or_else(|| "correct the action".to_owned()),
                    )
                })
                .collect()
        })
    }

    /// The world; a plan holds its traces written out.
    fn scenario(&self, name: &str, text: &[u8]) -> Result<Scenario, PlanError> {
        let mut nothing = |_: &str| -> std::io::Result<Vec<u8>> { Err(std::io::ErrorKind::NotFound.into()) };
        Scenario::parse_for(self.own, name, text, &[], &mut nothing)
    }

    fn at(&self, number: usize, line: &str, message: &str, help: &str) -> PlanError {
        let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let width = line.trim().chars().count();
        vec![
            Diagnostic::at(Severity::Error, self.file_name, self.text, number, column, width, message)
                .with_help(help),
        ]
    }
}

/// What is wrong with an operation in this world, and the remedy.
fn misfit(Ask { op, at_us, entry }: &Ask, world: &Scenario) -> Option<(String, String)> {
    let (hosts, end_us) = (world.topology.hosts, world.duration.span().as_us());
    if op.host >= hosts {
        let message =
            format!("operation {op} is of a host that the world does not have ({hosts} hosts, from 0)");
        Some((message, "lower the host's number".to_owned()))
    } else if op.ticket >> TICKET_STREAM_BIT >= u64::from(WORKLOADS_MAX) {
        let message = format!("operation {op} has too great a ticket");
        Some((message, format!("write a ticket below {}", u64::from(WORKLOADS_MAX) << TICKET_STREAM_BIT)))
    } else if *at_us >= end_us {
        let message = format!("operation {op} comes after the end of the scenario");
        Some((message, format!("write a moment before {end_us}us, the world's `duration`")))
    } else if let Some(map) = entry.map.filter(|map| *map >= world.topology.maps) {
        let message = format!("operation {op} is on map {map}, which the world does not have");
        Some((message, format!("maps count from 0, and there are {}", world.topology.maps)))
    } else if !MIX_BYTES.contains(&entry.bytes) {
        let message = format!("`bytes` is {} here", entry.bytes);
        Some((message, format!("write {} to {}", MIX_BYTES.start(), MIX_BYTES.end())))
    } else {
        None
    }
}

/// What is wrong with a transaction's name or moment in this world, and the remedy.
fn out_of_place(Act { op, at_us, .. }: &Act, plan: &Plan) -> Option<(String, String)> {
    let (peers, end_us) =
        (plan.world.peers.as_ref().map_or(0, |peers| peers.count), plan.world.duration.as_us());
    if op.host >= peers {
        let message =
            format!("transaction {op} is of a peer that the world does not have ({peers} peers, from 0)");
        Some((message, "lower the peer's number, or give the world `peers`".to_owned()))
    } else if op.ticket >> TICKET_STREAM_BIT >= u64::from(WORKLOADS_MAX) {
        let message = format!("transaction {op} has too great a ticket");
        Some((message, format!("write a ticket below {}", u64::from(WORKLOADS_MAX) << TICKET_STREAM_BIT)))
    } else if *at_us >= end_us {
        let message = format!("transaction {op} comes after the end of the scenario");
        Some((message, format!("write a moment before {end_us}us, the world's `duration`")))
    } else {
        None
    }
}

fn shift(mut diagnostic: Diagnostic, lines: usize) -> Diagnostic {
    if diagnostic.line > 0 {
        diagnostic.line += lines;
        diagnostic.column += 2;
        diagnostic.excerpt = format!("  {}", diagnostic.excerpt);
    }
    diagnostic
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Plain data with text keys: serialising cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCENARIO: &str = "
name: small
about: For tests.
duration: 2s
topology: { hosts: 3 }
workload:
  - name: players
    arrivals: { poisson: 5/s }
    mix:
      - { type: PLAYER_POSITION, critical: true }
      - { type: CHAT_MESSAGE, weight: 3 }
faults:
  - { at: 1s, for: 500ms, inject: { partition: { hosts: { only: [1] } } } }
expect: { properties: [P5, P14] }
";

    fn plan() -> Plan {
        Plan::new(&Scenario::parse("small.yaml", SCENARIO.as_bytes()).unwrap(), 7)
    }

    #[test]
    fn a_plan_survives_its_text_form() {
        for plan in [plan(), plan().expand()] {
            let text = plan.to_text();
            assert_eq!(Plan::parse("plan.txt", text.as_bytes()), Ok(plan), "{text}");
        }
    }

    #[test]
    fn expansion_writes_out_what_was_counted() {
        let moment = |ticket, at| ticket ^ at;
        assert_eq!(plan().count_arrivals(moment), plan().expand().count_arrivals(moment));
        assert!(plan().expand().actions.len() > 10);
    }

    #[test]
    fn mistakes_are_shown_with_their_place() {
        let text = plan().to_text();
        let check = |from: &str, to: &str, line_with: &str, message: &str| {
            let wrong = text.replace(from, to);
            assert_ne!(wrong, text);
            let found = Plan::parse("plan.txt", wrong.as_bytes()).unwrap_err();
            let line = wrong.lines().position(|line| line.contains(line_with)).unwrap() + 1;
            assert_eq!(found[0].line, line, "{}", found[0]);
            assert!(found[0].message.contains(message), "{}", found[0]);
        };
        check("seed 7", "seed -7", "seed -7", "whole number");
        check("generate w0", "generate x0", "generate x0", "a letter and a number");
        check("\"critical\":true", "\"critical\":1", "generate", "invalid type");
        check("duration: 2s", "duration: 2", "duration: 2", "unit");
        check("actions", "action", "action", "no such line");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_are_read_without_panic(cut in 0usize..2_000, bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut text = plan().to_text().into_bytes();
            let cut = cut.min(text.len());
            text.splice(cut..(cut + bytes.len()).min(plan().to_text().len()), bytes);
            let _ = Plan::parse("plan.txt", &text);
        }
    }
}
