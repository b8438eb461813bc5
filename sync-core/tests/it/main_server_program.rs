//! The program `main-server` as whoever starts it sees it: what it prints, and its exit codes.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and processes live in real time"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};

use crate::live_support::*;
use sync_core::envelope::{HostKey, MasterKey};
use sync_core::runtime::http::HttpClient;
use sync_core::wire::Kind;

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn spawn(arguments: &[&str], input: &str) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_main-server"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child
}

fn output(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = spawn(arguments, input).wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn config(more: &str) -> String {
    format!("role = main_server\nencryption_key = {MASTER}\n{more}\n")
}

#[test]
fn a_server_says_where_it_listens_serves_and_ends_in_order() {
    let arguments = ["serve", "--config", "-", "--embedded", "--listen", "127.0.0.1:0"];
    let mut child = spawn(&arguments, &config("debug_mode = 1"));
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening on 127.0.0.1:").unwrap().to_owned();
    run(async {
        let endpoint = format!("http://127.0.0.1:{address}/p2p-sync").parse().unwrap();
        let player = r#"{"account_id":7,"position":{"x":1,"y":1}}"#;
        let (operation, body) = Sealer::new(MASTER, 7).seal(Kind::SyncTo, player);
        let reply = HttpClient::new(&endpoint).unwrap().exchange(body, PATIENCE).await.unwrap();
        assert_eq!(Sealer::new(MASTER, 7).open(operation, &reply), None);
    });
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line and no more");
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{log}");
    for said in ["nothing is kept", "encryption_key = ***", "stopped: 0 open", "1 requests, 1 applied"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert!(!log.contains(SECRET), "{log}");
}

/// The next line of a log that begins so.
#[cfg(unix)]
fn said(log: &std::sync::mpsc::Receiver<String>, begins: &str) -> String {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let line = log.recv_timeout(left).unwrap_or_else(|_| panic!("no line `{begins}`"));
        assert!(!line.contains("canary") && !line.contains(SECRET), "{line}");
        // Each begins with the moment.
        if line.split_once(' ').is_some_and(|(_, line)| line.starts_with(begins)) {
            return line;
        }
    }
}

#[cfg(unix)]
#[test]
fn a_running_server_reads_its_keys_again_on_sighup_while_hosts_go_on() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let second = format!("p2p-master:k2:{}", SECRET.replace("AAEC", "AQEC"));
    let file = std::env::temp_dir().join(format!("p2p-keys-{}.conf", std::process::id()));
    let write = |seals: &str, accepted: &str| {
        let text = format!("role = main_server\nencryption_key = {seals}\n{accepted}\n");
        std::fs::write(&file, text).unwrap();
    };
    write(MASTER, "");
    let path = file.to_str().unwrap();
    let mut child = spawn(&["serve", "--config", path, "--embedded", "--listen", "127.0.0.1:0"], "");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
    let (to_log, log) = std::sync::mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| to_log.send(line)));
    let id = child.id().to_string();
    let hang_up = || assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    run(async {
        let endpoint = format!("http://{address}/p2p-sync").parse().unwrap();
        let client = HttpClient::new(&endpoint).unwrap();
        // Whether a request is taken, and whether this key then opens the reply.
        let answer = async |master: &str, account: u32| {
            let mut sealer = Sealer::new(master, account);
            let (operation, body) = sealer.seal(Kind::SyncFrom, "");
            let reply = client.exchange(body, PATIENCE).await.ok()?;
            Some(sealer.opens(operation, &reply))
        };
        // Hosts that never stop: the first with the old key until the new one seals, then with that.
        let (switched, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let load = tokio::spawn({
            let (switched, stop, client) = (Arc::clone(&switched), Arc::clone(&stop), client.clone());
            let (mut old, mut new) = (Sealer::new(MASTER, 7), Sealer::new(&second, 8));
            async move {
                let mut answered = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let sealer = if switched.load(Ordering::Relaxed) { &mut new } else { &mut old };
                    let (_, body) = sealer.seal(Kind::SyncTo, "{}");
                    client.exchange(body, PATIENCE).await.unwrap();
                    answered += 1;
                }
                answered
            }
        });
        assert_eq!((answer(MASTER, 1).await, answer(&second, 1).await), (Some(true), None));
        write(MASTER, &format!("encryption_keys_accepted = {second}"));
        hang_up();
        assert!(said(&log, "main-server: keys").ends_with("2 in force: `k1` seals, `k2` opens as well"));
        assert_eq!((answer(MASTER, 2).await, answer(&second, 2).await), (Some(true), Some(false)));
        let figures = client.with_path("/metrics").unwrap().fetch(PATIENCE).await.unwrap().1;
        let figures = String::from_utf8(figures).unwrap();
        assert!(figures.contains("p2p_sync_keys_in_force{shard=\"0\"} 2\n"), "{figures}");
        // What cannot be used changes nothing.
        let unusable =
            ["p2p-master:k3:canary", "p2p-host:k1:7:canary", "", "p2p-master:k2:canary\nredis_prt = 1"];
        for unusable in unusable {
            write(unusable, "");
            hang_up();
            assert!(said(&log, "main-server: keys").ends_with("; those in force stay"));
        }
        std::fs::remove_file(&file).unwrap();
        hang_up();
        assert!(said(&log, "main-server: keys").contains("cannot be read"));
        assert_eq!((answer(MASTER, 3).await, answer(&second, 3).await), (Some(true), Some(false)));
        write(&second, &format!("encryption_keys_accepted = {MASTER}\nworker_threads = 3"));
        hang_up();
        let line = said(&log, "main-server: keys");
        assert!(line.contains("2 in force: `k2` seals, `k1` opens as well"), "{line}");
        assert!(line.ends_with("whatever else changed in the file waits for a restart"), "{line}");
        assert_eq!((answer(MASTER, 4).await, answer(&second, 4).await), (Some(false), Some(true)));
        switched.store(true, Ordering::Relaxed);
        // The request under way may still have the old key.
        assert!(answer(&second, 4).await.is_some());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        write(&second, "");
        hang_up();
        assert!(said(&log, "main-server: keys").contains("1 in force: `k2` seals"));
        assert_eq!((answer(MASTER, 5).await, answer(&second, 5).await), (None, Some(true)));
        stop.store(true, Ordering::Relaxed);
        assert!(load.await.unwrap() > 0);
    });
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn keys_that_came_over_the_standard_input_cannot_be_read_again() {
    let arguments = ["serve", "--config", "-", "--embedded", "--listen", "127.0.0.1:0"];
    let mut child = spawn(&arguments, &config(""));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let id = child.id().to_string();
    let kill = |signal: &str| Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(kill("-HUP").success());
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !line.contains("keys:") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0);
    }
    assert!(line.contains("standard input cannot be read again; those in force stay"), "{line}");
    assert!(kill("-TERM").success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn rules_are_named_in_the_configuration_or_on_the_command_line() {
    let serve = ["serve", "--config", "-", "--embedded", "--listen", "127.0.0.1:0"];
    let check = |more: &str, arguments: &[&str], rejected: bool| {
        let mut child = spawn(&[&serve, arguments].concat(), &config(more));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
        run(async {
            let endpoint = format!("http://{address}/p2p-sync").parse().unwrap();
            let (operation, body) = Sealer::new(MASTER, 7).seal(Kind::SyncTo, "{}");
            let reply = HttpClient::new(&endpoint).unwrap().exchange(body, PATIENCE).await.unwrap();
            let rejection = Sealer::new(MASTER, 7).rejection(operation, &reply);
            let by_rule = rejection.is_some_and(|why| why.starts_with("rule_violated"));
            assert_eq!(by_rule, rejected, "{more} {arguments:?}");
        });
        child.kill().unwrap();
        child.wait().unwrap();
    };
    // All that hosts write is validated, unless somebody says otherwise.
    check("", &[], true);
    check("validation_rules = default", &[], true);
    check("validation_rules = off", &[], false);
    check("validation_rules = default", &["--rules", "off"], false);
    check("validation_rules = off", &["--rules", "default"], true);
    let file = std::env::temp_dir().join(format!("p2p-own-rules-{}.json", std::process::id()));
    for (rules, rejected) in [("{}", false), (r#"{"account_rights":true}"#, true)] {
        std::fs::write(&file, rules).unwrap();
        check(&format!("validation_rules = {}", file.display()), &[], rejected);
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_failure_has_its_exit_code_and_says_what_to_do() {
    let check = |arguments: &[&str], input: &str, code: i32, said: &str| {
        let (status, stdout, stderr) = output(arguments, input);
        assert_eq!((status, stdout.as_str()), (Some(code), ""), "{stderr}");
        assert!(stderr.contains(said), "{said}: {stderr}");
        assert!(!stderr.contains("canary") && !stderr.contains(SECRET), "{stderr}");
    };
    let serve = ["serve", "--config", "-", "--listen", "127.0.0.1:0"];
    check(&["serve", "--listen", "nowhere"], "", 2, "--listen");
    check(&["serve", "--config", "/does/not/exist"], "", 2, "--config FILE");
    check(&serve, "role = main_server\nencryption_key =\n", 2, "standard input:2");
    check(&serve, "role = main_server\nencryption_key =\n", 2, "main-server new-master-key");
    check(&serve, &config("redis_prt = 1"), 2, "did you mean `redis_port`?");
    check(&serve, &config(""), 2, "--embedded");
    check(
        &serve,
        &config("main_server_endpoint = http://localhost/healthz\npg_connection_string = x=1"),
        2,
        "",
    );
    let host = format!(
        "role = host\nmain_server_endpoint = http://localhost/p\nencryption_key = p2p-host:k1:7:{SECRET}\n"
    );
    check(&serve, &host, 2, "role = main_server");
    let unreachable = config("pg_connection_string = postgresql://u:canary@127.0.0.1:1/x");
    check(&serve, &unreachable, 3, "see that it runs");
    let rules = std::env::temp_dir().join(format!("p2p-rules-{}.json", std::process::id()));
    std::fs::write(&rules, "{\n  \"maps\": { \"default\": { \"columns\": 0 } } }").unwrap();
    let embedded = ["serve", "--config", "-", "--embedded", "--rules", rules.to_str().unwrap()];
    check(&embedded, &config(""), 2, "0 is not within 1 to 65536");
    check(&embedded, &config(""), 2, ".json:2:");
    std::fs::remove_file(&rules).unwrap();
    check(&embedded, &config(""), 2, "`default` for those built in");
    let serve_rules = ["serve", "--config", "-", "--embedded"];
    check(&serve_rules, &config("validation_rules = /does/not/exist"), 2, "--> /does/not/exist");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--config", "-", "--embedded", "--listen", &address];
    check(&serve, &config(""), 1, "is another program there?");
}

#[test]
fn keys_are_made_in_the_form_that_configurations_take() {
    let (status, text, _) = output(&["new-master-key", "--key-id", "autumn-26"], "");
    let master: MasterKey = text.trim_end().parse().unwrap();
    assert_eq!((status, master.id().as_str()), (Some(0), "autumn-26"));
    let (_, other, _) = output(&["new-master-key", "--key-id", "autumn-26"], "");
    assert_ne!(text, other);
    let config = format!("role = main_server\nencryption_key = {text}");
    let (status, key, log) = output(&["issue-host-key", "--config", "-", "--account", "7"], &config);
    let key: HostKey = key.trim_end().parse().unwrap();
    assert_eq!((status, log.as_str()), (Some(0), ""));
    assert_eq!(key.to_text(), master.host_key(key.account()).to_text());
    assert_eq!(key.account().0, 7);
    assert_eq!(output(&["new-master-key", "--key-id", "NO"], "").0, Some(2));
    let (status, help, _) = output(&["--help"], "");
    assert_eq!(status, Some(0));
    assert!(help.contains("main-server issue-host-key --config p2p_data_sync.conf --account 2000001"));
}
