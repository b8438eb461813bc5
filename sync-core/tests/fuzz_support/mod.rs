//! What is said to a peer from outside, as bytes: targets for a fuzzer, over the handlers of the ports and a database in
//! memory.
//!
//! Each input is told to a node without a shared key and to one with a key that the input does not know. What must hold:
//! nothing panics, nothing is answered 5xx, and an input that is refused leaves everything as it was: what the database
//! holds, what the engine shows of itself, and nobody was asked anything. `tests/it/peer_fuzz.rs` feeds them with mutated
//! messages; they need nothing of it, so that another fuzzer may do so, too.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a node lives in real time")]
#![allow(unreachable_pub, reason = "a module of its own in each program that feeds them")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod announcement;
mod http;
mod socket;
mod world;

use std::fmt;
use std::time::Duration;

use tokio::runtime::Runtime;

pub use world::{KEY, NODE, PEER, Plant, World, first_rows, schema, table};

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Requests to the two ports of HTTP: method, target, headers and body.
    Http,
    /// Datagrams at the discovery port.
    Announcement,
    /// What a client of the WebSocket says.
    Socket,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Http, Self::Announcement, Self::Socket];

    /// Names its folder in `fixtures/fuzz`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Announcement => "announcement",
            Self::Socket => "socket",
        }
    }
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Became {
    /// It was refused: nothing may have changed.
    Refused,
    /// It was answered, and only read: nothing may have changed either.
    Read,
    /// It may have changed something.
    Accepted,
}

/// What should not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding(pub String);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Feeds inputs to one target.
pub struct Fuzz {
    runtime: Runtime,
    target: Target,
    plant: Plant,
    /// Without a key, and with one. Used for as long as nothing was accepted.
    worlds: [Option<World>; 2],
}

/// How the names of threads begin that work for a fuzzer: who watches for panics knows them by it.
pub const THREAD: &str = "fuzz";

/// No single input takes nearly as long.
const INPUT_TIMEOUT: Duration = Duration::from_secs(20);

impl Fuzz {
    /// One over what `plant` makes of the database.
    pub fn with(target: Target, plant: Plant) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        // What it does beside itself is known by its own name.
        let name = std::thread::current().name().unwrap_or(THREAD).to_owned();
        let runtime = builder.thread_name(name).enable_all().build().unwrap();
        Self { runtime, target, plant, worlds: [None, None] }
    }

    /// Tells one input to both nodes, and says what became of it at the one without a key.
    ///
    /// # Errors
    /// What should not have happened.
    pub fn feed(&mut self, input: &[u8]) -> Result<Became, Finding> {
        let open = self.feed_to(0, input)?;
        self.feed_to(1, input)?;
        Ok(open)
    }

    fn feed_to(&mut self, place: usize, input: &[u8]) -> Result<Became, Finding> {
        let (target, plant, is_keyed) = (self.target, self.plant, place == 1);
        // Taken out, so that a world in which something panicked is not used again.
        let world = self.worlds[place].take();
        let told = async {
            let world = match world.filter(|world| !world.is_old()) {
                Some(world) => world,
                None => World::start(is_keyed, plant).await,
            };
            let before = world.asked();
            let became = match target {
                Target::Http => http::tell(&world, input).await?,
                Target::Announcement => announcement::tell(&world, input).await?,
                Target::Socket => socket::tell(&world, input).await?,
            };
            if became == Became::Accepted {
                return Ok((became, None));
            }
            world.is_unchanged().await?;
            match world.asked() == before {
                true => Ok((became, Some(world))),
                false => Err(Finding("it is refused, and yet somebody was asked something".to_owned())),
            }
        };
        let (became, world) = self.runtime.block_on(async {
            match tokio::time::timeout(INPUT_TIMEOUT, told).await {
                Ok(told) => told,
                Err(_) => Err(Finding(format!("no end within {INPUT_TIMEOUT:?}"))),
            }
        })?;
        self.worlds[place] = world;
        Ok(became)
    }
}
