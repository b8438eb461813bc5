-- Main server, 3: what an operation does. See 0001 for how these files are run.

-- Makes and locks, in the order of the keys, all rows that a batch with conditions touches in positions, paces and
-- states, so that it can decide its operations one after the other in the order of their arrival. For
-- `apply_operations`, which says what is in the arrays.
CREATE OR REPLACE FUNCTION p2p_sync.lock_for_checks(
    p_accounts bigint[], p_incarnations bigint[], p_counters bigint[], p_types smallint[], p_owners bigint[],
    p_maps text[], p_checks smallint[], p_check_a bigint[]
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_wanted bigint;
    v_locked bigint;
BEGIN
    -- No position ever goes.
    INSERT INTO p2p_sync.positions (account_id, map_name, data_type, x, y, at_us)
    SELECT DISTINCT k.account_id, k.map_name COLLATE "C", k.data_type, 0, 0, -1
    FROM unnest(p_accounts, p_maps, p_types, p_checks) AS k (account_id, map_name, data_type, checked)
    WHERE k.checked = 0 AND NOT EXISTS (
        SELECT FROM p2p_sync.positions AS p
        WHERE p.account_id = k.account_id AND p.map_name = k.map_name AND p.data_type = k.data_type
        OFFSET 0
    )
    ORDER BY 1, 2, 3
    ON CONFLICT DO NOTHING;
    PERFORM p.locked
    FROM (
        SELECT DISTINCT k.account_id, k.map_name COLLATE "C" AS map_name, k.data_type
        FROM unnest(p_accounts, p_maps, p_types, p_checks) AS k (account_id, map_name, data_type, checked)
        WHERE k.checked = 0
        ORDER BY 1, 2, 3
    ) AS k
    LEFT JOIN LATERAL (
        SELECT true AS locked
        FROM p2p_sync.positions AS p
        WHERE p.account_id = k.account_id AND p.map_name = k.map_name AND p.data_type = k.data_type
        FOR UPDATE
    ) AS p ON true;
    LOOP
        INSERT INTO p2p_sync.paces (rule, account_id, map_name, subject, taken_until_us)
        SELECT DISTINCT k.checked - 1, CASE WHEN k.checked = 3 THEN k.account_id ELSE 0 END,
            CASE WHEN k.checked = 3 THEN '' ELSE k.map_name END COLLATE "C", k.subject, 0
        FROM unnest(p_accounts, p_maps, p_checks, p_check_a) AS k (account_id, map_name, checked, subject)
        WHERE k.checked > 0 AND NOT EXISTS (
            SELECT FROM p2p_sync.paces AS p
            WHERE p.rule = k.checked - 1
                AND p.account_id = CASE WHEN k.checked = 3 THEN k.account_id ELSE 0 END
                AND p.map_name = CASE WHEN k.checked = 3 THEN '' ELSE k.map_name END
                AND p.subject = k.subject
            OFFSET 0
        )
        ORDER BY 1, 2, 3, 4
        ON CONFLICT DO NOTHING;
        SELECT count(*), count(p.locked) INTO v_wanted, v_locked
        FROM (
            SELECT DISTINCT k.checked - 1 AS rule, CASE WHEN k.checked = 3 THEN k.account_id ELSE 0 END AS account_id,
                CASE WHEN k.checked = 3 THEN '' ELSE k.map_name END COLLATE "C" AS map_name, k.subject
            FROM unnest(p_accounts, p_maps, p_checks, p_check_a) AS k (account_id, map_name, checked, subject)
            WHERE k.checked > 0
            ORDER BY 1, 2, 3, 4
        ) AS k
        LEFT JOIN LATERAL (
            SELECT true AS locked
            FROM p2p_sync.paces AS p
            WHERE p.rule = k.rule AND p.account_id = k.account_id AND p.map_name = k.map_name
                AND p.subject = k.subject
            FOR UPDATE
        ) AS p ON true;
        -- Fewer only when a purge has just removed one.
        EXIT WHEN v_wanted = v_locked;
    END LOOP;
    LOOP
        INSERT INTO p2p_sync.states
            (data_type, owner, map_name, version, data, account_id, incarnation, counter, updated_at)
        SELECT DISTINCT ON (k.data_type, k.owner, k.map_name COLLATE "C")
            k.data_type, k.owner, k.map_name, 0, '', k.account_id, k.incarnation, k.counter, now()
        FROM unnest(p_types, p_owners, p_maps, p_accounts, p_incarnations, p_counters)
            AS k (data_type, owner, map_name, account_id, incarnation, counter)
        WHERE k.owner IS NOT NULL AND NOT EXISTS (
            SELECT FROM p2p_sync.states AS s
            WHERE s.data_type = k.data_type AND s.owner = k.owner AND s.map_name = k.map_name
            OFFSET 0
        )
        ORDER BY k.data_type, k.owner, k.map_name COLLATE "C"
        ON CONFLICT DO NOTHING;
        SELECT count(*), count(s.locked) INTO v_wanted, v_locked
        FROM (
            SELECT DISTINCT k.data_type, k.owner, k.map_name COLLATE "C" AS map_name
            FROM unnest(p_types, p_owners, p_maps) AS k (data_type, owner, map_name)
            WHERE k.owner IS NOT NULL
            ORDER BY 1, 2, 3
        ) AS k
        LEFT JOIN LATERAL (
            SELECT true AS locked
            FROM p2p_sync.states AS s
            WHERE s.data_type = k.data_type AND s.owner = k.owner AND s.map_name = k.map_name
            FOR UPDATE
        ) AS s ON true;
        -- Fewer only when another batch has just taken one away again that had remained none.
        EXIT WHEN v_wanted = v_locked;
    END LOOP;
END
$$;

-- Applies a batch in the order of its arrays, all of it or nothing, in the caller's transaction.
--
-- For each operation: a name that was seen before is answered as it was then; what belongs to a map (types 0, 1 and 4)
-- that has had a primary is fenced unless the account is its present one; a sequence at or below the greatest applied
-- one of the same (account, incarnation, type, map) is out of order; a condition that does not hold refuses the
-- operation; else it takes effect. `p_owners` holds whose state an operation replaces, NULL for an event.
-- `p_checks` is NULL when no operation has a condition; else, for each: NULL for none; 0 for a position that must
-- be reachable, with column, row, cells always allowed and thousandths of a cell a second; 1 plus the rule for a
-- pace, with subject, cost and how far it may be ahead of the clock, in microseconds. Operations with conditions are
-- decided one after the other, since each may depend on the one before.
--
-- Needs READ COMMITTED: what is read after a wait for a lock must be what the lock's former holder left.
-- Rows are made in session_sequences, then locked there, then the maps' locks are taken, then, if there are conditions,
-- rows are made and locked in positions and in paces, then rows are made and locked in states, and then made in operations,
-- each time in the order of the key: batches that overlap wait for each other and do not deadlock. Decided one after the
-- other, operations find all rows that they touch made and locked: a position without a moment and a state without a
-- version are none yet, and a state that is none at the end goes again. One case fails and is to be called again: one name used for two maps or types at once (unique_violation).
--
-- Table look-ups are correlated subqueries on purpose: whatever the statistics of a table that has just
-- filled, no plan can choose to scan it.
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
        IF p_checks IS NOT NULL THEN
            PERFORM p2p_sync.lock_for_checks(p_accounts, p_incarnations, p_counters, p_types, p_owners, p_maps,
                p_checks, p_check_a);
        END IF;
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
                    ON CONFLICT (account_id, map_name, data_type) DO UPDATE
                        SET x = excluded.x, y = excluded.y, at_us = excluded.at_us
                        WHERE positions.at_us < 0;
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
        IF cardinality(p_accounts) > 1 THEN
            DELETE FROM p2p_sync.states AS s
            USING (
                SELECT DISTINCT k.data_type, k.owner, k.map_name
                FROM unnest(p_types, p_owners, p_maps) AS k (data_type, owner, map_name)
                WHERE k.owner IS NOT NULL
            ) AS k
            WHERE s.data_type = k.data_type AND s.owner = k.owner AND s.map_name = k.map_name AND s.version = 0;
        END IF;
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
