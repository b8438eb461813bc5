//! Makes keys. Printing them is what these commands are for.

use clap::Args;
use zeroize::Zeroizing;

use super::{ConfigArguments, FAILED, INVALID, complain, say};
use crate::envelope::{KEY_BYTES, KeyId, MasterKey};
use crate::id::AccountId;
use crate::secret::Secret;

/// `main-server issue-host-key`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct IssueHostKeyArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The account that the host acts for.
    #[arg(long, value_name = "N")]
    account: u32,
}

/// `main-server new-master-key`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct NewMasterKeyArguments {
    /// The key's name, 1 to 32 of `a-z 0-9 -`: unlike that of any other key in use.
    #[arg(long, value_name = "ID", default_value = "k1")]
    key_id: KeyId,
}

/// Prints the host's key, derived from the key that seals.
pub(super) fn issue_host_key(arguments: &IssueHostKeyArguments) -> u8 {
    let Some(config) = arguments.config.read() else { return INVALID };
    match config.encryption_key.expose().parse::<MasterKey>() {
        Ok(master) => {
            say(master.host_key(AccountId(arguments.account)).to_text().expose());
            0
        }
        Err(error) => {
            complain(&format_args!("error: `encryption_key`: {error}"));
            INVALID
        }
    }
}

/// Prints a master key out of the system's randomness.
pub(super) fn new_master_key(arguments: &NewMasterKeyArguments) -> u8 {
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    if let Err(error) = getrandom::fill(&mut *secret) {
        complain(&format_args!("error: the system gives no random bytes: {error}"));
        return FAILED;
    }
    let key = MasterKey::new(arguments.key_id, Secret::new(*secret));
    say(key.to_text().expose());
    0
}
