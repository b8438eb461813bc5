//! Users: what the specification's quick test writes at one node and reads at another.

use std::sync::Arc;

use argon2::Argon2;
use argon2::PasswordHasher as _;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use zeroize::Zeroizing;

use super::Api;
use super::answer::{Answer, ApiError, body, ok};
use super::tables::{Part, PartQuery, rows};
use crate::peer_sync::announcement::iso_text;
use crate::peer_sync::content::Content;
use crate::peer_sync::interface::changes;
use crate::peer_sync::interface::user::{self, Registration};
use crate::runtime::wall_clock;

/// Where the next page of users begins.
const NEXT_HEADER: &str = "p2p-next";

pub(super) async fn register(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let registration = Registration::read(&body(request).await?)?;
    let table = api.table(user::TABLE)?;
    let hash = hash(&api, registration.password.clone()).await?;
    let id = user::uuid(random()?);
    let statement = registration.statement(table, &id, &hash, &iso_text(wall_clock()));
    let mut columns = vec![None; table.columns.len()];
    for (place, text) in &statement.columns {
        if let Some(column) = columns.get_mut(*place) {
            column.clone_from(text);
        }
    }
    api.database.write(vec![statement]).await?;
    ok(&user::show(table, &Content::new(columns.iter().map(Option::as_deref))))
}

pub(super) async fn list(State(api): State<Arc<Api>>, query: PartQuery) -> Answer {
    let part = Part::of(query)?;
    let table = api.table(user::TABLE)?;
    let (rows, more) = rows(&api, user::TABLE, None, &part).await?;
    let users: Vec<_> =
        rows.iter().filter_map(|row| Some(user::show(table, row.visible.as_ref()?))).collect();
    let mut response = ok(&users)?;
    if let Some(last) = rows.last().filter(|_| more)
        && let Ok(next) = HeaderValue::try_from(changes::cursor(&last.stored.row.key))
    {
        response.headers_mut().insert(NEXT_HEADER, next);
    }
    Ok(response)
}

/// Argon2id with the parameters that its crate recommends, beside the threads that wait for sockets.
async fn hash(api: &Api, password: Zeroizing<String>) -> Result<String, ApiError> {
    let busy = || ApiError::unavailable("too many are registering; try again");
    let waiting = Arc::clone(&api.hashing_waits).try_acquire_owned().map_err(|_| busy())?;
    let turn = Arc::clone(&api.hashing).acquire_owned().await.map_err(|_| busy())?;
    let salt = random()?;
    let hashed = tokio::task::spawn_blocking(move || {
        // Kept until it is hashed, even if nobody waits for it any more: a client that hangs up ends only the waiting.
        let _kept = (waiting, turn);
        Some(Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).ok()?.to_string())
    });
    hashed.await.ok().flatten().ok_or_else(|| ApiError::unavailable("the password could not be hashed"))
}

fn random() -> Result<[u8; 16], ApiError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| ApiError::unavailable("the system gives no random bytes"))?;
    Ok(bytes)
}
