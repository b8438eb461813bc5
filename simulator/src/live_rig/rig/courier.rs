//! Carries what the world sends to the real servers.

use std::sync::mpsc::Sender;

use sync_core::host_sync::sealed::Body;
use sync_core::runtime::driver::host::exchange_all;
use sync_core::runtime::http::HttpClient;
use sync_core::time::Span;
use tokio::runtime::Handle;

use crate::live_rig::EmbeddingMock;
use crate::live_rig::drive::{Arrival, Carrier};
use crate::live_rig::stage::Stage;
use crate::virtual_rig::outside::{Order, Outgoing};

/// Carries requests over HTTP, and orders to the stage.
pub(super) struct Courier<'a> {
    pub(super) runtime: Handle,
    pub(super) clients: Vec<HttpClient>,
    pub(super) world: Sender<Arrival>,
    pub(super) stage: &'a Stage,
    pub(super) provider: Option<&'a EmbeddingMock>,
}

impl Carrier for Courier<'_> {
    fn carry(&mut self, batch: Vec<Outgoing<Body>>) {
        let Some(server) = batch.first().map(|first| first.server) else { return };
        let (client, world) = (self.clients[server].clone(), self.world.clone());
        let (exchanges, bodies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|one| (one.exchange, one.request)).unzip();
        self.runtime.spawn(async move {
            let answers = exchange_all(&client, bodies, EXCHANGE).await;
            for (exchange, answer) in exchanges.into_iter().zip(answers) {
                let answer = answer.map_err(|failure| (failure.error, failure.retry_after));
                // The world may be over already.
                let _ = world.send(Arrival::Answer { exchange, answer });
            }
        });
    }

    fn order(&mut self, order: Order) {
        if let Some(provider) = self.provider {
            provider.order(&order);
        }
        self.stage.order(order);
    }
}

/// Longest exchange: longer than what a session waits for, so that a late reply is seen.
const EXCHANGE: Span = Span::from_secs(30);
