//! Child processes of a live run: how they begin, and that they end.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "processes live in real time")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use simulator::live_rig::child::SpawnOptions;
use simulator::live_rig::{Child, FaultProxy, LiveError, child};
use sync_core::secret::Secret;

const P2PSIM: &str = env!("CARGO_BIN_EXE_p2psim");
const BOUND: Duration = Duration::from_secs(30);
/// Makes this test binary start a child and wait, instead of testing.
const PARENT: &str = "P2PSIM_TEST_PARENT";
const SETUP: &str = r#"{"seed":1,"links":[]}"#;

#[tokio::test]
async fn a_child_says_that_it_is_ready_answers_and_is_killed() {
    let (mut child, pid) = proxy().await;
    assert_eq!(child.id(), Some(pid));
    child.send(r#"{"link":"x","verb":"cut"}"#).await.unwrap();
    assert_eq!(child.line().await.unwrap(), r#"{"refused":"there is no link x"}"#);
    child.send("nonsense").await.unwrap();
    assert!(child.line().await.unwrap().starts_with(r#"{"refused":"the line cannot be read"#));
    let status = child.kill9().await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_child_can_be_ended_in_order() {
    let (child, pid) = proxy().await;
    let status = child.terminate(BOUND).await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    assert!(!is_alive(pid));

    let (mut child, _) = proxy().await;
    child.close_stdin();
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_child_that_is_dropped_is_gone() {
    let (child, pid) = proxy().await;
    drop(child);
    within(BOUND, || !is_alive(pid)).await;
}

#[tokio::test]
async fn a_child_ends_with_its_parent_even_if_that_is_killed() {
    for signal in ["KILL", "TERM", "INT"] {
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "live_child::parent_to_be_killed", "--nocapture"])
            .env(PARENT, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
        let pid = lines.find_map(|line| line.unwrap().strip_prefix("child ").map(|pid| pid.parse().unwrap()));
        let pid: u32 = pid.expect("the parent says what it started");
        assert!(is_alive(pid));
        let killed = Command::new("kill").args(["-s", signal, &parent.id().to_string()]).status().unwrap();
        assert!(killed.success());
        parent.wait().unwrap();
        within(BOUND, || !is_alive(pid)).await;
    }
}

/// Not a test by itself: what `a_child_ends_with_its_parent_even_if_that_is_killed` kills.
#[tokio::test]
async fn parent_to_be_killed() {
    if std::env::var(PARENT).is_err() {
        return;
    }
    let (_child, pid) = proxy().await;
    writeln!(std::io::stdout(), "\nchild {pid}").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_child_that_fails_is_explained_by_its_last_words() {
    child::use_program(P2PSIM);
    let text = Some(Secret::new("hunter2".to_owned()));
    let error = Child::spawn(&["node", "fault-proxy"], text, ready).await.unwrap_err();
    assert!(matches!(&error, LiveError::Child { name, .. } if name == "fault-proxy"), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("ended before it was ready (exit status: 2): error: "), "{text}");
    assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_child_that_never_is_ready_is_given_up_and_ended() {
    child::use_program(P2PSIM);
    let options = SpawnOptions { ready: Duration::from_millis(500), ..SpawnOptions::default() };
    let text = Some(Secret::new(SETUP.to_owned()));
    let never = |_: &str| None::<()>;
    let error = Child::spawn_with(options, &["node", "fault-proxy"], text, never).await.unwrap_err();
    assert!(error.to_string().contains("not ready within"), "{error}");
}

#[tokio::test]
async fn a_proxy_whose_process_is_killed_says_so_instead_of_hanging() {
    child::use_program(P2PSIM);
    let proxy = FaultProxy::spawn(Vec::new(), 1).await.unwrap();
    let killed = Command::new("kill").args(["-9", &proxy.process_id().to_string()]).status().unwrap();
    assert!(killed.success());
    let error = tokio::time::timeout(BOUND, proxy.cut("x")).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("fault-proxy: the fault proxy has ended"), "{error}");
    let error = tokio::time::timeout(BOUND, proxy.cut("x")).await.unwrap().unwrap_err();
    assert_eq!(error, LiveError::Proxy("it has ended".to_owned()));
}

/// A proxy without links, and its process id.
async fn proxy() -> (Child, u32) {
    child::use_program(P2PSIM);
    let text = Some(Secret::new(SETUP.to_owned()));
    let (child, ()) = Child::spawn(&["node", "fault-proxy"], text, ready).await.unwrap();
    let pid = child.id().unwrap();
    (child, pid)
}

fn ready(line: &str) -> Option<()> {
    line.contains("listening").then_some(())
}

/// Whether a process runs; one that ended and was not waited for does not.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn within(bound: Duration, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < bound, "not within {bound:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
