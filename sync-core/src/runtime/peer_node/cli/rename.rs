//! `peer-node rename`: another name for a database.

use clap::Args;

use super::serve::{exit_code, read_schema, refused};
use super::{EnvironmentArguments, FAILED, INVALID, complain, say};
use crate::config::peer::{ENVIRONMENT, PeerConfig};
use crate::diagnostic::Diagnostic;
use crate::peer_sync::schema::Schema;
use crate::peer_sync::version::NodeId;
use crate::runtime::peer_node::database::PostgresDatabase;
use crate::runtime::peer_store::{PeerStore, PeerStoreOptions};
use crate::secret::Secret;

/// `peer-node rename`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct RenameArguments {
    /// The variables; `NODE_NAME` is not used.
    #[command(flatten)]
    environment: EnvironmentArguments,
    /// The new name: 1 to 64 characters out of `A-Z a-z 0-9 _ - .`
    name: String,
}

/// Gives the database another name and a life of its own. The exit code.
pub(super) fn rename(arguments: &RenameArguments) -> u8 {
    let Some(config) = arguments.environment.resolve() else { return INVALID };
    let Ok(name) = NodeId::new(&arguments.name) else {
        complain(&"error: a name is 1 to 64 characters out of `A-Z a-z 0-9 _ - .`");
        return INVALID;
    };
    let schema = match read_schema(&config) {
        Ok(schema) => schema,
        Err(found) => {
            complain(&found);
            return INVALID;
        }
    };
    let Some(url) = &config.database_url else {
        let help = "name the database that is to get another name";
        complain(&Diagnostic::file_error(ENVIRONMENT, "DATABASE_URL is not given", help));
        return INVALID;
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(carry_out(&config, url, schema, name)).unwrap_or_else(|code| code),
        Err(error) => {
            complain(&format_args!("error: no thread to work with: {error}"));
            FAILED
        }
    }
}

async fn carry_out(
    config: &PeerConfig,
    url: &Secret<String>,
    schema: Schema,
    name: NodeId,
) -> Result<u8, u8> {
    let known = PostgresDatabase::node_name(url).await.map_err(|error| refused(&error))?;
    let Some(old) = known else {
        complain(
            &"error: this database is no peer's yet: start a node on it under the name that it is to have",
        );
        return Err(INVALID);
    };
    if old == name {
        say(&format!("{name} is its name already"));
        return Ok(0);
    }
    let store = PeerStore::connect(url, schema, old.clone(), PeerStoreOptions::default()).await;
    let store = store.map_err(|error| refused(&error))?;
    store.rename(name.clone()).await.map_err(|error| {
        complain(&format_args!(
            "error: {old} keeps its name: {error}; is a transaction open that has written?"
        ));
        exit_code(&error)
    })?;
    say(&format!("{old} is {name} from now on"));
    if config.node_name.as_ref().is_some_and(|given| *given != name) {
        complain(&format_args!("set NODE_NAME={name} before the next start"));
    }
    Ok(0)
}
