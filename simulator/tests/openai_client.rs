//! The official Python client (PyPI `openai`) gets vectors from the mock. Needs Python and a registry that pip can reach;
//! without them the test says that it was skipped, and ci/test passes that on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "it says when it was skipped")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "another program lives in real time")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Python with the client, in an environment of its own that is kept between runs.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openai-client");
    let python = folder.join("bin/python");
    let has_client = |python: &Path| succeeds(Command::new(python).args(["-c", "import openai"])).is_ok();
    if !has_client(&python) {
        succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "openai"];
        succeeds(Command::new(&python).args(pip))?;
    }
    Ok(python)
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn the_official_client_gets_vectors_as_openai_and_as_azure() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            println!("SKIPPED: the official Python client of OpenAI: it cannot be installed: {why}");
            return;
        }
    };
    let mut mock = Command::new(env!("CARGO_BIN_EXE_p2psim"))
        .args(["mock", "embeddings", "--key", "canary"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(mock.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai_client.py");
    let output = Command::new(python).arg(script).args([address, "canary"]).output().unwrap();
    mock.kill().unwrap();
    mock.wait().unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    println!("{}", said.trim());
}
