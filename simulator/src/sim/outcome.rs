//! What came of a [`Sim`](super::Sim): for each seed the summary, the history and the command that repeats it.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use crate::history::Event;
use crate::plan::Plan;
use crate::report::text::{Options, render};
use crate::run::Summary;
use crate::verdict::{Finding, Judgement, Verdict};

/// What came of all seeds.
#[derive(Debug)]
pub struct Outcome {
    /// One for each seed, in the order given; at least one.
    pub runs: Vec<SimRun>,
}

/// What came of one seed.
pub struct SimRun {
    /// The seed.
    pub seed: u64,
    /// Verdicts, figures, counts.
    pub summary: Summary,
    /// Every event, one JSON object a line, as far as the scenario keeps them.
    pub history: Vec<u8>,
    /// What was carried out.
    pub plan: Plan,
    /// The run's folder, if one was asked for.
    pub folder: Option<PathBuf>,
    /// The command that repeats this run.
    pub repeat: String,
}

impl SimRun {
    /// The worst of what the scenario demands.
    pub fn verdict(&self) -> Verdict {
        self.summary.verdict
    }

    /// What is said of a property, such as `P1`; none if it was not judged.
    pub fn judgement(&self, property: &str) -> Option<&Judgement> {
        self.summary.properties.iter().find(|judgement| judgement.property == property)
    }

    /// What is wrong, with the property that says so; also of properties that the scenario does not demand.
    pub fn findings(&self) -> impl Iterator<Item = (&str, &Finding)> {
        let of = |judgement: &'_ Judgement| judgement.verdict == Verdict::Fail;
        let failed = self.summary.properties.iter().filter(move |judgement| of(judgement));
        failed.flat_map(|judgement| {
            judgement.findings.iter().map(|finding| (judgement.property.as_str(), finding))
        })
    }

    /// The demanded properties and figures that did not pass, by name.
    pub fn not_passed(&self) -> Vec<(&str, Verdict)> {
        let properties = self.summary.properties.iter().filter(|judgement| judgement.demanded);
        let properties = properties.map(|judgement| (judgement.property.as_str(), judgement.verdict));
        let figures = self.summary.thresholds.iter().map(|bound| (bound.figure.as_str(), bound.verdict));
        properties.chain(figures).filter(|(_, verdict)| *verdict != Verdict::Pass).collect()
    }

    /// The history, event by event.
    ///
    /// # Errors
    /// A line is no event of this version; none that this version wrote.
    pub fn events(&self) -> Result<Vec<Event>, serde_json::Error> {
        let lines = self.history.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(serde_json::from_slice).collect()
    }

    /// The whole summary as the terminal shows it.
    pub fn report(&self) -> String {
        render(&self.summary, &Options::default())
    }
}

impl Outcome {
    /// The worst of all seeds.
    pub fn verdict(&self) -> Verdict {
        self.runs.iter().map(SimRun::verdict).fold(Verdict::Pass, Verdict::and)
    }

    /// The first run that did not pass, a failure before one that could not decide.
    pub fn worst(&self) -> Option<&SimRun> {
        let worst = self.verdict();
        self.runs.iter().find(|run| run.verdict() == worst && worst != Verdict::Pass)
    }

    /// For tests: all that is demanded holds under every seed.
    ///
    /// # Panics
    /// Something demanded failed, or could not be decided. The message names the property, shows the first findings, and
    /// ends with the command that repeats the run.
    #[track_caller]
    pub fn assert_passes(&self) {
        if let Some(run) = self.worst() {
            panic!("{}", self.said(run));
        }
    }

    /// For tests: this property fails under some seed. Gives the run and its first finding.
    ///
    /// # Panics
    /// It does not; the message says what came instead.
    #[track_caller]
    pub fn assert_fails(&self, property: &str) -> (&SimRun, &Finding) {
        let failed = |run: &'_ SimRun| run.judgement(property).is_some_and(|j| j.verdict == Verdict::Fail);
        let found = self.runs.iter().find(|run| failed(run));
        let found = found.and_then(|run| Some((run, run.judgement(property)?.findings.first()?)));
        match found {
            Some(found) => found,
            None => {
                let said: Vec<String> = self.runs.iter().map(|run| self.said(run)).collect();
                panic!("{property} was expected to fail and does not\n{}", said.join("\n"))
            }
        }
    }

    fn said(&self, run: &SimRun) -> String {
        let mut out = format!("{}  {}, seed {}", run.verdict(), run.summary.scenario, run.seed);
        if self.runs.len() > 1 {
            let like = self.runs.iter().filter(|other| other.verdict() == run.verdict()).count();
            let _ = write!(out, " ({like} of {} seeds)", self.runs.len());
        }
        out.push('\n');
        for judgement in run.summary.properties.iter().filter(|j| j.demanded && j.verdict != Verdict::Pass) {
            let Judgement { property, verdict, basis, violations, findings, .. } = judgement;
            let _ = match verdict {
                Verdict::Fail => writeln!(out, "  {property} {verdict}: {violations} violations in {basis}"),
                _ => writeln!(
                    out,
                    "  {property} {verdict}: {basis}; demand others with `.set(\"expect.properties\", \"[P1]\")`"
                ),
            };
            for finding in findings.iter().take(SHOWN_MAX) {
                let _ = writeln!(out, "    at {} us: {}", finding.at_us, finding.message);
            }
        }
        for bound in run.summary.thresholds.iter().filter(|bound| bound.verdict != Verdict::Pass) {
            let _ = writeln!(
                out,
                "  {} {}: {}, bound: {}",
                bound.figure, bound.verdict, bound.actual, bound.bound
            );
        }
        if let Some(folder) = &run.folder {
            let _ = writeln!(out, "kept in {}", folder.display());
        }
        let _ = write!(out, "repeat with:\n{}", run.repeat);
        out
    }
}

impl fmt::Debug for SimRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, summary, folder, repeat, .. } = self;
        f.debug_struct("SimRun")
            .field("seed", seed)
            .field("verdict", &summary.verdict)
            .field("folder", folder)
            .field("repeat", repeat)
            .finish_non_exhaustive()
    }
}

/// Findings of a property that a message shows.
const SHOWN_MAX: usize = 3;
