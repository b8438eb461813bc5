//! Parts of a rig in processes of their own, so that they can be killed.
//!
//! A child is this same program under another subcommand. It is sent a text on its standard input, says on
//! its standard output when it is ready, and ends with this process, because its standard input does (see
//! [`parent`]). It is in a process group of its own: an interrupt from the terminal reaches
//! this process alone, which ends its children in the order it wants.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sync_core::secret::Secret;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::one_line;
use super::{LiveError, parent};

/// A process that was started from here. Dropped, it is killed.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: tokio::process::Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    last_words: LastWords,
    printed: Printed,
}

/// How a child is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnOptions {
    /// How long its ready line is waited for.
    pub ready: Duration,
    /// Whether it is killed when the handle is dropped. Otherwise it only finds its standard input closed.
    pub kill_on_drop: bool,
}

impl Default for SpawnOptions {
    fn default() -> Self {
        Self { ready: READY, kill_on_drop: true }
    }
}

impl Child {
    /// Starts this program with these arguments, sends it the text as [`parent::text`] reads it, and waits
    /// until `ready` makes something of a line of its standard output.
    pub async fn spawn<T>(
        arguments: &[&str],
        stdin_text: Option<Secret<String>>,
        ready: impl Fn(&str) -> Option<T>,
    ) -> Result<(Self, T), LiveError> {
        Self::spawn_with(SpawnOptions::default(), arguments, stdin_text, ready).await
    }

    /// As [`spawn`](Self::spawn), with options.
    pub async fn spawn_with<T>(
        options: SpawnOptions,
        arguments: &[&str],
        stdin_text: Option<Secret<String>>,
        ready: impl Fn(&str) -> Option<T>,
    ) -> Result<(Self, T), LiveError> {
        let name = arguments.iter().take_while(|word| !word.starts_with('-')).last().unwrap_or(&"child");
        let failed = |cause: String| LiveError::Child { name: (*name).to_owned(), cause: one_line(&cause) };
        let program = program().map_err(|error| failed(format!("this program is not found: {error}")))?;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(options.kill_on_drop)
            .spawn()
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        let stdin = process.stdin.take();
        let (lines_to, lines) = mpsc::channel(LINES_MAX);
        let printed = Printed::default();
        if let Some(stdout) = process.stdout.take() {
            let printed = printed.clone();
            tokio::spawn(forward(BufReader::new(stdout), move |line| {
                printed.push(&line);
                // Lines that nobody takes are dropped, so that the child is never held up by them.
                let _ = lines_to.try_send(line);
            }));
        }
        let last_words = LastWords::default();
        if let Some(stderr) = process.stderr.take() {
            let (words, printed) = (last_words.clone(), printed.clone());
            tokio::spawn(forward(BufReader::new(stderr), move |line| {
                printed.push(&line);
                words.push(line);
            }));
        }
        let mut child = Self { name: (*name).to_owned(), process, stdin, lines, last_words, printed };
        let deadline = Instant::now() + options.ready;
        let begun = timeout_at(deadline, child.begin(stdin_text, ready)).await;
        let cause = match begun {
            Ok(Ok(value)) => return Ok((child, value)),
            Ok(Err(cause)) => cause,
            Err(_) => format!("not ready within {} s", options.ready.as_secs()),
        };
        let _ = child.process.start_kill();
        Err(child.explain(&cause).await)
    }

    /// The process id; `None` once the process was waited for.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Sends a line.
    pub async fn send(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        stdin.flush().await
    }

    /// The next line of its standard output; `None` when there will be none. Of lines that are not taken
    /// the first 1,024 are kept.
    pub async fn line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Closes its standard input, which to the child is this process's end.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The last lines that it wrote to its standard error, oldest first.
    pub fn last_words(&self) -> Vec<String> {
        self.last_words.lines()
    }

