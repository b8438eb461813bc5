-- Main server, 5: hosts that report and are dropped, fences, and conditions on what took effect before.
-- See 0001 for how these files are run.

-- Further answers to an operation, and findings that are the server's own.
ALTER TABLE p2p_sync.operations DROP CONSTRAINT IF EXISTS operations_status_check;
ALTER TABLE p2p_sync.operations ADD CONSTRAINT operations_status_check
    CHECK (status IN ('APPLIED', 'OUT_OF_ORDER', 'FENCED', 'UNREACHABLE', 'TOO_OFTEN'));
COMMENT ON COLUMN p2p_sync.operations.outcome IS
    'APPLIED: the new version of a state, or the sequence of an event. OUT_OF_ORDER: the greatest sequence applied. '
    'FENCED: the epoch of the map. UNREACHABLE: cells times 2^32, plus the cells allowed. '
    'TOO_OFTEN: milliseconds to wait times 4, plus the number of the rule.';
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attrdef AS d
        JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE d.adrelid = 'p2p_sync.operations'::regclass AND a.attname = 'error_message'
            AND pg_get_expr(d.adbin, d.adrelid) LIKE '%FENCED%'
    ) THEN
        ALTER TABLE p2p_sync.operations DROP COLUMN error_message;
        ALTER TABLE p2p_sync.operations ADD COLUMN error_message text GENERATED ALWAYS AS (
            CASE status
                WHEN 'OUT_OF_ORDER' THEN 'a later operation of the same session had taken effect'
                WHEN 'FENCED' THEN 'another account is the primary of the map'
                WHEN 'UNREACHABLE' THEN 'the position cannot be reached from the one before'
                WHEN 'TOO_OFTEN' THEN 'it comes more often than its rule allows'
            END
        ) STORED;
    END IF;
END
$$;
ALTER TABLE p2p_sync.security_validations
    DROP CONSTRAINT IF EXISTS security_validations_validation_type_check;
ALTER TABLE p2p_sync.security_validations ADD CONSTRAINT security_validations_validation_type_check
    CHECK (validation_type IN ('SPAWN_RATE', 'DROP_RATE', 'MONSTER_STATS', 'PLAYER_MOVEMENT', 'SKILL_USAGE',
        'DATA_FORM', 'ACCOUNT_RIGHTS'));

-- Whether a host meets every minimum, and the score in whole millionths by which hosts are compared:
-- `host_score` is the same in floating point, for people.
ALTER TABLE p2p_sync.host_metrics ADD COLUMN IF NOT EXISTS is_fit boolean NOT NULL DEFAULT false;
ALTER TABLE p2p_sync.host_metrics ADD COLUMN IF NOT EXISTS score_millionths bigint NOT NULL DEFAULT 0;

-- Maps that a host offers. A host that was dropped offers none.
CREATE TABLE IF NOT EXISTS p2p_sync.host_offers (
    account_id bigint NOT NULL REFERENCES p2p_sync.host_metrics ON DELETE CASCADE,
    map_name   text   COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, map_name)
);
CREATE INDEX IF NOT EXISTS host_offers_of_map ON p2p_sync.host_offers (map_name);

