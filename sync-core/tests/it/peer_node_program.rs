//! `peer-node` as a program: exit codes, what it prints, and the quick test with processes of their own.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and processes live in real time"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use crate::peer_support::{http, run, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_peer-node");

fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn output(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(arguments, variables).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_is_wrong_with_the_environment_is_said_with_its_remedy() {
    let check = |variables: &[(&str, &str)], expected: &str| {
        let (code, out, err) = output(&["serve"], variables);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(expected) && err.contains("help: ") && out.is_empty(), "{err}");
        assert!(!err.contains("hunter2"), "{err}");
    };
    check(&[], "DATABASE_URL is not given");
    check(&[("API_PORT", "eighty"), ("DATABASE_URL", "postgresql://u:hunter2@h/d")], "API_PORT: \"eighty\"");
    check(&[("P2P_SHARED_KEY", "hunter2")], "P2P_SHARED_KEY");
    check(&[("SYNC_TABLES", "reviews")], "refers to");
    check(&[("SYNC_SCHEMA_FILE", "missing.json")], "missing.json");
    let (code, _, err) = output(&["serve", "--env-file", "missing"], &[]);
    assert!(code == Some(2) && err.contains(".env.example"), "{err}");
    assert_eq!(output(&["serve", "--colour"], &[]).0, Some(2));
}

#[test]
fn keys_and_tokens_are_printed_and_nothing_else() {
    let (code, key, err) = output(&["new-shared-key"], &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(key.starts_with("p2p-peers:") && key.lines().count() == 1);
    let (code, token, _) = output(&["token"], &[("P2P_SHARED_KEY", key.trim())]);
    assert_eq!((code, token.trim().len()), (Some(0), 64));
    let (code, _, err) = output(&["token"], &[]);
    assert!(code == Some(2) && err.contains("P2P_SHARED_KEY is not given"), "{err}");
}

#[test]
fn a_port_in_use_is_named_with_its_variable() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let variables = [("API_PORT", "0"), ("P2P_PORT", port.as_str()), ("BIND_ADDRESS", "127.0.0.1")];
    let (code, _, err) = output(&["serve", "--memory"], &variables);
    assert!(code == Some(1) && err.contains("P2P_PORT: cannot listen"), "{err}");
}

/// A running node; killed when the test fails.
struct Running {
    child: Child,
    api: SocketAddr,
}

impl Running {
    fn start(name: &str, peers: &str) -> Self {
        let variables = [
            ("API_PORT", "0"),
            ("P2P_PORT", "0"),
            ("DISCOVERY_PORT", "0"),
            ("BIND_ADDRESS", "127.0.0.1"),
            ("DISCOVERY_ADDRESSES", "127.0.0.1"),
            ("DISCOVERY_PEER_PORTS", "9"),
            ("NODE_NAME", name),
            ("STATIC_PEERS", peers),
        ];
        let mut command = command(&["serve", "--memory"], &variables);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let api = line.strip_prefix("listening: api ").and_then(|rest| rest.split(',').next());
        let api = api.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        Self { child, api }
    }

    /// Ends it in order and gives its log.
    fn stop(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn three_processes_synchronise_and_stop_in_order() {
    run(async {
        let one = Running::start("n1", "");
        let other = Running::start("n2", &one.api.to_string());
        let third = Running::start("n3", &format!("{},{}", one.api, other.api));
        let body = br#"{"username": "testuser", "email": "test@example.com", "password": "password123"}"#;
        let answer = http(one.api, "POST", "/api/v1/auth/register", "", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for node in [&other, &third] {
            until("the user is there", || async {
                http(node.api, "GET", "/api/v1/users/", "", b"").await.text().contains("testuser")
            })
            .await;
        }
        for node in [&one, &other, &third] {
            until("it has met a peer", || async {
                http(node.api, "GET", "/api/v1/p2p/status", "", b"").await.json()["peer_count"] != 0
            })
            .await;
        }
        for node in [one, other, third] {
            let log = node.stop();
            assert!(log.contains("no P2P_SHARED_KEY") && log.contains("is a peer"), "{log}");
            assert!(log.contains("stopped") && !log.contains("password123"), "{log}");
        }
    });
}
