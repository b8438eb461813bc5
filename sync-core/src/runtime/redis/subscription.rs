//! Following what is published, through every loss of the connection.

use std::sync::Arc;

use ::redis::Client;
use ::redis::aio::PubSub;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};

use super::publication;
use super::supervisor::Shared;
use crate::cache::Notice;
use crate::runtime::backoff::Backoff;
use crate::runtime::duration;

/// Publications in the order in which Redis took them. Ends when dropped.
#[derive(Debug)]
pub struct Subscription {
    notices: mpsc::Receiver<Notice>,
    task: JoinHandle<()>,
}

impl Subscription {
    /// The next notice. Waits for as long as it takes, Redis being away included.
    pub async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn start(shared: &Arc<Shared>) -> Subscription {
    let (sender, notices) = mpsc::channel(shared.options.subscription_messages_max.max(1));
    let follower = Follower {
        client: shared.client.clone(),
        channel: shared.channel.clone(),
        bound: duration(shared.options.response_timeout),
        ping_interval: duration(shared.options.ping_interval),
        sender,
        is_behind: true,
    };
    Subscription { notices, task: tokio::spawn(follower.follow()) }
}

struct Follower {
    client: Client,
    channel: String,
    bound: std::time::Duration,
    ping_interval: std::time::Duration,
    sender: mpsc::Sender<Notice>,
    /// Whether the subscriber has yet to be told of a gap.
    is_behind: bool,
}

impl Follower {
    async fn follow(mut self) {
        let mut backoff = Backoff::default();
        while !self.sender.is_closed() {
            if let Some(connection) = self.connect().await {
                backoff = Backoff::default();
                self.is_behind = true;
                self.forward(connection).await;
            }
            sleep(backoff.next_wait()).await;
        }
    }

    async fn connect(&self) -> Option<PubSub> {
        let open = async {
            let mut connection = self.client.get_async_pubsub().await.ok()?;
            connection.subscribe(&self.channel).await.ok()?;
            Some(connection)
        };
        timeout(self.bound.saturating_mul(2), open).await.ok()?
    }

    /// Passes messages on until the connection ends or answers no more.
    async fn forward(&mut self, connection: PubSub) {
        let (mut sink, mut messages) = connection.split();
        let mut ticks = interval(self.ping_interval);
        loop {
            self.catch_up();
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.pass_on(message.get_payload_bytes()),
                    None => return,
                },
                _ = ticks.tick() => {
                    if !matches!(timeout(self.bound, sink.ping::<::redis::Value>()).await, Ok(Ok(_))) {
                        return;
                    }
                }
                () = self.sender.closed() => return,
            }
        }
    }

    fn pass_on(&mut self, payload: &[u8]) {
        let publication = std::str::from_utf8(payload).ok().and_then(publication::parse);
        // A gap, or something that only another version can read.
        let Some(publication) = publication else {
            self.is_behind = true;
            return self.catch_up();
        };
        if self.is_behind || self.sender.try_send(Notice::Publication(publication)).is_err() {
            self.is_behind = true;
        }
    }

    fn catch_up(&mut self) {
        if self.is_behind && self.sender.try_send(Notice::Gap).is_ok() {
            self.is_behind = false;
        }
    }
}
