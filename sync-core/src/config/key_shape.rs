//! The shape of a key's text form, as far as a configuration can judge it.
//!
//! Parsing a text to a key that seals and opens is the envelope's. Here it is only checked that the
//! text is one key of the right kind, so that a mistake is found with its line and column.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use super::Role;
use crate::limits;

/// What a key's text form says beside its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyShape {
    pub(super) id: String,
    /// A host's key only.
    pub(super) account: Option<u32>,
}

/// Why a text is no key of the kind that a role needs. The text itself is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum KeyShapeError {
    #[error("a master key in a host's file")]
    MasterAtHost,
    #[error("a host's key in the main server's file")]
    HostAtMainServer,
    #[error("not a key in its text form")]
    Form,
    #[error("a key id has 1 to {} characters out of `a-z 0-9 -`", limits::KEY_ID_BYTES_MAX)]
    Id,
    #[error("the account id of a host's key is a whole number below 2^32")]
    Account,
    #[error("the last part of a key is the base64 of exactly 32 bytes (44 characters)")]
    Material,
}

impl KeyShapeError {
    /// What to do about it at a main server or host.
    pub(super) fn help(self, role: Role) -> String {
        match self {
            Self::MasterAtHost => format!(
                "whoever reads it can forge every host: take it out, replace it at the main server, and {}",
                how_to_make(role)
            ),
            Self::HostAtMainServer => {
                format!("a host's file says `role = host`; for a main server, {}", how_to_make(role))
            }
            _ => how_to_make(role),
        }
    }
}

/// How to come to a key.
pub(super) fn how_to_make(role: Role) -> String {
    match role {
        Role::Host => String::from(
            "make one at the main server with `main-server issue-host-key --account N`; \
             it reads `p2p-host:<key id>:<account id>:<base64 of 32 bytes>`",
        ),
        Role::MainServer => String::from(
            "make one with `main-server new-master-key`; it reads `p2p-master:<key id>:<base64 of 32 bytes>`",
        ),
    }
}

/// Checks the form that the keys of a role have.
pub(super) fn check(text: &str, role: Role) -> Result<KeyShape, KeyShapeError> {
    let mut parts = text.split(':');
    match (parts.next(), role) {
        (Some("p2p-master"), Role::MainServer) | (Some("p2p-host"), Role::Host) => {}
        (Some("p2p-master"), Role::Host) => return Err(KeyShapeError::MasterAtHost),
        (Some("p2p-host"), Role::MainServer) => return Err(KeyShapeError::HostAtMainServer),
        _ => return Err(KeyShapeError::Form),
    }
    let id = parts.next().ok_or(KeyShapeError::Form)?;
    let account = match role {
        Role::Host => Some(parts.next().ok_or(KeyShapeError::Form)?),
        Role::MainServer => None,
    };
    let (Some(material), None) = (parts.next(), parts.next()) else { return Err(KeyShapeError::Form) };
    let in_id = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if id.is_empty() || id.len() > limits::KEY_ID_BYTES_MAX || !id.bytes().all(in_id) {
        return Err(KeyShapeError::Id);
    }
    let account = account.map(|text| decimal(text).ok_or(KeyShapeError::Account)).transpose()?;
    if !is_base64_of_32_bytes(material) {
        return Err(KeyShapeError::Material);
    }
    Ok(KeyShape { id: id.to_owned(), account })
}

/// Whether the text is standard base64, with padding, of exactly 32 bytes.
pub(super) fn is_base64_of_32_bytes(text: &str) -> bool {
    let mut bytes = Zeroizing::new([0_u8; 48]);
    text.len() == 44 && STANDARD.decode_slice(text, bytes.as_mut_slice()) == Ok(32)
}

/// One canonical form: no sign, no leading zero.
fn decimal(text: &str) -> Option<u32> {
    let canonical = text == "0" || !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    canonical.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATERIAL: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_key_has_the_shape_of_its_role() {
        let check_ok = |text: String, role, id: &str, account| {
            assert_eq!(check(&text, role), Ok(KeyShape { id: id.to_owned(), account }));
        };
        check_ok(format!("p2p-master:k-1:{MATERIAL}"), Role::MainServer, "k-1", None);
        check_ok(format!("p2p-host:k:0:{MATERIAL}"), Role::Host, "k", Some(0));
        check_ok(format!("p2p-host:k:4294967295:{MATERIAL}"), Role::Host, "k", Some(u32::MAX));
    }

    #[test]
    fn a_key_is_refused_for_a_stated_reason() {
        use KeyShapeError::{Account, Form, HostAtMainServer, Id, MasterAtHost, Material};
        let refused = |text: String, role, expected| assert_eq!(check(&text, role), Err(expected), "{text}");
        refused(format!("p2p-master:k:{MATERIAL}"), Role::Host, MasterAtHost);
        refused(format!("p2p-host:k:1:{MATERIAL}"), Role::MainServer, HostAtMainServer);
        refused(MATERIAL.to_owned(), Role::MainServer, Form);
        refused(String::from("p2p-master"), Role::MainServer, Form);
        refused(String::from("p2p-master:k"), Role::MainServer, Form);
        refused(format!("p2p-master:k:{MATERIAL}:"), Role::MainServer, Form);
        refused(format!("p2p-host:k:{MATERIAL}"), Role::Host, Form);
        refused(format!("P2P-host:k:1:{MATERIAL}"), Role::Host, Form);
        refused(format!("p2p-master::{MATERIAL}"), Role::MainServer, Id);
        refused(format!("p2p-master:K:{MATERIAL}"), Role::MainServer, Id);
        refused(format!("p2p-master:{}:{MATERIAL}", "k".repeat(33)), Role::MainServer, Id);
        for account in ["", "01", "+1", "-1", "4294967296", "x"] {
            refused(format!("p2p-host:k:{account}:{MATERIAL}"), Role::Host, Account);
        }
        for material in
            ["", "AAAA", &MATERIAL[..43], &MATERIAL.replace("8=", "9="), &MATERIAL.replace('=', "A")]
        {
            refused(format!("p2p-master:k:{material}"), Role::MainServer, Material);
        }
    }
}
