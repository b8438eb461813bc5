//! Containers that a run left behind, told from those of a run that is alive.
//!
//! A container names the process that carries out its run: by id, by the moment the process began (ids are
//! used again) and by the place where that id counts (processes of another machine or container that share
//! one Docker engine are not seen from here). What cannot be told is left alone.

use std::time::{SystemTime, UNIX_EPOCH};

use bollard::models::ContainerSummary;

use super::LiveError;
use super::docker::{Engine, LABEL_PID, LABEL_PLACE, LABEL_RUN, LABEL_STARTED, short};

/// What is known of a run from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its process lives.
    Alive,
    /// Its process is gone: what it left is of no use.
    Over,
    /// Its process is on another machine, in another container or from before a restart of this machine.
    Elsewhere,
}

/// A container with this program's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its identity.
    pub id: String,
    /// Its image.
    pub image: String,
    /// The run it belongs to.
    pub run: String,
    /// Seconds since it was made.
    pub age_s: u64,
    /// What is known of its run.
    pub standing: Standing,
}

/// This process, as labels name it.
pub(super) fn labels() -> [(&'static str, String); 3] {
    let pid = std::process::id();
    [(LABEL_PID, pid.to_string()), (LABEL_STARTED, started(pid).unwrap_or_default()), (LABEL_PLACE, place())]
}

/// Every container with this program's label.
pub async fn find(engine: &Engine) -> Result<Vec<Found>, LiveError> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut found: Vec<_> =
        engine.containers(None).await?.into_iter().map(|container| Found::new(container, now_s)).collect();
    found.sort_by(|a, b| (&a.run, &a.id).cmp(&(&b.run, &b.id)));
    Ok(found)
}

impl Found {
    fn new(container: ContainerSummary, now_s: u64) -> Self {
        let labels = container.labels.unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let created_s = container.created.and_then(|s| u64::try_from(s).ok()).unwrap_or(now_s);
        Self {
            id: container.id.unwrap_or_default(),
            image: container.image.unwrap_or_default(),
            run: label(LABEL_RUN),
            age_s: now_s.saturating_sub(created_s),
            standing: standing(&label(LABEL_PID), &label(LABEL_STARTED), &label(LABEL_PLACE)),
        }
    }

    /// The first characters of its identity.
    pub fn short_id(&self) -> &str {
        short(&self.id)
    }
}

fn standing(pid: &str, began: &str, where_it_counts: &str) -> Standing {
    if where_it_counts != place() {
        return Standing::Elsewhere;
    }
    let Ok(pid) = pid.parse::<u32>() else { return Standing::Elsewhere };
    if !is_alive(pid) {
        return Standing::Over;
    }
    match started(pid) {
        // The id is in use again, by another process.
        Some(now) if !began.is_empty() && now != began => Standing::Over,
        _ => Standing::Alive,
    }
}

fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    match rustix::process::test_kill_process(pid) {
        // A process that has ended and was not waited for holds its id and does nothing.
        Ok(()) => status(pid.as_raw_nonzero().get().unsigned_abs()).is_none_or(|status| status.state != "Z"),
        Err(error) => error != rustix::io::Errno::SRCH,
    }
}

/// When a process began, in clock ticks since the machine did; `None` where the system does not say.
fn started(pid: u32) -> Option<String> {
    status(pid).map(|status| status.started)
}

struct Status {
    state: String,
    started: String,
}

/// The fields 3 and 22 of proc_pid_stat(5). The second field, the name, may hold spaces and parentheses.
fn status(pid: u32) -> Option<Status> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    Some(Status { state: fields.next()?.to_owned(), started: fields.nth(18)?.to_owned() })
}

/// The machine's start and the namespace of process ids; where the system does not say, a word.
fn place() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    match (boot.trim(), namespace.to_str()) {
        ("", _) | (_, None) => "unknown".to_owned(),
        (boot, Some(namespace)) => format!("{boot} {namespace}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_judged_only_where_its_process_counts() {
        let own = std::process::id();
        let [_, (_, began), (_, here)] = labels();
        assert_eq!(standing(&own.to_string(), &began, &here), Standing::Alive);
        assert_eq!(standing(&own.to_string(), "1", &here), Standing::Over);
        assert_eq!(standing(&own.to_string(), &began, "another place"), Standing::Elsewhere);
        assert_eq!(standing("", &began, &here), Standing::Elsewhere);

        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let (pid, began) = (child.id(), started(child.id()).unwrap_or_default());
        assert_eq!(standing(&pid.to_string(), &began, &here), Standing::Alive);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(standing(&pid.to_string(), &began, &here), Standing::Over);
    }
}
