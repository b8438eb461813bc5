//! The one decision that Redis makes: which of several states are newer than what it holds.

use std::sync::LazyLock;

use ::redis::{Cmd, Script, cmd};

use super::{publication, redis_key};
use crate::cache::{CacheKey, Keep, Refresh};

/// KEYS: one for each state. ARGV: the deadline in ms or nothing, the channel, then for each state what is
/// kept (`:` the value, `-` the version alone, or nothing), its version, its data, and its publication's first
/// line or nothing. Versions are compared as decimal texts: numbers here are exact below 2^53 only.
const REFRESH: &str = "
local deadline, channel = ARGV[1], ARGV[2]
for i, key in ipairs(KEYS) do
  local keep, version, data, header = ARGV[4 * i - 1], ARGV[4 * i], ARGV[4 * i + 1], ARGV[4 * i + 2]
  if keep ~= '' then
    local held, mark = string.match(redis.call('GETRANGE', key, 0, 20), '^(%d+)([:-])')
    local older = not held or #held < #version or (#held == #version and held < version)
    if older or (held == version and mark == '-' and keep == ':') then
      local value = version .. keep
      if keep == ':' then
        value = value .. data
      end
      if deadline == '' then
        redis.call('SET', key, value)
      else
        redis.call('SET', key, value, 'PXAT', deadline)
      end
    end
  end
  if header ~= '' then
    redis.call('PUBLISH', channel, header .. '\\n' .. data)
  end
end
return 'OK'";

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(REFRESH));

/// The command after which Redis knows the script.
pub(super) fn load() -> Cmd {
    let mut command = cmd("SCRIPT");
    command.arg("LOAD").arg(REFRESH);
    command
}

/// The command that refreshes all states at once; `how` is `EVALSHA` or `EVAL`.
pub(super) fn refresh<'a>(
    how: &str,
    channel: &str,
    states: impl ExactSizeIterator<Item = &'a Refresh> + Clone,
    deadline: Option<u64>,
) -> Cmd {
    let mut command = cmd(how);
    command.arg(if how == "EVAL" { REFRESH } else { SCRIPT.get_hash() }).arg(states.len());
    for state in states.clone() {
        command.arg(redis_key(&CacheKey::State(state.key.clone())));
    }
    command.arg(deadline.map(|at| at.to_string()).unwrap_or_default()).arg(channel);
    for state in states {
        let keep = match state.keep {
            Keep::Value => ":",
            Keep::Version => "-",
            Keep::Nothing => "",
        };
        let header = if state.publish { publication::header(state) } else { String::new() };
        // What is neither kept nor told need not travel.
        let data = if state.keep == Keep::Value || state.publish { &*state.data } else { "" };
        command.arg(keep).arg(state.version).arg(data).arg(header);
    }
    command
}
