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
    -- From 1, one more with each write.
    version     bigint      NOT NULL CHECK (version >= 1),
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
    status         text        COLLATE "C" NOT NULL CHECK (status IN ('APPLIED', 'OUT_OF_ORDER')),
    -- APPLIED: the state's new version, or an event's sequence. OUT_OF_ORDER: the greatest sequence applied.
    outcome        bigint      NOT NULL,
    error_message  text        GENERATED ALWAYS AS (
        CASE status WHEN 'OUT_OF_ORDER' THEN 'a later operation of the same session had taken effect' END
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

-- Applies a batch in the order of its arrays, all of it or nothing, in the caller's transaction.
--
-- For each operation: a name that was seen before is answered as it was then; a sequence at or below the
-- greatest applied one of the same (account, incarnation, type, map) is out of order; else it takes effect.
-- `p_owners` holds whose state an operation replaces, NULL for an event.
--
-- Needs READ COMMITTED: what is read after a wait for a lock must be what the lock's former holder left.
-- Rows are made in session_sequences, then locked there, then in states, then made in operations, each time in
-- the order of the key: batches that overlap wait for each other and do not deadlock. One case fails and is to
-- be called again: one name used for two maps or types at once (unique_violation).
--
-- Table look-ups are correlated subqueries on purpose: whatever the statistics of a table that has just
-- filled, no plan can choose to scan it.
CREATE OR REPLACE FUNCTION p2p_sync.apply_batch(
    p_accounts bigint[], p_incarnations bigint[], p_counters bigint[], p_types smallint[], p_owners bigint[],
    p_maps text[], p_sequences bigint[], p_critical boolean[], p_data text[], p_received_us bigint[]
) RETURNS TABLE (is_applied boolean, outcome bigint, is_duplicate boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_groups bigint;
    v_locked bigint;
    v_last bigint;
    v_received timestamptz;
BEGIN
    -- One operation, the usual case under low load, decided as below by plain look-ups: setting up the
    -- statement for many costs more than all of these together.
    IF cardinality(p_accounts) = 1 THEN
        LOOP
            SELECT s.last_sequence INTO v_last
            FROM p2p_sync.session_sequences AS s
            WHERE s.account_id = p_accounts[1] AND s.incarnation = p_incarnations[1]
                AND s.data_type = p_types[1] AND s.map_name = p_maps[1]
            FOR UPDATE;
            EXIT WHEN FOUND;
            INSERT INTO p2p_sync.session_sequences (account_id, incarnation, data_type, map_name, last_sequence)
            VALUES (p_accounts[1], p_incarnations[1], p_types[1], p_maps[1], 0)
            ON CONFLICT DO NOTHING;
        END LOOP;
        SELECT o.status = 'APPLIED', o.outcome INTO is_applied, outcome
        FROM p2p_sync.operations AS o
        WHERE o.account_id = p_accounts[1] AND o.incarnation = p_incarnations[1] AND o.counter = p_counters[1];
        is_duplicate := FOUND;
        IF NOT is_duplicate THEN
            v_received := timestamptz 'epoch' + p_received_us[1] * interval '1 microsecond';
            is_applied := p_sequences[1] > v_last;
            IF NOT is_applied THEN
                outcome := v_last;
            ELSIF p_owners[1] IS NULL THEN
                outcome := p_sequences[1];
            ELSE
                INSERT INTO p2p_sync.states AS s
                    (data_type, owner, map_name, version, data, account_id, incarnation, counter, updated_at)
                VALUES (p_types[1], p_owners[1], p_maps[1], 1, p_data[1], p_accounts[1], p_incarnations[1],
                    p_counters[1], v_received)
                ON CONFLICT (data_type, owner, map_name) DO UPDATE SET
                    version = s.version + 1, data = excluded.data, account_id = excluded.account_id,
                    incarnation = excluded.incarnation, counter = excluded.counter,
                    updated_at = excluded.updated_at
                RETURNING s.version INTO outcome;
            END IF;
            INSERT INTO p2p_sync.operations
                (account_id, incarnation, counter, map_name, data_type, status, outcome, sequence, created_at,
                 is_priority, data)
            SELECT p_accounts[1], p_incarnations[1], p_counters[1], p_maps[1], p_types[1],
                CASE WHEN apply_batch.is_applied THEN 'APPLIED' ELSE 'OUT_OF_ORDER' END, apply_batch.outcome,
                p_sequences[1], v_received, p_critical[1], CASE WHEN p_owners[1] IS NULL THEN p_data[1] END;
            IF is_applied THEN
                UPDATE p2p_sync.session_sequences AS s
                SET last_sequence = p_sequences[1], last_used_at = now()
                WHERE s.account_id = p_accounts[1] AND s.incarnation = p_incarnations[1]
                    AND s.data_type = p_types[1] AND s.map_name = p_maps[1];
            END IF;
        END IF;
        RETURN NEXT;
        RETURN;
    END IF;

    LOOP
        -- Missing rows are made before any lock is taken: who waits for another's new row must not hold what
        -- that other one is about to lock.
        INSERT INTO p2p_sync.session_sequences (account_id, incarnation, data_type, map_name, last_sequence)
        SELECT DISTINCT g.account_id, g.incarnation, g.data_type, g.map_name COLLATE "C", 0
        FROM unnest(p_accounts, p_incarnations, p_types, p_maps)
            AS g (account_id, incarnation, data_type, map_name)
        WHERE NOT EXISTS (
            SELECT FROM p2p_sync.session_sequences AS s
            WHERE s.account_id = g.account_id AND s.incarnation = g.incarnation
                AND s.data_type = g.data_type AND s.map_name = g.map_name
            OFFSET 0
        )
        ORDER BY 1, 2, 3, 4
        ON CONFLICT DO NOTHING;
        SELECT count(*), count(s.locked) INTO v_groups, v_locked
        FROM (
            SELECT DISTINCT g.account_id, g.incarnation, g.data_type, g.map_name COLLATE "C" AS map_name
            FROM unnest(p_accounts, p_incarnations, p_types, p_maps)
                AS g (account_id, incarnation, data_type, map_name)
            ORDER BY 1, 2, 3, 4
        ) AS k
        LEFT JOIN LATERAL (
            SELECT true AS locked
            FROM p2p_sync.session_sequences AS s
            WHERE s.account_id = k.account_id AND s.incarnation = k.incarnation
                AND s.data_type = k.data_type AND s.map_name = k.map_name
            FOR UPDATE
        ) AS s ON true;
        -- Fewer only when a clean-up has just removed one.
        EXIT WHEN v_groups = v_locked;
    END LOOP;

    RETURN QUERY
    WITH known AS MATERIALIZED (
        SELECT i.*,
            row_number() OVER (PARTITION BY i.account_id, i.incarnation, i.counter ORDER BY i.ordinal) > 1
                AS is_repeat,
            o.status AS known_status, o.outcome AS known_outcome,
            (
                SELECT s.last_sequence
                FROM p2p_sync.session_sequences AS s
                WHERE s.account_id = i.account_id AND s.incarnation = i.incarnation
                    AND s.data_type = i.data_type AND s.map_name = i.map_name
            ) AS last_before
        FROM unnest(
            p_accounts, p_incarnations, p_counters, p_types, p_owners, p_maps, p_sequences, p_critical, p_data,
            p_received_us
        ) WITH ORDINALITY AS i (
            account_id, incarnation, counter, data_type, owner, map_name, sequence, is_critical, data,
            received_us, ordinal
        )
        LEFT JOIN LATERAL (
            SELECT o.status, o.outcome
            FROM p2p_sync.operations AS o
            WHERE o.account_id = i.account_id AND o.incarnation = i.incarnation AND o.counter = i.counter
            LIMIT 1
        ) AS o ON true
    ),
    placed AS (
        -- An operation that is refused here has a sequence below one that was not, so the greatest of all
        -- new ones is the greatest applied.
        SELECT k.*,
            greatest(k.last_before, max(k.sequence) FILTER (WHERE NOT k.is_repeat AND k.known_status IS NULL)
                OVER (
                    PARTITION BY k.account_id, k.incarnation, k.data_type, k.map_name ORDER BY k.ordinal
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                )) AS last
        FROM known AS k
    ),
    decided AS (
        SELECT p.*,
            NOT p.is_repeat AND p.known_status IS NULL AS is_new,
            NOT p.is_repeat AND p.known_status IS NULL AND p.sequence > p.last AS takes_effect,
            timestamptz 'epoch' + p.received_us * interval '1 microsecond' AS received
        FROM placed AS p
    ),
    -- Which of the batch's writes of its state an operation is.
    ranked AS MATERIALIZED (
        SELECT d.*,
            count(*) FILTER (WHERE d.takes_effect) OVER (state_key ORDER BY d.ordinal) AS nth,
            count(*) FILTER (WHERE d.takes_effect) OVER state_key AS writes
        FROM decided AS d
        WINDOW state_key AS (PARTITION BY d.data_type, d.owner, d.map_name)
    ),
    written AS (
        INSERT INTO p2p_sync.states AS s
            (data_type, owner, map_name, version, data, account_id, incarnation, counter, updated_at)
        SELECT DISTINCT ON (d.data_type, d.owner, d.map_name COLLATE "C")
            d.data_type, d.owner, d.map_name,
            d.writes, d.data, d.account_id, d.incarnation, d.counter, d.received
        FROM ranked AS d
        WHERE d.takes_effect AND d.owner IS NOT NULL
        ORDER BY d.data_type, d.owner, d.map_name COLLATE "C", d.ordinal DESC
        ON CONFLICT (data_type, owner, map_name) DO UPDATE SET
            version = s.version + excluded.version, data = excluded.data, account_id = excluded.account_id,
            incarnation = excluded.incarnation, counter = excluded.counter, updated_at = excluded.updated_at
        RETURNING s.data_type, s.owner, s.map_name, s.version
    ),
    answered AS MATERIALIZED (
        SELECT d.*,
            CASE
                WHEN NOT d.is_new THEN d.known_status
                WHEN d.takes_effect THEN 'APPLIED'
                ELSE 'OUT_OF_ORDER'
            END AS status,
            CASE
                WHEN NOT d.is_new THEN d.known_outcome
                WHEN NOT d.takes_effect THEN d.last
                WHEN d.owner IS NULL THEN d.sequence
                ELSE w.version - d.writes + d.nth
            END AS outcome
        FROM ranked AS d
        LEFT JOIN written AS w
            ON w.data_type = d.data_type AND w.owner = d.owner AND w.map_name = d.map_name
    ),
    recorded AS (
        INSERT INTO p2p_sync.operations
            (account_id, incarnation, counter, map_name, data_type, status, outcome, sequence, created_at,
             is_priority, data)
        SELECT a.account_id, a.incarnation, a.counter, a.map_name, a.data_type, a.status, a.outcome, a.sequence,
            a.received, a.is_critical, CASE WHEN a.owner IS NULL THEN a.data END
        FROM answered AS a
        WHERE a.is_new
        ORDER BY a.account_id, a.incarnation, a.counter
    ),
    advanced AS (
        INSERT INTO p2p_sync.session_sequences AS s
            (account_id, incarnation, data_type, map_name, last_sequence)
        SELECT d.account_id, d.incarnation, d.data_type, d.map_name, max(d.sequence)
        FROM ranked AS d
        WHERE d.takes_effect
        GROUP BY d.account_id, d.incarnation, d.data_type, d.map_name
        ON CONFLICT (account_id, incarnation, data_type, map_name)
        DO UPDATE SET last_sequence = excluded.last_sequence, last_used_at = excluded.last_used_at
    )
    SELECT
        first_value(a.status) OVER same_name = 'APPLIED',
        first_value(a.outcome) OVER same_name,
        NOT a.is_new
    FROM answered AS a
    WINDOW same_name AS (PARTITION BY a.account_id, a.incarnation, a.counter ORDER BY a.ordinal)
    ORDER BY a.ordinal;
END
$$;

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
