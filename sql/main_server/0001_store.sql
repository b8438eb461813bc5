-- Main server, 1: what the synchronisation itself keeps.
--
-- Run with `psql -v ON_ERROR_STOP=1 -f`, file by file in the order of their numbers, or by the main server
-- itself. Every statement may be run again, so both ways may be mixed. A file that has been released is
-- never edited: the main server keeps a digest of what it applied and refuses another text of that number.
--
-- How values are kept
--   account       bigint within 0 to 4294967295 (u32 on the wire).
--   incarnation   bigint with the same 64 bits as the unsigned number on the wire: the greater half is
--                 negative here. Lossless; not in the order of the unsigned numbers, which nothing needs.
--   data          text, byte for byte as it came. jsonb would reorder it and refuses \u0000, so it appears
--                 only in views.
--   moments       timestamptz, whole microseconds.
--
-- MAP_STATE lives in `states` beside every other state, keyed (data_type, owner, map_name): one path
-- writes all of them. `map_states`, as the specification has it, is a view over it (0002).

CREATE SCHEMA IF NOT EXISTS p2p_sync;

-- Each state's present value.
CREATE TABLE IF NOT EXISTS p2p_sync.states (
    data_type   smallint    NOT NULL CHECK (data_type BETWEEN 0 AND 11),
    -- The account it belongs to; 0 for a state that belongs to the map.
    owner       bigint      NOT NULL CHECK (owner BETWEEN 0 AND 4294967295),
    map_name    text        COLLATE "C" NOT NULL,
    -- From 1, one more with each write. 0 within a transaction only, which has locked a state that is not there yet.
    version     bigint      NOT NULL CHECK (version >= 0),
    data        text        NOT NULL,
    -- The operation that wrote it.
    account_id  bigint      NOT NULL,
    incarnation bigint      NOT NULL,
    counter     bigint      NOT NULL,
    -- When a main server took that operation, by its clock.
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (data_type, owner, map_name)
) WITH (fillfactor = 80);

-- Every operation that was answered, for as long as its name is remembered. `operation_id` is a function of
-- the primary key that maps no two keys to one text, so it is unique without an index of its own;
-- `find_operation(text)` looks one up.
CREATE TABLE IF NOT EXISTS p2p_sync.operations (
    account_id     bigint      NOT NULL CHECK (account_id BETWEEN 0 AND 4294967295),
    incarnation    bigint      NOT NULL,
    counter        bigint      NOT NULL CHECK (counter >= 0),
    operation_id   text        COLLATE "C" NOT NULL GENERATED ALWAYS AS (
        account_id::text || '-'::text || lpad(to_hex(incarnation), 16, '0'::text) || '-'::text || counter::text
    ) STORED,
    map_name       text        COLLATE "C" NOT NULL,
    data_type      smallint    NOT NULL CHECK (data_type BETWEEN 0 AND 11),
    status         text        COLLATE "C" NOT NULL CHECK (
        status IN ('APPLIED', 'OUT_OF_ORDER', 'FENCED', 'UNREACHABLE', 'TOO_OFTEN')
    ),
    -- What goes with the status, see the comment below.
    outcome        bigint      NOT NULL,
    error_message  text        GENERATED ALWAYS AS (
        CASE status
            WHEN 'OUT_OF_ORDER' THEN 'a later operation of the same session had taken effect'
            WHEN 'FENCED' THEN 'another account is the primary of the map'
            WHEN 'UNREACHABLE' THEN 'the position cannot be reached from the one before'
            WHEN 'TOO_OFTEN' THEN 'it comes more often than its rule allows'
        END
    ) STORED,
    sequence       bigint      NOT NULL CHECK (sequence >= 0),
    -- When a main server took it, by its clock.
    created_at     timestamptz NOT NULL,
    completed_at   timestamptz NOT NULL DEFAULT now(),
    -- Whether it was critical.
    is_priority    boolean     NOT NULL,
    -- Retries never reach this table: the first arrival is kept, repeats are answered from it.
    retry_count    integer     NOT NULL DEFAULT 0,
    -- An event's payload. A state's is in `states`.
    data           text,
    -- Of the specification; sealed frames are not kept.
    encrypted_data text,
    PRIMARY KEY (account_id, incarnation, counter)
);
COMMENT ON COLUMN p2p_sync.operations.outcome IS
    'APPLIED: the new version of a state, or the sequence of an event. OUT_OF_ORDER: the greatest sequence applied. '
    'FENCED: the epoch of the map. UNREACHABLE: cells times 2^32, plus the cells allowed. '
    'TOO_OFTEN: milliseconds to wait times 4, plus the number of the rule.';
