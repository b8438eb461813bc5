//! Critical updates, as the main server learns of them.

use std::collections::VecDeque;

use tokio::time::sleep;

use super::SyncError;
use super::entries::answer;
use crate::cache::Notice;
use crate::config::Config;
use crate::data_type::SyncDataType;
use crate::host_sync::operation::Ask;
use crate::id::MapName;
use crate::limits;
use crate::runtime::backoff::Backoff;
use crate::runtime::driver::host::{Host, HostError, configured};
use crate::wire::updates::{SubscribeData, UpdatesPayload};
use crate::wire::{Kind, read, write};

/// Critical updates of some maps. Has a session of its own, so that its long polls take no slot from other
/// operations. Ends when dropped.
#[derive(Debug)]
pub struct CriticalUpdates {
    host: Host,
    maps: Vec<MapName>,
    types: Vec<u64>,
    position: Option<String>,
    notices: VecDeque<Notice>,
    next_ticket: u64,
    backoff: Backoff,
}

impl CriticalUpdates {
    pub(super) fn start(config: &Config, maps: &[&str], types: &[SyncDataType]) -> Result<Self, SyncError> {
        let maps = maps.iter().map(|map| MapName::new(map)).collect::<Result<_, _>>()?;
        let parts = configured::parts(config)?;
        Ok(Self {
            host: Host::start(parts.session(), parts.client, parts.options),
            maps,
            types: types.iter().map(|data_type| u64::from(data_type.wire())).collect(),
            position: None,
            notices: VecDeque::new(),
            next_ticket: 0,
            backoff: Backoff::default(),
        })
    }

    /// The next notice; the first is a gap. Waits for as long as it takes, through every loss of the connection
    /// and of the main server: what may have been missed meanwhile becomes a [`Notice::Gap`]. One update may come
    /// twice, and versions of one state in any order.
    ///
    /// # Errors
    /// When the main server refuses the subscription.
    pub async fn next(&mut self) -> Result<Notice, SyncError> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(notice);
            }
            match self.poll().await {
                Ok(()) => self.backoff = Backoff::default(),
                Err(error @ (SyncError::Rejected(_) | SyncError::Stopped | SyncError::Malformed)) => {
                    return Err(error);
                }
                // It could not be reached; from another server, or another life of this one, a gap will come.
                Err(_) => sleep(self.backoff.next_wait()).await,
            }
        }
    }

    async fn poll(&mut self) -> Result<(), SyncError> {
        let asked = SubscribeData {
            maps: self.maps.clone(),
            types: self.types.clone(),
            position: self.position.as_deref().map(Into::into),
            wait_ms: limits::SUBSCRIBE_WAIT_MAX.as_ms(),
        };
        let mut data = Vec::new();
        write(&asked, &mut data);
        let ask = Ask {
            ticket: self.next_ticket,
            kind: Kind::Subscribe,
            data_type: SyncDataType::MapState,
            map: MapName::new("")?,
            data: String::from_utf8(data).map_err(|_| SyncError::Malformed)?.into(),
            critical: false,
            priority: false,
        };
        self.next_ticket += 1;
        let outcome = match self.host.ask(ask).await {
            Ok(finished) => finished.outcome,
            Err(HostError::Refused(error)) => return Err(SyncError::Refused(error)),
            Err(_) => return Err(SyncError::Stopped),
        };
        let payload = answer(outcome)?.ok_or(SyncError::Malformed)?;
        let payload: UpdatesPayload<'_> = read(payload.as_bytes()).map_err(|_| SyncError::Malformed)?;
        if payload.gap {
            self.notices.push_back(Notice::Gap);
        }
        for update in &payload.updates {
            let publication = update.publication().map_err(|_| SyncError::Malformed)?;
            self.notices.push_back(Notice::Publication(publication));
        }
        self.position = Some(payload.position);
        Ok(())
    }
}
