//! `p2psim doctor`.

use clap::Args;
use serde::Serialize;

use super::{Format, complain, runtime, say};
use crate::live_rig::docker::{Engine, Image, POSTGRES_IMAGE, REDIS_IMAGE, short};
use crate::live_rig::leftovers::{self, Found, Standing};
use crate::live_rig::{EXIT_UNKNOWN, LiveError, limits};

/// See whether this machine can carry out live runs, and what earlier ones left.
///
/// Looks for Docker, its images, the limit of open files, and containers of runs that are over. Containers
/// of anybody else, and of runs that are alive, are never touched.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing is missing; 3 something is, and its line says what to do.")]
pub(super) struct Arguments {
    /// Remove the containers of runs that are over.
    #[arg(long)]
    remove_leftovers: bool,
    /// How results are shown.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How one thing was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Fine,
    /// Runs are possible and may suffer.
    Warning,
    /// Live runs are not possible.
    Missing,
}

/// One line of the examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Line {
    subject: &'static str,
    state: State,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: cannot start: {error}"));
            return EXIT_UNKNOWN;
        }
    };
    let lines = runtime.block_on(examine(arguments.remove_leftovers));
    match arguments.format {
        Format::Json => say(&serde_json::to_string_pretty(&lines).unwrap_or_default()),
        Format::Text => lines.iter().for_each(|line| say(&line.to_text())),
    }
    if lines.iter().any(|line| line.state == State::Missing) { EXIT_UNKNOWN } else { 0 }
}

async fn examine(remove_leftovers: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    match Engine::connect().await {
        Ok(engine) => {
            lines.push(line("docker", engine.version().await.map(|version| (State::Fine, version, None))));
            for (subject, image) in [("postgres image", POSTGRES_IMAGE), ("redis image", REDIS_IMAGE)] {
                lines.push(line(subject, image_line(&engine, image).await));
            }
            match leftovers::find(&engine).await {
                Ok(found) => lines.extend(containers(&engine, found, remove_leftovers).await),
                Err(error) => lines.push(missing("containers", &error)),
            }
        }
        Err(error) => lines.push(missing("docker", &error)),
    }
    // A run raises its own limit as far as it may.
    lines.push(open_files(limits::raise_open_files()));
    lines
}

async fn image_line(engine: &Engine, image: Image) -> Result<(State, String, Option<String>), LiveError> {
    Ok(match engine.image(image).await? {
        Some(here) => {
            let what = format!("{} ({}, {} MB)", image.name, short(&here.id), here.size_bytes / 1_000_000);
            (State::Fine, what, None)
        }
        None => {
            let remedy = "run ci/local-images, which pulls or builds it".to_owned();
            (State::Missing, format!("{} is not here", image.name), Some(remedy))
        }
    })
}

async fn containers(engine: &Engine, found: Vec<Found>, remove_leftovers: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    for container in found {
        let what = format!(
            "{} ({}) of run {}, {} old",
            container.short_id(),
            container.image,
            container.run,
            age(container.age_s)
        );
        let (state, what, remedy) = match container.standing {
            Standing::Alive => (State::Fine, format!("{what}: the run is alive"), None),
            Standing::Elsewhere => {
                let remedy = format!("if that run is over: docker rm -fv {}", container.short_id());
                (State::Warning, format!("{what}: its process cannot be seen from here"), Some(remedy))
            }
            Standing::Over if remove_leftovers => match engine.remove(&container.id).await {
                Ok(()) => (State::Fine, format!("{what}: left over, now removed"), None),
                Err(error) => {
                    (State::Warning, format!("{what}: left over; {error}"), Some(error.remedy().to_owned()))
                }
            },
            Standing::Over => {
                let remedy = "p2psim doctor --remove-leftovers".to_owned();
                (State::Warning, format!("{what}: left over"), Some(remedy))
            }
        };
        lines.push(Line { subject: "container", state, what, remedy });
    }
    if lines.is_empty() {
        lines.push(Line {
            subject: "containers",
            state: State::Fine,
            what: "none left over".to_owned(),
            remedy: None,
        });
    }
    lines
}

fn open_files(limit: Option<u64>) -> Line {
    let subject = "open files";
    match limit {
        Some(limit) if limit < limits::OPEN_FILES_WANTED => Line {
            subject,
            state: State::Warning,
            what: format!("at most {limit}: too few for 10,000 hosts"),
            remedy: Some(format!(
                "raise the hard limit: as root `ulimit -n {}` in the shell that starts p2psim, or nofile in limits.conf",
                limits::OPEN_FILES_WANTED
            )),
        },
        Some(limit) => Line { subject, state: State::Fine, what: format!("at most {limit}"), remedy: None },
        None => Line { subject, state: State::Fine, what: "no limit".to_owned(), remedy: None },
    }
}

fn line(subject: &'static str, found: Result<(State, String, Option<String>), LiveError>) -> Line {
    match found {
        Ok((state, what, remedy)) => Line { subject, state, what, remedy },
        Err(error) => missing(subject, &error),
    }
}

fn missing(subject: &'static str, error: &LiveError) -> Line {
    Line { subject, state: State::Missing, what: error.to_string(), remedy: Some(error.remedy().to_owned()) }
}

impl Line {
    fn to_text(&self) -> String {
        let state = match self.state {
            State::Fine => "ok",
            State::Warning => "warning",
            State::Missing => "missing",
        };
        let mut text = format!("{state:8} {:15} {}", self.subject, self.what);
        if let Some(remedy) = &self.remedy {
            text += &format!("\n         = help: {remedy}");
        }
        text
    }
}

/// A length of time as people say it.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_remedy_says_it_below() {
        let line = open_files(Some(1_024));
        assert_eq!(line.state, State::Warning);
        assert_eq!(
            line.to_text(),
            "warning  open files      at most 1024: too few for 10,000 hosts\n         \
             = help: raise the hard limit: as root `ulimit -n 20000` in the shell that starts p2psim, or nofile in \
             limits.conf"
        );
        assert_eq!(open_files(Some(20_000)).to_text(), "ok       open files      at most 20000");
        assert_eq!(open_files(None).state, State::Fine);
    }

    #[test]
    fn ages_are_said_in_the_unit_that_fits() {
        for (seconds, expected) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(seconds), expected);
        }
    }
}
