//! The server's part in hosting: reports of hosts, checks of their health, and findings about their data.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Exchange, Server, ServerEffect, Status, Work};
use crate::data_type::SyncDataType;
use crate::entropy::Entropy;
use crate::host_sync::codec::ServerCodec;
use crate::host_sync::hosting::{AssignmentsPayload, Report};
use crate::host_sync::validate::data::{self, Finding};
use crate::host_sync::validate::{Refusal, bounded, refusal};
use crate::limits;
use crate::store::hosting::HostReport;
use crate::store::validation::{SecurityValidation, ValidationType};
use crate::store::{Applied, Apply, StoreError, StoreReply, StoreRequest, Verdict};
use crate::time::{Instant, Now};
use crate::wire::{ErrorCode, Rejection, Request};

/// What the server keeps of hosting beside what the store decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosting {
    /// When silent hosts are looked for next.
    pub(super) next_check: Option<Instant>,
    /// Reports that wait for a batch, the oldest first.
    reports: VecDeque<Waiting>,
    /// Whether a batch of reports is on its way.
    reporting: bool,
    /// Findings that wait to be kept.
    findings: Vec<SecurityValidation>,
    /// Whether findings are on their way.
    recording: bool,
}

/// A report that waits: its exchange, and when it came.
#[derive(Clone, Debug)]
struct Waiting {
    exchange: usize,
    came: Instant,
    report: HostReport,
}

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    /// Takes a host's report; it goes to the store with the next batch of them.
    pub(super) fn report(
        &mut self,
        now: Now,
        exchange: Exchange,
        request: &Request,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let report = match Report::read(&request.data) {
            Ok(report) => report,
            Err(invalid) => {
                let rejection =
                    Rejection { code: ErrorCode::MalformedData, message: invalid.to_string().into() };
                let refusal = refusal(&self.settings, now.wall, request, rejection);
                return self.refuse(now, &exchange, refusal, effects);
            }
        };
        let account = exchange.operation.account;
        let report = HostReport { account, metrics: report.metrics, maps: report.maps };
        let exchange = self.exchanges.insert(exchange);
        self.hosting.reports.push_back(Waiting { exchange, came: now.monotonic, report });
    }

    /// Sends the reports that wait, one batch at a time: however many hosts there are, and however long the database
    /// takes for them, writes keep their connections. What has waited too long is answered 429.
    pub(super) fn send_reports(&mut self, now: Now, effects: &mut Vec<ServerEffect<C::Reply>>) {
        if self.hosting.reporting {
            return;
        }
        let stale = |first: &mut Waiting| now.monotonic.since(first.came) > limits::GATHERING_MAX;
        while let Some(Waiting { exchange, .. }) = self.hosting.reports.pop_front_if(stale) {
            self.counters.overloaded += 1;
            let token = self.exchanges.remove(exchange).token;
            effects.push(ServerEffect::Reply { token, reply: Err(Status::Overloaded) });
        }
        let size = self.hosting.reports.len().min(limits::REPORTS_BATCH_MAX);
        if size == 0 {
            return;
        }
        let batch = self.hosting.reports.drain(..size);
        let (exchanges, reports): (Vec<_>, Vec<_>) = batch.map(|w| (w.exchange, w.report)).unzip();
        self.hosting.reporting = true;
        let token = self.begin(Work::Reports { exchanges });
        let request = StoreRequest::ReportHosts(Arc::new(reports));
        effects.push(ServerEffect::Store { token, request });
    }

    /// Reports were taken: the hosts learn which parts they play. Or the database is away.
    pub(super) fn reported(
        &mut self,
        now: Now,
        exchanges: Vec<usize>,
        answer: Result<StoreReply, StoreError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        self.hosting.reporting = false;
        match answer {
            Ok(StoreReply::Reported { assignments, .. }) if assignments.len() == exchanges.len() => {
                for (slot, assignments) in exchanges.into_iter().zip(assignments) {
                    let exchange = self.exchanges.remove(slot);
                    let payload = AssignmentsPayload::of(&assignments).to_json();
                    self.reply(now, &exchange, Ok(Some(payload)), effects);
                }
            }
            _ => exchanges.into_iter().for_each(|slot| self.unavailable(slot, effects)),
        }
    }

    /// Answers a request that is not taken, and keeps what was found.
    pub(super) fn refuse(
        &mut self,
        now: Now,
        exchange: &Exchange,
        refusal: Refusal,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        self.counters.rejected += 1;
        refusal.finding.into_iter().for_each(|finding| self.find(finding));
        self.reply(now, exchange, Err(refusal.rejection), effects);
    }

    /// Looks for silent hosts when it is time to.
    pub(super) fn check_hosts(&mut self, now: Now, effects: &mut Vec<ServerEffect<C::Reply>>) {
        let Some(interval) = self.settings.health_check else { return };
        let due = *self.hosting.next_check.get_or_insert(now.monotonic + interval);
        if due <= now.monotonic {
            let token = self.begin(Work::Sweep);
            effects.push(ServerEffect::Store { token, request: StoreRequest::SweepHosts });
            self.hosting.next_check = Some(now.monotonic + interval);
        }
    }

    /// Hosts were dropped. There may be more: the next check comes at once.
    pub(super) fn swept(&mut self, now: Now, answer: &Result<StoreReply, StoreError>) {
        if matches!(answer, Ok(StoreReply::Swept { dropped, .. }) if *dropped >= limits::HOSTS_DROPPED_MAX as u64)
        {
            self.hosting.next_check = Some(now.monotonic);
        }
    }

    /// Takes a finding to be kept. Findings gather while others are on their way; past the bound they are counted
    /// only: who floods the server with invalid data must not fill its memory.
    fn find(&mut self, finding: SecurityValidation) {
        if self.hosting.findings.len() < limits::VALIDATIONS_WAITING_MAX {
            self.hosting.findings.push(finding);
        } else {
            self.counters.findings_dropped += 1;
        }
    }

    /// Keeps what a batch tells of hosts: what they found themselves, and what the store refused of them.
    pub(super) fn note(&mut self, now: Now, operations: &[Apply], applied: &[Applied]) {
        for (operation, answer) in operations.iter().zip(applied).filter(|(_, answer)| !answer.duplicate) {
            let account = operation.operation.account;
            let (validation, is_valid, details) = match answer.verdict {
                Verdict::Applied { .. } if operation.data_type == SyncDataType::SecurityValidation => {
                    let own = |found: &Finding| {
                        found.host_id == u64::from(account.0) && found.map_name == operation.map.as_str()
                    };
                    let Some(found) = data::finding(&operation.data).filter(own) else { continue };
                    (found.validation_type, found.result, "found by the host".to_owned())
                }
                Verdict::Applied { .. } | Verdict::OutOfOrder { .. } => continue,
                Verdict::Fenced { epoch } => (
                    ValidationType::AccountRights,
                    false,
                    format!("not the primary of the map, in epoch {epoch}"),
                ),
                Verdict::Unreachable { .. } => {
                    (ValidationType::PlayerMovement, false, reason(answer.verdict))
                }
                Verdict::TooOften { rule, .. } => (rule.validation(), false, reason(answer.verdict)),
            };
            let details = bounded(&details).into();
            let (map, at) = (operation.map.clone(), now.wall);
            self.find(SecurityValidation { account, map, validation, is_valid, details, at });
        }
    }

    /// Sends what was found on its way, one request at a time.
    pub(super) fn record(&mut self, effects: &mut Vec<ServerEffect<C::Reply>>) {
        if self.hosting.recording || self.hosting.findings.is_empty() {
            return;
        }
        self.hosting.recording = true;
        let findings = Arc::new(std::mem::take(&mut self.hosting.findings));
        let token = self.begin(Work::Record { findings: findings.len() as u64 });
        effects.push(ServerEffect::Store { token, request: StoreRequest::RecordValidations(findings) });
    }

    /// Findings were kept, or are lost with a database that is away.
    pub(super) fn recorded(&mut self, findings: u64, answer: &Result<StoreReply, StoreError>) {
        self.hosting.recording = false;
        if answer.is_err() {
            self.counters.findings_dropped += findings;
        }
    }
}

fn reason(verdict: Verdict) -> String {
    rejection(verdict).map_or_else(String::new, |rejection| rejection.message.to_string())
}

/// Why the store refused an operation, for its host; `None` when it took effect.
pub(super) fn rejection(verdict: Verdict) -> Option<Rejection> {
    let (code, message) = match verdict {
        Verdict::Applied { .. } => return None,
        Verdict::OutOfOrder { last } => {
            (ErrorCode::OutOfOrder, format!("sequence {last} of this map and type took effect before"))
        }
        Verdict::Fenced { epoch } => (
            ErrorCode::Fenced,
            format!(
                "the map is in epoch {epoch}, and this account is not its primary: report, and see the reply"
            ),
        ),
        Verdict::Unreachable { cells, cells_max } => (
            ErrorCode::RuleViolated,
            format!(
                "PLAYER_MOVEMENT movement.cells_per_second_max: {cells} cells from the last position, at most {cells_max} by now"
            ),
        ),
        Verdict::TooOften { rule, wait_ms } => {
            (ErrorCode::RuleViolated, format!("{}: too soon by {wait_ms} ms", rule.name()))
        }
    };
    Some(Rejection { code, message: message.into() })
}
