//! The two forms of a connection string.

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::PostgresError;

/// Reads a `postgresql://` address or `keyword = value` pairs as libpq writes them.
pub(in crate::runtime) fn parse(text: &str) -> Result<PgConnectOptions, PostgresError> {
    let text = text.trim();
    if text.starts_with("postgresql://") || text.starts_with("postgres://") {
        return text.parse().map_err(|_| PostgresError::ConnectionString("the address is malformed"));
    }
    pairs(text)?.into_iter().try_fold(PgConnectOptions::new_without_pgpass(), |options, (key, value)| {
        Ok(match key.as_str() {
            "host" if value.starts_with('/') => options.socket(value),
            "host" | "hostaddr" => options.host(&value),
            "port" => {
                let port = value.parse().map_err(|_| PostgresError::ConnectionString("`port` is no port"))?;
                options.port(port)
            }
            "dbname" => options.database(&value),
            "user" => options.username(&value),
            "password" => options.password(&value),
            "sslmode" => options.ssl_mode(
                value
                    .parse::<PgSslMode>()
                    .map_err(|_| PostgresError::ConnectionString("`sslmode` is unknown"))?,
            ),
            "sslrootcert" => options.ssl_root_cert(value),
            "sslcert" => options.ssl_client_cert(value),
            "sslkey" => options.ssl_client_key(value),
            "application_name" => options.application_name(&value),
            // Bounded by the options of the store.
            "connect_timeout" => options,
            _ => return Err(PostgresError::ConnectionString("a keyword is unknown")),
        })
    })
}

/// `keyword = value` pairs; a value may stand in single quotes, `\` takes the next character as it is.
fn pairs(text: &str) -> Result<Vec<(String, String)>, PostgresError> {
    let malformed = PostgresError::ConnectionString("a pair is malformed");
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or_else(|| malformed.clone())?;
        let key = key.trim_end();
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Err(malformed);
        }
        let after = after.trim_start();
        let quoted = after.starts_with('\'');
        let mut chars = after.char_indices().skip(usize::from(quoted));
        let (mut value, mut end) = (String::new(), None);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => value.push(chars.next().ok_or_else(|| malformed.clone())?.1),
                '\'' if quoted => {
                    end = Some(at + 1);
                    break;
                }
                c if !quoted && c.is_whitespace() => {
                    end = Some(at);
                    break;
                }
                c => value.push(c),
            }
        }
        if quoted && end.is_none() {
            return Err(malformed);
        }
        rest = after.get(end.unwrap_or(after.len())..).unwrap_or("").trim_start();
        pairs.push((key.to_owned(), value));
    }
    if pairs.is_empty() { Err(PostgresError::ConnectionString("it is empty")) } else { Ok(pairs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_lead_to_the_same_server() {
        for text in [
            "postgresql://u:p%27x@db.example.com:6432/game",
            "postgres://u:p%27x@db.example.com:6432/game",
            r"host=db.example.com port=6432 dbname=game user=u password=p\'x",
            r"  user = 'u' password='p\'x'  host=db.example.com dbname = game  port=6432 ",
        ] {
            let options = parse(text).unwrap();
            assert_eq!(
                (options.get_host(), options.get_port(), options.get_username(), options.get_database()),
                ("db.example.com", 6432, "u", Some("game")),
                "{text}"
            );
        }
    }

    #[test]
    fn an_error_does_not_show_the_text() {
        for text in
            ["", "hunter2", "password='hunter2", "hunter2=x", "port=hunter2", "postgres://u:hunter2@:x/"]
        {
            let error = parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