    /// What it prints, on both streams; more may come as long as it runs.
    pub fn printed(&self) -> Printed {
        self.printed.clone()
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// SIGSTOP or, when it is to go on, SIGCONT.
    ///
    /// # Errors
    /// Those of the system.
    pub fn freeze(&self, freeze: bool) -> io::Result<()> {
        let signal = if freeze { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        self.signal(signal)
    }

    /// SIGKILL: ends it as a crash does, and waits until it is gone.
    pub async fn kill9(mut self) -> io::Result<ExitStatus> {
        self.process.start_kill()?;
        self.process.wait().await
    }

    /// SIGTERM, and SIGKILL if it has not ended within the bound.
    pub async fn terminate(mut self, bound: Duration) -> io::Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        match timeout(bound, self.process.wait()).await {
            Ok(status) => status,
            Err(_) => self.kill9().await,
        }
    }

    fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok());
        match pid.and_then(rustix::process::Pid::from_raw) {
            // The process has not been waited for, so its id is still its own.
            Some(pid) => Ok(rustix::process::kill_process(pid, signal)?),
            None => Ok(()),
        }
    }

    /// Waits until it ends by itself. Its standard input stays open.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let stdin = self.stdin.take();
        let status = self.process.wait().await;
        self.stdin = stdin;
        status
    }

    async fn begin<T>(
        &mut self,
        text: Option<Secret<String>>,
        ready: impl Fn(&str) -> Option<T>,
    ) -> Result<T, String> {
        if let (Some(text), Some(stdin)) = (text, &mut self.stdin) {
            let framed = parent::frame(&text);
            let sent = async {
                stdin.write_all(framed.expose()).await?;
                stdin.flush().await
            };
            sent.await.map_err(|error| format!("ended before it took its input: {error}"))?;
        }
        while let Some(line) = self.lines.recv().await {
            if let Some(value) = ready(&line) {
                return Ok(value);
            }
        }
        Err("ended before it was ready".to_owned())
    }

    /// An error with the exit code and the last words of a child that ends.
    pub(super) async fn explain(&mut self, cause: &str) -> LiveError {
        let mut text = cause.to_owned();
        if let Ok(Ok(status)) = timeout(LAST_WORDS_WAIT, self.process.wait()).await {
            text += &format!(" ({status})");
            // What it wrote at the very end is still on its way.
            tokio::time::sleep(LAST_WORDS_PAUSE).await;
        }
        let words = self.last_words();
        if !words.is_empty() {
            text += &format!(": {}", words.join(" | "));
        }
        LiveError::Child { name: self.name.clone(), cause: one_line(&text) }
    }
}

/// Names the program to start as a child instead of this one: for tests, which are not `p2psim` themselves,
/// and for programs that use this library. Only the first call has an effect.
pub fn use_program(path: impl Into<PathBuf>) {
    let _ = PROGRAM.set(path.into());
}

fn program() -> io::Result<PathBuf> {
    PROGRAM.get().cloned().map_or_else(std::env::current_exe, Ok)
}

/// Takes lines to the end of the stream; one that is longer than the bound comes in parts.
async fn forward(mut stream: impl AsyncBufRead + Unpin, take: impl Fn(String)) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let taken = (&mut stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await;
        match taken {
            Ok(0) | Err(_) => return,
            Ok(_) => take(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()),
        }
    }
}

/// The lines that a child printed, on both streams, as far as they are kept: of a child that prints more than 4 MiB
/// the first of them. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Printed(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    bytes: usize,
}

impl Printed {
    /// Those so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).lines.clone()
    }

    fn push(&self, line: &str) {
        let mut kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if kept.bytes < PRINTED_BYTES_MAX {
            kept.bytes += line.len() + LINE_COST_BYTES;
            kept.lines.push(line.to_owned());
        }
    }
}

#[derive(Clone, Debug, Default)]
struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if lines.len() == LAST_WORDS_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter().cloned().collect()
    }
}

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

const READY: Duration = Duration::from_secs(30);
const LINES_MAX: usize = 1_024;
const LINE_BYTES_MAX: u64 = 1 << 20;
const LAST_WORDS_MAX: usize = 20;
const PRINTED_BYTES_MAX: usize = 4 << 20;
/// What keeping a line costs beside its bytes.
const LINE_COST_BYTES: usize = 32;
const LAST_WORDS_WAIT: Duration = Duration::from_secs(2);
const LAST_WORDS_PAUSE: Duration = Duration::from_millis(50);
