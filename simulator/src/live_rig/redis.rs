//! Redis as the live rig prepares it: a numbered database of its own, emptied between scenarios.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, RedisError, Value, cmd};
use sync_core::config::RedisSettings;
use sync_core::secret::Secret;
use tokio::time::{Instant, sleep, timeout};

use super::error::one_line;
use super::{LiveError, RunId, Service};

/// Reads `redis://[:password@]host[:port][/number]`.
pub(super) fn settings(url: &Secret<String>) -> Result<RedisSettings, LiveError> {
    let wrong = |what| LiveError::Address { service: Service::Redis, what };
    let client = Client::open(url.expose().trim()).map_err(|_| wrong("it is malformed"))?;
    let info = client.get_connection_info();
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Err(wrong("only redis:// with a host is supported"));
    };
    let login = info.redis_settings();
    if login.username().is_some_and(|user| user != "default") {
        return Err(wrong("users other than the default one are not supported"));
    }
    Ok(RedisSettings {
        host: host.clone(),
        port: *port,
        password: login.password().map(|password| Secret::new(password.to_owned())),
        db: u32::try_from(login.db()).map_err(|_| wrong("its number is negative or too large"))?,
    })
}

/// Waits until the server answers.
pub(super) async fn wait(settings: &RedisSettings, bound: Duration) -> Result<(), LiveError> {
    let started = Instant::now();
    loop {
        let fault = match ping(settings).await {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        if started.elapsed() >= bound {
            return Err(LiveError::NotReady { service: Service::Redis, bound, cause: fault });
        }
        sleep(PAUSE).await;
    }
}

/// The server's version.
pub(super) async fn version(settings: &RedisSettings) -> Result<String, LiveError> {
    let work = async {
        let mut connection = connect(settings).await?;
        let info: String =
            cmd("INFO").arg("server").query_async(&mut connection).await.map_err(|error| cause(&error))?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        version.map(|version| version.trim().to_owned()).ok_or_else(|| "no version in the answer".to_owned())
    };
    work.await.map_err(refused("ask Redis for its version"))
}

/// Marks an empty numbered database as this run's; refuses one that is in use.
pub(super) async fn claim(settings: &RedisSettings, run: &RunId) -> Result<(), LiveError> {
    let (keys, owner): (u64, Option<String>) = eval(settings, CLAIM, run, "look at the Redis given").await?;
    if keys == 0 { Ok(()) } else { Err(LiveError::RedisNotOurs { db: settings.db, keys, owner }) }
}

/// Empties the numbered database of a given server and keeps it. The run's mark may be gone (a cache may
/// flush what is its own); another run's is respected.
pub(super) async fn reset(settings: &RedisSettings, run: &RunId) -> Result<(), LiveError> {
    let (keys, owner): (u64, Option<String>) = eval(settings, RESET, run, "empty Redis").await?;
    if keys == 0 { Ok(()) } else { Err(LiveError::RedisNotOurs { db: settings.db, keys, owner }) }
}

/// Empties the numbered database of a given server for good, unless another run has marked it.
pub(super) async fn release(settings: &RedisSettings, run: &RunId) -> Result<(), LiveError> {
    eval(settings, RELEASE, run, "empty Redis").await
}

/// Empties the numbered database of a server that is this run's alone.
pub(super) async fn flush(settings: &RedisSettings) -> Result<(), LiveError> {
    let work = async {
        let mut connection = connect(settings).await?;
        match timeout(ANSWER, cmd("FLUSHDB").query_async::<()>(&mut connection)).await {
            Ok(answer) => answer.map_err(|error| cause(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    };
    work.await.map_err(refused("empty Redis"))
}

/// The entries whose keys begin so, read while nothing writes them.
pub(super) async fn entries(
    settings: &RedisSettings,
    prefix: &str,
) -> Result<Vec<(String, String)>, LiveError> {
    let work = async {
        let mut connection = connect(settings).await?;
        let mut found = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(SCANNED_AT_ONCE);
            let (next, keys): (u64, Vec<String>) = answered(&scan, &mut connection).await?;
            if !keys.is_empty() {
                let values: Vec<Option<String>> = answered(cmd("MGET").arg(&keys), &mut connection).await?;
                // One without a value expired just now.
                let held = keys.into_iter().zip(values);
                found.extend(held.filter_map(|(key, value)| value.map(|value| (key, value))));
            }
            cursor = next;
            if cursor == 0 {
                // A scan may name a key twice.
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
        }
    };
    work.await.map_err(refused("read what Redis holds"))
}

/// Every key and every value, whatever its type, read while nothing writes them.
///
/// # Errors
/// When Redis does not answer, or holds what cannot be read here.
pub(super) async fn everything(settings: &RedisSettings) -> Result<Vec<Vec<u8>>, LiveError> {
    let work = async {
        let mut connection = connect(settings).await?;
        let (mut found, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(SCANNED_AT_ONCE);
            let (next, keys): (u64, Vec<Vec<u8>>) = answered(&scan, &mut connection).await?;
            for key in keys {
                let kind: String = answered(cmd("TYPE").arg(&key), &mut connection).await?;
                let mut read = match kind.as_str() {
                    // It expired just now.
                    "none" => continue,
                    "string" => cmd("GET"),
                    "hash" => cmd("HGETALL"),
                    "set" => cmd("SMEMBERS"),
                    "list" => cmd("LRANGE"),
                    "zset" => cmd("ZRANGE"),
                    _ => return Err(format!("a {kind}, which cannot be read here")),
                };
                read.arg(&key);
                if matches!(kind.as_str(), "list" | "zset") {
                    read.arg(0).arg(-1);
                }
                let value: Value = answered(&read, &mut connection).await?;
                bytes(value, &mut found);
                found.push(key);
            }
            cursor = next;
            if cursor == 0 {
                return Ok(found);
            }
        }
    };
    work.await.map_err(refused("read what Redis holds"))
}

/// Every text in an answer.
fn bytes(value: Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::BulkString(bytes) => found.push(bytes),
        Value::SimpleString(text) => found.push(text.into_bytes()),
        Value::Array(values) | Value::Set(values) => {
            values.into_iter().for_each(|value| bytes(value, found));
        }
        Value::Map(pairs) => pairs.into_iter().for_each(|(key, value)| {
            bytes(key, found);
            bytes(value, found);
        }),
        // Numbers and the like hold no secret.
        _ => {}
    }
}

/// Publishes a message.
pub(super) async fn publish(settings: &RedisSettings, channel: &str, message: &str) -> Result<(), LiveError> {
    let work = async {
        let mut connection = connect(settings).await?;
        answered(cmd("PUBLISH").arg(channel).arg(message), &mut connection).await
    };
    work.await.map_err(refused("publish a message"))
}

async fn answered<T: ::redis::FromRedisValue>(
    command: &::redis::Cmd,
    connection: &mut MultiplexedConnection,
) -> Result<T, String> {
    match timeout(ANSWER, command.query_async(connection)).await {
        Ok(answer) => answer.map_err(|error| cause(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

async fn eval<T: ::redis::FromRedisValue>(
    settings: &RedisSettings,
    script: &str,
    run: &RunId,
    doing: &'static str,
) -> Result<T, LiveError> {
    let work = async {
        let mut connection = connect(settings).await?;
        let mut command = cmd("EVAL");
        command.arg(script).arg(1).arg(OWNER_KEY).arg(run.as_str());
        match timeout(ANSWER, command.query_async(&mut connection)).await {
            Ok(answer) => answer.map_err(|error| cause(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    };
    work.await.map_err(refused(doing))
}

async fn ping(settings: &RedisSettings) -> Result<(), String> {
    let mut connection = connect(settings).await?;
    match timeout(ANSWER, cmd("PING").query_async::<()>(&mut connection)).await {
        Ok(answer) => answer.map_err(|error| cause(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

async fn connect(settings: &RedisSettings) -> Result<MultiplexedConnection, String> {
    let mut login = RedisConnectionInfo::default().set_db(i64::from(settings.db));
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose());
    }
    let address = ConnectionAddr::Tcp(settings.host.clone(), settings.port);
    let info = address.into_connection_info().map_err(|error| cause(&error))?.set_redis_settings(login);
    let client = Client::open(info).map_err(|error| cause(&error))?;
    match timeout(ANSWER, client.get_multiplexed_async_connection()).await {
        Ok(connection) => connection.map_err(|error| cause(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// The kind of an error and Redis' own code for it: its text may quote values.
fn cause(error: &RedisError) -> String {
    one_line(error.code().unwrap_or_else(|| error.category()))
}

fn refused(doing: &'static str) -> impl Fn(String) -> LiveError {
    move |cause| LiveError::Redis { doing, cause }
}

/// Holds the name of the run that a numbered database of a given server belongs to.
const OWNER_KEY: &str = "p2psim:run";
const CLAIM: &str = "local keys = redis.call('DBSIZE') \
     if keys == 0 then redis.call('SET', KEYS[1], ARGV[1]) end \
     return {keys, redis.call('GET', KEYS[1])}";
const RESET: &str = "local owner = redis.call('GET', KEYS[1]) \
     if owner and owner ~= ARGV[1] then return {redis.call('DBSIZE'), owner} end \
     redis.call('FLUSHDB') redis.call('SET', KEYS[1], ARGV[1]) \
     return {0, ARGV[1]}";
const RELEASE: &str = "local owner = redis.call('GET', KEYS[1]) \
     if not owner or owner == ARGV[1] then redis.call('FLUSHDB') end \
     return 0";
const SCANNED_AT_ONCE: u32 = 1_000;
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_every_setting() {
        let url = Secret::new("redis://:p%20x@cache.example.com:6380/4".to_owned());
        let expected = RedisSettings {
            host: "cache.example.com".to_owned(),
            port: 6_380,
            password: Some(Secret::new("p x".to_owned())),
            db: 4,
        };
        assert_eq!(settings(&url).unwrap(), expected);
    }

    #[test]
    fn a_wrong_address_is_refused_and_not_shown() {
        for url in [
            "",
            "hunter2",
            "redis+unix:///hunter2",
            "redis://other:hunter2@h/",
            "redis://:hunter2@h/x",
            "redis://:hunter2@h/-1",
        ] {
            let error = settings(&Secret::new(url.to_owned())).unwrap_err();
            assert!(matches!(error, LiveError::Address { service: Service::Redis, .. }), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
