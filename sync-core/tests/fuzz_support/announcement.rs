//! Datagrams.

use super::world::{FROM, World};
use super::{Became, Finding};

/// An announcement names a port at most: whoever is asked is asked where the datagram came from, and with a key set
/// nothing that is not signed leads to any question.
pub(super) async fn tell(world: &World, datagram: &[u8]) -> Result<Became, Finding> {
    let already = world.asked().len();
    let is_heeded = world.ports.announced(FROM.ip(), datagram);
    if !is_heeded {
        return Ok(Became::Refused);
    }
    if world.is_keyed {
        return Err(Finding("a datagram that nobody with the key has just signed is heeded".to_owned()));
    }
    world.settle().await;
    world.has_its_rows("an announcement is no write")?;
    let from = FROM.ip().to_string();
    match world.asked()[already..].iter().find(|asked| asked.host.as_str() != from) {
        Some(elsewhere) => Err(Finding(format!("{elsewhere} is asked because of a datagram from {from}"))),
        None => Ok(Became::Accepted),
    }
}
