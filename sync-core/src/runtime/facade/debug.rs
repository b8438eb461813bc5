//! What `debug_mode` logs: what the session is told and does, by names and numbers. Never data, frames, keys or
//! addresses.

use crate::config::Config;
use crate::engine::Engine;
use crate::entropy::Entropy;
use crate::host_sync::codec::HostCodec;
use crate::host_sync::operation::Outcome;
use crate::host_sync::policy::SessionPolicy;
use crate::host_sync::session::{Session, SessionEffect, SessionInput};
use crate::runtime::driver::Tap;
use crate::time::Now;

/// What log filters know these lines by.
pub(super) const TARGET: &str = "p2p_data_sync";

/// Logs the settings in force, without secrets and without the main server's address.
pub(super) fn settings(config: &Config) {
    let text = config.to_masked_text();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("main_server_endpoint")).collect();
    tracing::debug!(target: TARGET, "settings in force:\n{}", lines.join("\n"));
}

/// Logs each call of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct DebugLog;

impl<C, E, P> Tap<Session<C, E, P>> for DebugLog
where
    C: HostCodec,
    E: Entropy,
    P: SessionPolicy,
{
    fn call(
        &mut self,
        now: Now,
        input: Option<&<Session<C, E, P> as Engine>::Input>,
        effects: &[<Session<C, E, P> as Engine>::Effect],
    ) {
        let at_us = now.monotonic.as_us();
        match input {
            Some(SessionInput::Ask(ask)) => tracing::debug!(
                target: TARGET,
                at_us,
                ticket = ask.ticket,
                kind = ask.kind.name(),
                data_type = %ask.data_type,
                map = %ask.map,
                bytes = ask.data.len(),
                "asked"
            ),
            Some(SessionInput::Answered { token, answer, .. }) => match answer {
                Ok(_) => tracing::debug!(target: TARGET, at_us, token = token.0, "answered"),
                Err(error) => tracing::debug!(target: TARGET, at_us, token = token.0, %error, "not answered"),
            },
            Some(SessionInput::ShutDown { drain }) => {
                tracing::debug!(target: TARGET, at_us, %drain, "shutting down");
            }
            Some(SessionInput::UseKeys(_)) => tracing::debug!(target: TARGET, at_us, "keys are replaced"),
            None => {}
        }
        effects.iter().for_each(|effect| log(at_us, effect));
    }
}

fn log<Q>(at_us: u64, effect: &SessionEffect<Q>) {
    match effect {
        SessionEffect::Accepted { ticket, operation } => {
            tracing::debug!(target: TARGET, at_us, ticket, %operation, "accepted");
        }
        SessionEffect::Refused { ticket, critical, error } => {
            tracing::debug!(target: TARGET, at_us, ticket, critical, %error, "refused");
        }
        SessionEffect::Send { token, operation, attempt, critical, .. } => {
            tracing::debug!(target: TARGET, at_us, token = token.0, %operation, attempt, critical, "sent");
        }
        SessionEffect::Finished { operation, critical, outcome, .. } => {
            tracing::debug!(target: TARGET, at_us, %operation, critical, outcome = word(outcome), "ended");
        }
        SessionEffect::Late { operation, success, .. } => {
            tracing::debug!(target: TARGET, at_us, %operation, success, "answered too late");
        }
        SessionEffect::Untrusted { token } => {
            tracing::debug!(target: TARGET, at_us, token = token.0, "an answer that is not authentic");
        }
        SessionEffect::Stopped { cut_short } => tracing::debug!(target: TARGET, at_us, cut_short, "stopped"),
    }
}

/// How it ended, without its payload.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Rejected(_) => "rejected",
        Outcome::DeadlineExceeded => "deadline exceeded",
        Outcome::Failed(_) => "failed",
        Outcome::Superseded => "superseded",
        Outcome::Displaced => "displaced",
        Outcome::ShutDown { .. } => "shut down",
    }
}