-- The last position of an account on a map that took effect, for conditions on the next one.
CREATE TABLE IF NOT EXISTS p2p_sync.positions (
    account_id bigint   NOT NULL CHECK (account_id BETWEEN 0 AND 4294967295),
    map_name   text     COLLATE "C" NOT NULL,
    data_type  smallint NOT NULL CHECK (data_type BETWEEN 0 AND 11),
    x          bigint   NOT NULL,
    y          bigint   NOT NULL,
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

-- The lock between the writes of what belongs to a map, which share it, and a change of who hosts the map. Maps
-- share 64 of them, so that a large batch takes few; they are taken in the order of their numbers.
CREATE OR REPLACE FUNCTION p2p_sync.map_lock(p_map_name text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT hashtext(p_map_name) & 63 $$;

-- Applies a batch as `apply_batch` does, and beyond it: what belongs to a map (types 0, 1 and 4) that has had a
-- primary is fenced unless the account is its present one; a condition that does not hold refuses the operation.
-- `p_checks` is NULL when no operation has a condition; else, for each: NULL for none; 0 for a position that must
-- be reachable, with column, row, cells always allowed and thousandths of a cell a second; 1 plus the rule for a
-- pace, with subject, cost and how far it may be ahead of the clock, in microseconds.
--
-- Fences are decided before the order, the order before conditions. Operations with conditions are decided
-- one after the other, since each may depend on the one before. Locks and isolation are as there; after the
-- sequences, the maps' locks are taken.
CREATE OR REPLACE FUNCTION p2p_sync.apply_operations(
    p_accounts bigint[], p_incarnations bigint[], p_counters bigint[], p_types smallint[], p_owners bigint[],
    p_maps text[], p_sequences bigint[], p_critical boolean[], p_data text[], p_received_us bigint[],
    p_checks smallint[], p_check_a bigint[], p_check_b bigint[], p_check_c bigint[], p_check_d bigint[]
) RETURNS TABLE (status text, outcome bigint, is_duplicate boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_groups bigint;
    v_locked bigint;
    v_last bigint;
    v_received timestamptz;
    v_epoch bigint;
    v_until bigint;
    v_cells bigint;
    v_cells_max bigint;
    v_place p2p_sync.positions%ROWTYPE;
BEGIN
    IF cardinality(p_accounts) > 1 THEN
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
        PERFORM pg_advisory_xact_lock_shared(1882353779, l.number)
        FROM (
            SELECT DISTINCT p2p_sync.map_lock(g.map_name) AS number
            FROM unnest(p_types, p_maps) AS g (data_type, map_name)
            WHERE g.data_type IN (0, 1, 4)
            ORDER BY 1
        ) AS l;
    END IF;

    -- One operation, the usual case under low load, decided by plain look-ups: setting up the statement for many
    -- costs more than all of these together.
    IF cardinality(p_accounts) = 1 OR p_checks IS NOT NULL THEN
        FOR i IN 1 .. cardinality(p_accounts) LOOP
            LOOP
                SELECT s.last_sequence INTO v_last
                FROM p2p_sync.session_sequences AS s
                WHERE s.account_id = p_accounts[i] AND s.incarnation = p_incarnations[i]
                    AND s.data_type = p_types[i] AND s.map_name = p_maps[i]
                FOR UPDATE;
                EXIT WHEN FOUND;
                INSERT INTO p2p_sync.session_sequences
                    (account_id, incarnation, data_type, map_name, last_sequence)
                VALUES (p_accounts[i], p_incarnations[i], p_types[i], p_maps[i], 0)
                ON CONFLICT DO NOTHING;
            END LOOP;
            SELECT o.status, o.outcome INTO status, outcome
            FROM p2p_sync.operations AS o
            WHERE o.account_id = p_accounts[i] AND o.incarnation = p_incarnations[i]
                AND o.counter = p_counters[i];
            is_duplicate := FOUND;
            IF NOT is_duplicate THEN
                v_received := timestamptz 'epoch' + p_received_us[i] * interval '1 microsecond';
                status := 'APPLIED';
                IF p_types[i] IN (0, 1, 4) THEN
                    PERFORM pg_advisory_xact_lock_shared(1882353779, p2p_sync.map_lock(p_maps[i]));
                    SELECT e.epoch INTO v_epoch
                    FROM p2p_sync.map_epochs AS e
                    WHERE e.map_name = p_maps[i] AND NOT EXISTS (
                        SELECT FROM p2p_sync.host_assignments AS a
                        WHERE a.map_name = p_maps[i] AND a.account_id = p_accounts[i] AND a.is_active
                            AND NOT a.is_backup AND NOT a.is_assistance
                    );
                    IF FOUND THEN
                        status := 'FENCED';
                        outcome := v_epoch;
                    END IF;
                END IF;
                IF status = 'APPLIED' AND p_sequences[i] <= v_last THEN
                    status := 'OUT_OF_ORDER';
                    outcome := v_last;
                END IF;
                IF status = 'APPLIED' AND p_checks[i] = 0 THEN
                    INSERT INTO p2p_sync.positions (account_id, map_name, data_type, x, y, at_us)
                    VALUES (p_accounts[i], p_maps[i], p_types[i], p_check_a[i], p_check_b[i], p_received_us[i])
                    ON CONFLICT DO NOTHING;
                    -- The first one is not judged.
                    IF NOT FOUND THEN
                        SELECT * INTO v_place
                        FROM p2p_sync.positions AS p
                        WHERE p.account_id = p_accounts[i] AND p.map_name = p_maps[i] AND p.data_type = p_types[i]
                        FOR UPDATE;
                        v_cells := least(
                            greatest(abs(p_check_a[i] - v_place.x), abs(p_check_b[i] - v_place.y)), 2147483647);
                        v_cells_max := least(
                            p_check_c[i] + least(greatest(p_received_us[i] - v_place.at_us, 0), 86400000000)
                                * least(p_check_d[i], 100000000) / 1000000000,
                            2147483647);
                        IF v_cells > v_cells_max THEN
                            status := 'UNREACHABLE';
                            outcome := v_cells * 4294967296 + v_cells_max;
                        ELSE
                            UPDATE p2p_sync.positions AS p
                            SET x = p_check_a[i], y = p_check_b[i], at_us = p_received_us[i]
                            WHERE p.account_id = p_accounts[i] AND p.map_name = p_maps[i]
                                AND p.data_type = p_types[i];
                        END IF;
                    END IF;
                ELSIF status = 'APPLIED' AND p_checks[i] IS NOT NULL THEN
                    LOOP
                        INSERT INTO p2p_sync.paces AS p (rule, account_id, map_name, subject, taken_until_us)
                        VALUES (p_checks[i] - 1, CASE WHEN p_checks[i] = 3 THEN p_accounts[i] ELSE 0 END,
                            CASE WHEN p_checks[i] = 3 THEN '' ELSE p_maps[i] END, p_check_a[i], 0)
                        ON CONFLICT DO NOTHING;
                        SELECT greatest(p.taken_until_us, p_received_us[i]) + p_check_b[i] INTO v_until
                        FROM p2p_sync.paces AS p
                        WHERE p.rule = p_checks[i] - 1
                            AND p.account_id = CASE WHEN p_checks[i] = 3 THEN p_accounts[i] ELSE 0 END
                            AND p.map_name = CASE WHEN p_checks[i] = 3 THEN '' ELSE p_maps[i] END
                            AND p.subject = p_check_a[i]
                        FOR UPDATE;
                        -- Missing only when a purge has just removed it.
                        EXIT WHEN FOUND;
                    END LOOP;
                    IF v_until - p_received_us[i] > p_check_c[i] THEN
                        status := 'TOO_OFTEN';
                        outcome := (v_until - p_received_us[i] - p_check_c[i] + 999) / 1000 * 4
                            + p_checks[i] - 1;
                    ELSE
                        UPDATE p2p_sync.paces AS p
                        SET taken_until_us = v_until
                        WHERE p.rule = p_checks[i] - 1
                            AND p.account_id = CASE WHEN p_checks[i] = 3 THEN p_accounts[i] ELSE 0 END
                            AND p.map_name = CASE WHEN p_checks[i] = 3 THEN '' ELSE p_maps[i] END
                            AND p.subject = p_check_a[i];
                    END IF;
                END IF;
                IF status <> 'APPLIED' THEN
                    NULL;
                ELSIF p_owners[i] IS NULL THEN
                    outcome := p_sequences[i];
                ELSE
                    INSERT INTO p2p_sync.states AS s
                        (data_type, owner, map_name, version, data, account_id, incarnation, counter, updated_at)
                    VALUES (p_types[i], p_owners[i], p_maps[i], 1, p_data[i], p_accounts[i], p_incarnations[i],
                        p_counters[i], v_received)
                    ON CONFLICT (data_type, owner, map_name) DO UPDATE SET
                        version = s.version + 1, data = excluded.data, account_id = excluded.account_id,
                        incarnation = excluded.incarnation, counter = excluded.counter,
                        updated_at = excluded.updated_at
                    RETURNING s.version INTO outcome;
                END IF;
                INSERT INTO p2p_sync.operations
                    (account_id, incarnation, counter, map_name, data_type, status, outcome, sequence, created_at,
                     is_priority, data)
                SELECT p_accounts[i], p_incarnations[i], p_counters[i], p_maps[i], p_types[i],
                    apply_operations.status, apply_operations.outcome, p_sequences[i], v_received, p_critical[i],
                    CASE WHEN p_owners[i] IS NULL THEN p_data[i] END;
                IF status = 'APPLIED' THEN
                    UPDATE p2p_sync.session_sequences AS s
                    SET last_sequence = p_sequences[i], last_used_at = now()
                    WHERE s.account_id = p_accounts[i] AND s.incarnation = p_incarnations[i]
                        AND s.data_type = p_types[i] AND s.map_name = p_maps[i];
                END IF;
            END IF;
            RETURN NEXT;
        END LOOP;
        RETURN;
    END IF;

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
            ) AS last_before,
            CASE WHEN i.data_type IN (0, 1, 4) THEN (
                SELECT e.epoch
                FROM p2p_sync.map_epochs AS e
                WHERE e.map_name = i.map_name AND NOT EXISTS (
                    SELECT FROM p2p_sync.host_assignments AS a
                    WHERE a.map_name = i.map_name AND a.account_id = i.account_id AND a.is_active
                        AND NOT a.is_backup AND NOT a.is_assistance
                    OFFSET 0
                )
            ) END AS fence_epoch
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
        -- An operation that is out of order has a sequence below one that was not, so the greatest of all new
        -- ones that are not fenced is the greatest applied. All of a map and type are fenced, or none.
        SELECT k.*,
            greatest(k.last_before, max(k.sequence)
                FILTER (WHERE NOT k.is_repeat AND k.known_status IS NULL AND k.fence_epoch IS NULL) OVER (
                    PARTITION BY k.account_id, k.incarnation, k.data_type, k.map_name ORDER BY k.ordinal
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                )) AS last
        FROM known AS k
    ),
    decided AS (
        SELECT p.*,
            NOT p.is_repeat AND p.known_status IS NULL AS is_new,
            NOT p.is_repeat AND p.known_status IS NULL AND p.fence_epoch IS NULL AND p.sequence > p.last
                AS takes_effect,
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
                WHEN d.fence_epoch IS NOT NULL THEN 'FENCED'
                ELSE 'OUT_OF_ORDER'
            END AS status,
            CASE
                WHEN NOT d.is_new THEN d.known_outcome
                WHEN d.fence_epoch IS NOT NULL THEN d.fence_epoch
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
        first_value(a.status) OVER same_name,
        first_value(a.outcome) OVER same_name,
        NOT a.is_new
    FROM answered AS a
    WINDOW same_name AS (PARTITION BY a.account_id, a.incarnation, a.counter ORDER BY a.ordinal)
    ORDER BY a.ordinal;
END
$$;

-- Applies one operation, which must be an event, and if it takes effect now stores the embedding `p_id`, or removes it
-- when `p_embedding` is NULL: `change_embedding` with the answers of `apply_operations`.
CREATE OR REPLACE FUNCTION p2p_sync.apply_embedding(
    p_account bigint, p_incarnation bigint, p_counter bigint, p_type smallint, p_map text, p_sequence bigint,
    p_critical boolean, p_data text, p_received_us bigint, p_id text, p_embedding vector(1536), p_metadata jsonb
) RETURNS TABLE (status text, outcome bigint, is_duplicate boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    SELECT a.status, a.outcome, a.is_duplicate
    INTO status, outcome, is_duplicate
    FROM p2p_sync.apply_operations(
        ARRAY[p_account], ARRAY[p_incarnation], ARRAY[p_counter], ARRAY[p_type], ARRAY[NULL::bigint], ARRAY[p_map],
        ARRAY[p_sequence], ARRAY[p_critical], ARRAY[p_data], ARRAY[p_received_us], NULL, NULL, NULL, NULL, NULL
    ) AS a;
    IF status = 'APPLIED' AND NOT is_duplicate THEN
        IF p_embedding IS NULL THEN
            DELETE FROM p2p_sync.embeddings AS e WHERE e.id = p_id;
        ELSE
            INSERT INTO p2p_sync.embeddings AS e (id, embedding, metadata)
            VALUES (p_id, p_embedding, p_metadata)
            ON CONFLICT (id) DO UPDATE SET
                embedding = excluded.embedding, metadata = excluded.metadata, updated_at = now();
        END IF;
    END IF;
    RETURN NEXT;
END
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

-- Takes the locks under which the hosts of these maps change.
CREATE OR REPLACE FUNCTION p2p_sync.lock_maps(p_maps text[]) RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(1882353779, l.number)
    FROM (
        SELECT DISTINCT p2p_sync.map_lock(m) AS number FROM unnest(p_maps) AS m ORDER BY 1
    ) AS l
$$;

-- Gives the parts of one map anew, changing as little as can be, and says what changed, in order: see `settle` in
-- sync-core/src/store/hosting.rs. The caller holds the lock on hosts and the map's.
CREATE OR REPLACE FUNCTION p2p_sync.settle_map(p_map_name text, p_at timestamptz)
RETURNS TABLE (map_name text, account_id bigint, part text, epoch bigint, began boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_candidates bigint[];
    v_primary bigint;
    v_primary_epoch bigint;
    v_epoch bigint;
    v_account bigint;
    v_other record;
    v_backups bigint;
    v_assistants bigint;
BEGIN
    map_name := p_map_name;
    SELECT coalesce(array_agg(m.account_id ORDER BY m.score_millionths DESC, m.account_id), '{}')
    INTO v_candidates
    FROM p2p_sync.host_offers AS o
    JOIN p2p_sync.host_metrics AS m ON m.account_id = o.account_id
    WHERE o.map_name = p_map_name AND m.is_fit AND m.last_health_check > p_at - interval '45 seconds';
    SELECT a.account_id, a.epoch INTO v_primary, v_primary_epoch
    FROM p2p_sync.host_assignments AS a
    WHERE a.map_name = p_map_name AND a.is_active AND NOT a.is_backup AND NOT a.is_assistance;
    IF v_primary IS NULL OR NOT (
        v_primary = ANY (v_candidates)
        OR (cardinality(v_candidates) = 0 AND EXISTS (
            SELECT FROM p2p_sync.host_offers AS o
            JOIN p2p_sync.host_metrics AS m ON m.account_id = o.account_id
            WHERE o.map_name = p_map_name AND o.account_id = v_primary
                AND m.last_health_check > p_at - interval '45 seconds'
        ))
    ) THEN
        UPDATE p2p_sync.host_assignments AS a
        SET is_active = false, unassigned_at = now()
        WHERE a.map_name = p_map_name AND a.account_id = v_primary AND a.is_active;
        IF cardinality(v_candidates) > 0 THEN
            INSERT INTO p2p_sync.map_epochs AS e (map_name, epoch) VALUES (p_map_name, 1)
            ON CONFLICT (map_name) DO UPDATE SET epoch = e.epoch + 1
            RETURNING e.epoch INTO v_epoch;
            UPDATE p2p_sync.host_assignments AS a
            SET is_active = false, unassigned_at = now()
            WHERE a.map_name = p_map_name AND a.account_id = v_candidates[1] AND a.is_active
            RETURNING a.is_backup, a.epoch INTO v_other;
            INSERT INTO p2p_sync.host_assignments (account_id, map_name, epoch)
            VALUES (v_candidates[1], p_map_name, v_epoch);
            account_id := v_candidates[1]; part := 'primary'; epoch := v_epoch; began := true;
            RETURN NEXT;
            IF v_other.epoch IS NOT NULL THEN
                part := CASE WHEN v_other.is_backup THEN 'backup' ELSE 'assistant' END;
                epoch := v_other.epoch; began := false;
                RETURN NEXT;
            END IF;
        END IF;
        IF v_primary IS NOT NULL THEN
            account_id := v_primary; part := 'primary'; epoch := v_primary_epoch; began := false;
            RETURN NEXT;
        END IF;
    END IF;
    FOR v_other IN
        SELECT a.assignment_id, a.account_id, a.is_backup, a.epoch
        FROM p2p_sync.host_assignments AS a
        WHERE a.map_name = p_map_name AND a.is_active AND (a.is_backup OR a.is_assistance)
            AND NOT a.account_id = ANY (v_candidates)
        ORDER BY a.account_id
    LOOP
        UPDATE p2p_sync.host_assignments AS a
        SET is_active = false, unassigned_at = now()
        WHERE a.assignment_id = v_other.assignment_id;
        account_id := v_other.account_id; epoch := v_other.epoch; began := false;
        part := CASE WHEN v_other.is_backup THEN 'backup' ELSE 'assistant' END;
        RETURN NEXT;
    END LOOP;
    SELECT e.epoch INTO v_epoch FROM p2p_sync.map_epochs AS e WHERE e.map_name = p_map_name;
    SELECT count(*) FILTER (WHERE a.is_backup), count(*) FILTER (WHERE a.is_assistance)
    INTO v_backups, v_assistants
    FROM p2p_sync.host_assignments AS a
    WHERE a.map_name = p_map_name AND a.is_active;
    FOREACH v_account IN ARRAY v_candidates LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM p2p_sync.host_assignments AS a
            WHERE a.map_name = p_map_name AND a.account_id = v_account AND a.is_active
        );
        IF v_backups < 2 THEN
            part := 'backup';
            v_backups := v_backups + 1;
        ELSIF v_assistants < 2 THEN
            part := 'assistant';
            v_assistants := v_assistants + 1;
        ELSE
            EXIT;
        END IF;
        INSERT INTO p2p_sync.host_assignments (account_id, map_name, epoch, is_backup, is_assistance)
        VALUES (v_account, p_map_name, v_epoch, settle_map.part = 'backup', settle_map.part = 'assistant');
        account_id := v_account; epoch := v_epoch; began := true;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Takes a host's report and settles every map that it offers or offered. Answers with what changed, in order, and
-- then (`began` is NULL) with the parts that the host plays now.
CREATE OR REPLACE FUNCTION p2p_sync.report_host(
    p_account_id bigint, p_cpu_mhz integer, p_cpu_cores integer, p_free_ram_mb bigint, p_network_mbps integer,
    p_latency_ms integer, p_disconnects integer, p_vps boolean, p_is_fit boolean, p_score bigint,
    p_maps text[], p_at_us bigint
) RETURNS TABLE (map_name text, account_id bigint, part text, epoch bigint, began boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_at timestamptz := timestamptz 'epoch' + p_at_us * interval '1 microsecond';
    v_maps text[];
    v_map text;
BEGIN
    PERFORM pg_advisory_xact_lock(1882353779, -1);
    SELECT coalesce(array_agg(DISTINCT m.map_name COLLATE "C" ORDER BY m.map_name COLLATE "C"), '{}') INTO v_maps
    FROM (
        SELECT o.map_name FROM p2p_sync.host_offers AS o WHERE o.account_id = p_account_id
        UNION ALL
        SELECT unnest(p_maps)
    ) AS m;
    PERFORM p2p_sync.lock_maps(v_maps);
    INSERT INTO p2p_sync.host_metrics AS h
        (account_id, cpu_ghz, cpu_cores, free_ram_mb, network_speed_mbps, latency_ms, disconnects_per_hour,
         last_health_check, vps_connection_active, is_fit, score_millionths)
    VALUES (p_account_id, p_cpu_mhz / 1000.0, p_cpu_cores, p_free_ram_mb, p_network_mbps, p_latency_ms,
        p_disconnects, v_at, p_vps, p_is_fit, p_score)
    ON CONFLICT (account_id) DO UPDATE SET
        cpu_ghz = excluded.cpu_ghz, cpu_cores = excluded.cpu_cores, free_ram_mb = excluded.free_ram_mb,
        network_speed_mbps = excluded.network_speed_mbps, latency_ms = excluded.latency_ms,
        disconnects_per_hour = excluded.disconnects_per_hour,
        last_health_check = greatest(h.last_health_check, excluded.last_health_check),
        consecutive_failed_checks = 0, vps_connection_active = excluded.vps_connection_active,
        is_fit = excluded.is_fit, score_millionths = excluded.score_millionths;
    DELETE FROM p2p_sync.host_offers AS o
    WHERE o.account_id = p_account_id AND NOT o.map_name = ANY (p_maps);
    INSERT INTO p2p_sync.host_offers (account_id, map_name)
    SELECT p_account_id, m FROM unnest(p_maps) AS m
    ON CONFLICT DO NOTHING;
    FOREACH v_map IN ARRAY v_maps LOOP
        RETURN QUERY SELECT * FROM p2p_sync.settle_map(v_map, v_at);
    END LOOP;
    RETURN QUERY
    SELECT a.map_name, a.account_id,
        CASE WHEN a.is_backup THEN 'backup' WHEN a.is_assistance THEN 'assistant' ELSE 'primary' END,
        a.epoch, NULL::boolean
    FROM p2p_sync.host_assignments AS a
    WHERE a.account_id = p_account_id AND a.is_active AND a.map_name = ANY (v_maps)
    ORDER BY a.map_name;
END
$$;

-- Counts missed health checks, drops hosts that have missed three, at most `p_limit`, and settles what they
-- offered. Answers with what changed, in order, and last (`began` is NULL) with how many were dropped, as epoch.
CREATE OR REPLACE FUNCTION p2p_sync.sweep_hosts(p_at_us bigint, p_limit bigint)
RETURNS TABLE (map_name text, account_id bigint, part text, epoch bigint, began boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_at timestamptz := timestamptz 'epoch' + p_at_us * interval '1 microsecond';
    v_silent bigint[];
    v_maps text[];
    v_map text;
BEGIN
    PERFORM pg_advisory_xact_lock(1882353779, -1);
    UPDATE p2p_sync.host_metrics AS h
    SET consecutive_failed_checks =
        least(3, greatest(0, floor(extract(epoch FROM v_at - h.last_health_check) / 15)))::integer
    WHERE h.consecutive_failed_checks
        <> least(3, greatest(0, floor(extract(epoch FROM v_at - h.last_health_check) / 15)))::integer;
    SELECT coalesce(array_agg(s.account_id), '{}') INTO v_silent
    FROM (
        SELECT h.account_id
        FROM p2p_sync.host_metrics AS h
        WHERE h.last_health_check <= v_at - interval '45 seconds'
            AND EXISTS (SELECT FROM p2p_sync.host_offers AS o WHERE o.account_id = h.account_id)
        ORDER BY h.account_id
        LIMIT p_limit
    ) AS s;
    SELECT coalesce(array_agg(DISTINCT o.map_name ORDER BY o.map_name), '{}') INTO v_maps
    FROM p2p_sync.host_offers AS o
    WHERE o.account_id = ANY (v_silent);
    PERFORM p2p_sync.lock_maps(v_maps);
    DELETE FROM p2p_sync.host_offers AS o WHERE o.account_id = ANY (v_silent);
    FOREACH v_map IN ARRAY v_maps LOOP
        RETURN QUERY SELECT * FROM p2p_sync.settle_map(v_map, v_at);
    END LOOP;
    epoch := cardinality(v_silent);
    RETURN NEXT;
END
$$;
