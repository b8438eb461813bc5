//! The proxy's process: links are made, then lines are taken one after another.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::link::Link;
use super::model::{Answer, Ready, Request, Setup, Verb};
use crate::draw::Draws;
use crate::live_rig::{limits, parent};

/// Runs a fault proxy until the standard input ends. Must be called within a tokio runtime with I/O and time.
pub async fn serve() -> io::Result<()> {
    limits::raise_open_files();
    let text = parent::text()?;
    let setup: Setup = serde_json::from_str(text.expose()).map_err(io::Error::other)?;
    let mut links = BTreeMap::new();
    for (index, spec) in (0..).zip(setup.links) {
        let link = Link::open(index, spec.upstream, Draws::new(setup.seed)).await?;
        if links.insert(spec.name.clone(), link).is_some() {
            return Err(io::Error::other(format!("two links are named {}", spec.name)));
        }
    }
    let mut lines = parent::lines()?;
    let listening = links.iter().map(|(name, link)| (name.clone(), link.listening())).collect();
    parent::announce(&serde_json::to_string(&Ready { listening })?)?;
    while let Some(line) = lines.recv().await {
        let answer = match serde_json::from_str(&line) {
            Ok(request) => answer(&links, request).await,
            Err(error) => Answer::Refused(format!("the line cannot be read: {error}")),
        };
        parent::announce(&serde_json::to_string(&answer)?)?;
    }
    Ok(())
}

async fn answer(links: &BTreeMap<String, Arc<Link>>, request: Request) -> Answer {
    let Some(link) = links.get(&request.link) else {
        return Answer::Refused(format!("there is no link {}", request.link));
    };
    match request.verb {
        Verb::Set(behaviour) => match behaviour.check() {
            Ok(()) => link.set(behaviour),
            Err(reason) => return Answer::Refused(reason),
        },
        Verb::Cut => link.end_connections(false).await,
        Verb::Reset => link.end_connections(true).await,
        Verb::SetUpstream(upstream) => link.set_upstream(upstream),
        Verb::Statistics => return Answer::Statistics(link.statistics()),
    }
    Answer::Done
}
