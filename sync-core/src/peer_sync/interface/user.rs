//! Users of the application whose tables the specification names: who registers, and how users are shown.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Fault;
use super::changes::{Existing, Statement};
use crate::limits::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, USER_TEXT_BYTES_MAX};
use crate::peer_sync::content::Content;
use crate::peer_sync::schema::Table;

/// The table.
pub const TABLE: &str = "users";
/// Never shown by this endpoint.
pub const HIDDEN: &str = "password_hash";

/// Somebody who registers.
#[derive(Deserialize)]
pub struct Registration {
    /// What others see.
    pub username: String,
    /// Unlike everybody else's.
    pub email: String,
    /// Never kept, only its hash.
    pub password: Zeroizing<String>,
    /// If given.
    #[serde(default)]
    pub full_name: Option<String>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Registration {
    /// Reads `{"username", "email", "password"}`.
    ///
    /// # Errors
    /// What is wrong with it; never shows the password.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        // The parser's message could echo a value.
        let read: Self = serde_json::from_slice(bytes).map_err(|_| {
            Fault::new("the body is not `{\"username\", \"email\", \"password\"}`, each a text")
        })?;
        check("username", &read.username)?;
        check("email", &read.email)?;
        if let Some(name) = &read.full_name {
            check("full_name", name)?;
        }
        let is_address = read.email.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty()
                && !host.is_empty()
                && !host.contains('@')
                && !read.email.contains(char::is_whitespace)
        });
        if !is_address {
            return Err(Fault::new("`email` is no e-mail address"));
        }
        let chars = read.password.chars().count();
        if chars < PASSWORD_CHARS_MIN || read.password.len() > PASSWORD_BYTES_MAX {
            return Err(Fault::new(format!(
                "`password` has at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes"
            )));
        }
        Ok(read)
    }

    /// The statement that adds the user, with what the table has of all this.
    pub fn statement(&self, table: &Table, id: &str, password_hash: &str, now: &str) -> Statement {
        let given = [
            ("id", Some(id)),
            ("username", Some(self.username.as_str())),
            ("email", Some(self.email.as_str())),
            (HIDDEN, Some(password_hash)),
            ("full_name", self.full_name.as_deref()),
            ("created_at", Some(now)),
            ("updated_at", Some(now)),
        ];
        let columns = given
            .into_iter()
            .filter_map(|(name, text)| Some((table.place(name)?, Some(text?.to_owned()))))
            .collect();
        Statement { table: table.name.clone(), columns, existing: Existing::Refuse }
    }
}

/// A user as it is shown: everything that travels but the hash of the password.
pub fn show(table: &Table, content: &Content) -> Value {
    let columns = table.columns.iter().zip(content.columns()).filter(|(name, _)| *name != HIDDEN);
    Value::Object(columns.map(|(name, text)| (name.clone(), text.into())).collect::<Map<_, _>>())
}

fn check(name: &str, text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() || text.len() > USER_TEXT_BYTES_MAX || text.contains(char::is_control) {
        return Err(Fault::new(format!(
            "`{name}` has 1 to {USER_TEXT_BYTES_MAX} bytes without control characters"
        )));
    }
    Ok(())
}

/// A random UUID (RFC 9562, version 4) of these bytes.
pub fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn somebody_registers_as_the_specification_writes_it() {
        let text = br#"{"username": "testuser", "email": "test@example.com", "password": "password123"}"#;
        let read = Registration::read(text).unwrap();
        assert_eq!((read.username.as_str(), read.email.as_str()), ("testuser", "test@example.com"));
        assert!(!format!("{read:?}").contains("password123"));
        let table = Table::new("users", &["id", "username", "email", "password_hash"], &["id"]).unwrap();
        let statement = read.statement(&table, "1", "$argon2id$", "now");
        assert_eq!(statement.columns.len(), 4);
        let content = Content::new([Some("1"), Some("u"), Some("e"), Some("$argon2id$")]);
        assert!(!show(&table, &content).to_string().contains("argon2"));
    }

    #[test]
    fn what_cannot_be_a_user_is_refused_without_showing_the_password() {
        for wrong in [
            "",
            "{}",
            r#"{"username":"u","email":"e@x","password":["hunter22"]}"#,
            r#"{"username":"","email":"e@x","password":"hunter22"}"#,
            r#"{"username":"u\u0000","email":"e@x","password":"hunter22"}"#,
            r#"{"username":"u","email":"ex","password":"hunter22"}"#,
            r#"{"username":"u","email":"e@@x","password":"hunter22"}"#,
            r#"{"username":"u","email":"e@x","password":"hunter2"}"#,
        ] {
            let fault = Registration::read(wrong.as_bytes()).unwrap_err().0;
            assert!(!fault.contains("hunter"), "{fault}");
        }
    }

    #[test]
    fn a_uuid_says_that_it_is_random() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(bytes: Vec<u8>) {
            let _ = Registration::read(&bytes);
        }
    }
}