CREATE INDEX IF NOT EXISTS operations_created_at ON p2p_sync.operations (created_at);

-- The greatest sequence that took effect, which is what keeps a session's operations on one map and type in
-- order. Its row is also the lock that such operations take.
CREATE TABLE IF NOT EXISTS p2p_sync.session_sequences (
    account_id    bigint      NOT NULL CHECK (account_id BETWEEN 0 AND 4294967295),
    incarnation   bigint      NOT NULL,
    data_type     smallint    NOT NULL CHECK (data_type BETWEEN 0 AND 11),
    map_name      text        COLLATE "C" NOT NULL,
    last_sequence bigint      NOT NULL CHECK (last_sequence >= 0),
    -- For the clean-up of sessions that ended.
    last_used_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, incarnation, data_type, map_name)
) WITH (fillfactor = 70);

-- The last position of an account on a map that took effect, for conditions on the next one.
CREATE TABLE IF NOT EXISTS p2p_sync.positions (
    account_id bigint   NOT NULL CHECK (account_id BETWEEN 0 AND 4294967295),
    map_name   text     COLLATE "C" NOT NULL,
    data_type  smallint NOT NULL CHECK (data_type BETWEEN 0 AND 11),
    x          bigint   NOT NULL,
    y          bigint   NOT NULL,
    -- -1 for a row that was made to be locked: there is no position yet.
    at_us      bigint   NOT NULL,
    PRIMARY KEY (account_id, map_name, data_type)
) WITH (fillfactor = 70);

-- Until when what came already takes the time of a subject: a map (account 0) or an account (no map).
CREATE TABLE IF NOT EXISTS p2p_sync.paces (
    -- 0 SPAWN_RATE, 1 DROP_RATE, 2 SKILL_USAGE.
    rule           smallint NOT NULL CHECK (rule BETWEEN 0 AND 2),
    account_id     bigint   NOT NULL CHECK (account_id BETWEEN 0 AND 4294967295),
    map_name       text     COLLATE "C" NOT NULL,
    subject        bigint   NOT NULL,
    taken_until_us bigint   NOT NULL,
    PRIMARY KEY (rule, account_id, map_name, subject)
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS paces_taken_until ON p2p_sync.paces (taken_until_us);

-- Forgets the names of operations taken before a moment, at most `p_limit` of them, and says how many.
CREATE OR REPLACE FUNCTION p2p_sync.purge_operations(p_before_us bigint, p_limit bigint) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    WITH gone AS (
        DELETE FROM p2p_sync.operations
        WHERE ctid = ANY (ARRAY(
            SELECT o.ctid
            FROM p2p_sync.operations AS o
            WHERE o.created_at < timestamptz 'epoch' + p_before_us * interval '1 microsecond'
            ORDER BY o.created_at
            LIMIT p_limit
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;

-- Forgets the names of operations taken before a moment and paces that ended before it, at most `p_limit` of
-- each, and says how many names.
CREATE OR REPLACE FUNCTION p2p_sync.purge_old(p_before_us bigint, p_limit bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM p2p_sync.paces
    WHERE ctid = ANY (ARRAY(
        SELECT p.ctid FROM p2p_sync.paces AS p
        WHERE p.taken_until_us < p_before_us LIMIT p_limit FOR UPDATE SKIP LOCKED
    ));
    RETURN p2p_sync.purge_operations(p_before_us, p_limit);
END
$$;

-- The operation of that name, if it is remembered.
CREATE OR REPLACE FUNCTION p2p_sync.find_operation(p_operation_id text) RETURNS SETOF p2p_sync.operations
LANGUAGE sql STABLE AS $$
    SELECT o.*
    FROM p2p_sync.operations AS o
    WHERE p_operation_id ~ '^[0-9]{1,10}-[0-9a-f]{16}-[0-9]{1,18}$'
        AND o.account_id = split_part(p_operation_id, '-', 1)::bigint
        AND o.incarnation = ('x' || split_part(p_operation_id, '-', 2))::bit(64)::bigint
        AND o.counter = split_part(p_operation_id, '-', 3)::bigint
$$;
