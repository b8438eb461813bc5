-- Main server, 2: who hosts which map. See 0001 for how these files are run.

-- How a host is doing, as it reports.
CREATE TABLE IF NOT EXISTS p2p_sync.host_metrics (
    account_id                bigint           PRIMARY KEY CHECK (account_id BETWEEN 0 AND 4294967295),
    cpu_ghz                   double precision NOT NULL CHECK (cpu_ghz >= 0),
    cpu_cores                 integer          NOT NULL CHECK (cpu_cores >= 0),
    free_ram_mb               bigint           NOT NULL CHECK (free_ram_mb >= 0),
    network_speed_mbps        double precision NOT NULL CHECK (network_speed_mbps >= 0),
    latency_ms                double precision NOT NULL CHECK (latency_ms >= 0),
    disconnects_per_hour      double precision NOT NULL DEFAULT 0 CHECK (disconnects_per_hour >= 0),
    last_health_check         timestamptz      NOT NULL DEFAULT now(),
    consecutive_failed_checks integer          NOT NULL DEFAULT 0 CHECK (consecutive_failed_checks >= 0),
    -- Region to latency in ms.
    regional_latencies        jsonb            NOT NULL DEFAULT '{}',
    vps_connection_active     boolean          NOT NULL DEFAULT true,
    -- Never NULL, so that an unknown score cannot sort before every known one.
    host_score                double precision NOT NULL DEFAULT 0,
    -- Whether it meets every minimum.
    is_fit                    boolean          NOT NULL DEFAULT false,
    -- The score in whole millionths by which hosts are compared; `host_score` is the same in floating point, for
    -- people.
    score_millionths          bigint           NOT NULL DEFAULT 0,
    last_updated              timestamptz      NOT NULL DEFAULT now()
);

-- Maps that a host offers. A host that was dropped offers none.
CREATE TABLE IF NOT EXISTS p2p_sync.host_offers (
    account_id bigint NOT NULL REFERENCES p2p_sync.host_metrics ON DELETE CASCADE,
    map_name   text   COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, map_name)
);
CREATE INDEX IF NOT EXISTS host_offers_of_map ON p2p_sync.host_offers (map_name);

-- Who may write for a map. `epoch` grows with each primary of a map and fences the former ones.
CREATE TABLE IF NOT EXISTS p2p_sync.host_assignments (
    assignment_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id    bigint      NOT NULL CHECK (account_id BETWEEN 0 AND 4294967295),
    map_name      text        COLLATE "C" NOT NULL,
    epoch         bigint      NOT NULL CHECK (epoch >= 1),
    assigned_at   timestamptz NOT NULL DEFAULT now(),
    unassigned_at timestamptz,
    is_active     boolean     NOT NULL DEFAULT true,
    is_backup     boolean     NOT NULL DEFAULT false,
    is_assistance boolean     NOT NULL DEFAULT false,
    CHECK (is_active = (unassigned_at IS NULL)),
    CHECK (NOT (is_backup AND is_assistance))
);
-- At most one primary a map, at most one part a host plays on it; released assignments are history and may
-- repeat (a unique constraint over is_active would refuse a second release).
CREATE UNIQUE INDEX IF NOT EXISTS host_assignments_one_primary ON p2p_sync.host_assignments (map_name)
    WHERE is_active AND NOT is_backup AND NOT is_assistance;
CREATE UNIQUE INDEX IF NOT EXISTS host_assignments_one_part ON p2p_sync.host_assignments (map_name, account_id)
    WHERE is_active;
CREATE UNIQUE INDEX IF NOT EXISTS host_assignments_one_epoch ON p2p_sync.host_assignments (map_name, epoch)
    WHERE NOT is_backup AND NOT is_assistance;
CREATE INDEX IF NOT EXISTS host_assignments_of_account ON p2p_sync.host_assignments (account_id)
    WHERE is_active;

-- The epoch of each map's latest primary; its row is the lock under which primaries change.
CREATE TABLE IF NOT EXISTS p2p_sync.map_epochs (
    map_name text   COLLATE "C" PRIMARY KEY,
    epoch    bigint NOT NULL CHECK (epoch >= 1)
);

-- What was found when a host's data were validated.
CREATE TABLE IF NOT EXISTS p2p_sync.security_validations (
    validation_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      bigint      NOT NULL CHECK (account_id BETWEEN 0 AND 4294967295),
    map_name        text        COLLATE "C" NOT NULL,
    validation_type text        NOT NULL CHECK (validation_type IN
        ('SPAWN_RATE', 'DROP_RATE', 'MONSTER_STATS', 'PLAYER_MOVEMENT', 'SKILL_USAGE', 'DATA_FORM',
            'ACCOUNT_RIGHTS')),
    is_valid        boolean     NOT NULL,
    details         jsonb       NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS security_validations_of_account
    ON p2p_sync.security_validations (account_id, created_at);

-- MAP_STATE as the specification has it. `state` is NULL where jsonb cannot hold the text (it refuses
-- \u0000); `states.data` always has it. A map without an active primary is run by the main server's own
-- machines, hence `is_vps_hosted`.
CREATE OR REPLACE VIEW p2p_sync.map_states AS
SELECT
    s.map_name,
    CASE WHEN pg_input_is_valid(s.data, 'jsonb') THEN s.data::jsonb END AS state,
    s.updated_at AS last_updated,
    h.host_account_id,
    h.host_account_id IS NULL AS is_vps_hosted,
    coalesce(h.backup_host_ids, '{}') AS backup_host_ids,
    coalesce(h.assistance_host_ids, '{}') AS assistance_host_ids,
    s.version
FROM p2p_sync.states AS s
LEFT JOIN LATERAL (
    SELECT
        min(a.account_id) FILTER (WHERE NOT a.is_backup AND NOT a.is_assistance) AS host_account_id,
        array_agg(a.account_id ORDER BY a.assignment_id) FILTER (WHERE a.is_backup) AS backup_host_ids,
        array_agg(a.account_id ORDER BY a.assignment_id) FILTER (WHERE a.is_assistance) AS assistance_host_ids
    FROM p2p_sync.host_assignments AS a
    WHERE a.map_name = s.map_name AND a.is_active
) AS h ON true
WHERE s.data_type = 0;

-- The score of the specification. The minima are 3.0 GHz, 8192 MB, 100 Mbps; the maxima 30 ms and one
-- disconnect an hour. Missing numbers count as the worst.
CREATE OR REPLACE FUNCTION p2p_sync.calculate_host_score(
    p_cpu_ghz double precision, p_cpu_cores integer, p_free_ram_mb bigint, p_network_speed_mbps double precision,
    p_latency_ms double precision, p_disconnects_per_hour double precision
) RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        0.2 * (p_cpu_ghz * p_cpu_cores / 3.0)
        + 0.2 * (p_free_ram_mb / 8192.0)
        + 0.2 * (p_network_speed_mbps / 100.0)
        + 0.3 * (30.0 / (p_latency_ms + 1.0))
        + 0.1 * (1.0 - p_disconnects_per_hour / 1.0),
        0)
$$;

CREATE OR REPLACE FUNCTION p2p_sync.set_host_score() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.host_score := p2p_sync.calculate_host_score(NEW.cpu_ghz, NEW.cpu_cores, NEW.free_ram_mb,
        NEW.network_speed_mbps, NEW.latency_ms, NEW.disconnects_per_hour);
    NEW.last_updated := now();
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER host_metrics_score BEFORE INSERT OR UPDATE ON p2p_sync.host_metrics
    FOR EACH ROW EXECUTE FUNCTION p2p_sync.set_host_score();

-- The best host for a map: meets every minimum, was healthy within three checks of 15 s, and plays no part
-- on the map yet. NULL when there is none. Equal scores go to the smaller account, so that the answer is
-- one and the same everywhere.
CREATE OR REPLACE FUNCTION p2p_sync.choose_host(p_map_name text, p_now timestamptz DEFAULT now())
RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT m.account_id
    FROM p2p_sync.host_metrics AS m
    WHERE m.vps_connection_active AND m.consecutive_failed_checks < 3
        AND m.last_health_check > p_now - interval '45 seconds'
        AND m.cpu_ghz >= 3.0 AND m.cpu_cores >= 4 AND m.free_ram_mb >= 8192
        AND m.network_speed_mbps >= 100 AND m.latency_ms <= 30 AND m.disconnects_per_hour <= 1
        AND NOT EXISTS (
            SELECT FROM p2p_sync.host_assignments AS a
            WHERE a.map_name = p_map_name AND a.account_id = m.account_id AND a.is_active
        )
    ORDER BY m.host_score DESC, m.account_id
    LIMIT 1
$$;

-- Makes an account the primary of a map and says its epoch. The former primary and the new one's other part
-- end in the same transaction, so there is a primary at every moment and never two.
CREATE OR REPLACE FUNCTION p2p_sync.assign_primary(p_map_name text, p_account_id bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_epoch bigint;
BEGIN
    INSERT INTO p2p_sync.map_epochs AS e (map_name, epoch) VALUES (p_map_name, 1)
    ON CONFLICT (map_name) DO UPDATE SET epoch = e.epoch + 1
    RETURNING e.epoch INTO v_epoch;
    UPDATE p2p_sync.host_assignments
    SET is_active = false, unassigned_at = now()
    WHERE map_name = p_map_name AND is_active
        AND (account_id = p_account_id OR (NOT is_backup AND NOT is_assistance));
    INSERT INTO p2p_sync.host_assignments (account_id, map_name, epoch)
    VALUES (p_account_id, p_map_name, v_epoch);
    RETURN v_epoch;
END
$$;

-- The lock between the writes of what belongs to a map, which share it, and a change of who hosts the map. Maps
-- share 64 of them, so that a large batch takes few; they are taken in the order of their numbers.
CREATE OR REPLACE FUNCTION p2p_sync.map_lock(p_map_name text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT hashtext(p_map_name) & 63 $$;

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

-- The database's clock, by which hosts live and die: the clocks of main servers may differ.
CREATE OR REPLACE FUNCTION p2p_sync.moment() RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp() $$;

-- Takes the reports of hosts, which come in the order of their accounts, each once, `p_maps` being the names of the maps
-- that a host offers in their order, with commas between. Settles the maps of those whose standing changes: who is new,
-- comes back, becomes fit or unfit, or offers other maps; and maps on which somebody plays a part who has fallen silent.
-- A score decides only when a part is free, and parts are free only where nobody is left to take them: so a report that
-- changes nothing else changes no map, touches its host's row, and waits for no other host's.
-- Answers with what changed, in order, and then (`began` is NULL) with the parts that these hosts play now.
--
-- Locks: that on hosts, then those of maps, then rows of host_metrics in the order of the accounts. Without the first
-- only the last are taken.
CREATE OR REPLACE FUNCTION p2p_sync.report_hosts(
    p_accounts bigint[], p_cpu_mhz integer[], p_cpu_cores integer[], p_free_ram_mb bigint[], p_network_mbps integer[],
    p_latency_ms integer[], p_disconnects integer[], p_vps boolean[], p_is_fit boolean[], p_score bigint[],
    p_maps text[]
) RETURNS TABLE (map_name text, account_id bigint, part text, epoch bigint, began boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_at timestamptz := p2p_sync.moment();
    v_locked boolean := false;
    v_changed bigint[];
    v_maps text[];
    v_map text;
BEGIN
    LOOP
        SELECT coalesce(array_agg(r.account_id), '{}') INTO v_changed
        FROM unnest(p_accounts, p_is_fit, p_maps) AS r (account_id, is_fit, maps)
        WHERE NOT EXISTS (
                SELECT FROM p2p_sync.host_metrics AS h
                WHERE h.account_id = r.account_id AND h.is_fit = r.is_fit
                    AND h.last_health_check > v_at - interval '45 seconds'
            )
            OR r.maps <> coalesce((
                SELECT string_agg(o.map_name, ',' ORDER BY o.map_name)
                FROM p2p_sync.host_offers AS o
                WHERE o.account_id = r.account_id
            ), '');
        SELECT coalesce(array_agg(m.map_name ORDER BY m.map_name), '{}') INTO v_maps
        FROM (
            SELECT o.map_name FROM p2p_sync.host_offers AS o WHERE o.account_id = ANY (v_changed)
            UNION
            SELECT offered.map_name COLLATE "C"
            FROM unnest(p_accounts, p_maps) AS r (account_id, maps),
                unnest(string_to_array(r.maps, ',')) AS offered (map_name)
            WHERE r.account_id = ANY (v_changed)
            UNION
            SELECT a.map_name
            FROM (
                SELECT DISTINCT o.map_name
                FROM unnest(p_maps) AS r (maps), unnest(string_to_array(r.maps, ',')) AS o (map_name)
            ) AS offered
            JOIN p2p_sync.host_assignments AS a ON a.map_name = offered.map_name AND a.is_active
            WHERE NOT EXISTS (
                SELECT FROM p2p_sync.host_metrics AS h
                WHERE h.account_id = a.account_id AND h.last_health_check > v_at - interval '45 seconds'
            )
        ) AS m;
        EXIT WHEN v_locked OR (cardinality(v_changed) = 0 AND cardinality(v_maps) = 0);
        -- What was seen without the lock may have changed: look again.
        PERFORM pg_advisory_xact_lock(1882353779, -1);
        v_at := p2p_sync.moment();
        v_locked := true;
    END LOOP;
    PERFORM p2p_sync.lock_maps(v_maps);
    INSERT INTO p2p_sync.host_metrics AS h
        (account_id, cpu_ghz, cpu_cores, free_ram_mb, network_speed_mbps, latency_ms, disconnects_per_hour,
         last_health_check, vps_connection_active, is_fit, score_millionths)
    SELECT r.account_id, r.cpu_mhz / 1000.0, r.cpu_cores, r.free_ram_mb, r.network_mbps, r.latency_ms, r.disconnects,
        v_at, r.vps, r.is_fit, r.score
    FROM unnest(p_accounts, p_cpu_mhz, p_cpu_cores, p_free_ram_mb, p_network_mbps, p_latency_ms, p_disconnects, p_vps,
            p_is_fit, p_score)
        AS r (account_id, cpu_mhz, cpu_cores, free_ram_mb, network_mbps, latency_ms, disconnects, vps, is_fit, score)
    ORDER BY r.account_id
    ON CONFLICT (account_id) DO UPDATE SET
        cpu_ghz = excluded.cpu_ghz, cpu_cores = excluded.cpu_cores, free_ram_mb = excluded.free_ram_mb,
        network_speed_mbps = excluded.network_speed_mbps, latency_ms = excluded.latency_ms,
        disconnects_per_hour = excluded.disconnects_per_hour,
        last_health_check = greatest(h.last_health_check, excluded.last_health_check),
        consecutive_failed_checks = 0, vps_connection_active = excluded.vps_connection_active,
        is_fit = excluded.is_fit, score_millionths = excluded.score_millionths
    -- Another report of the host came in between and changed its standing: that needs the lock, and the next report.
    WHERE v_locked OR h.is_fit = excluded.is_fit;
    IF cardinality(v_changed) > 0 THEN
        DELETE FROM p2p_sync.host_offers AS o
        USING unnest(p_accounts, p_maps) AS r (account_id, maps)
        WHERE r.account_id = ANY (v_changed) AND o.account_id = r.account_id
            AND NOT o.map_name = ANY (string_to_array(r.maps, ','));
        INSERT INTO p2p_sync.host_offers (account_id, map_name)
        SELECT r.account_id, offered.map_name
        FROM unnest(p_accounts, p_maps) AS r (account_id, maps),
            unnest(string_to_array(r.maps, ',')) AS offered (map_name)
        WHERE r.account_id = ANY (v_changed)
        ON CONFLICT DO NOTHING;
    END IF;
    FOREACH v_map IN ARRAY v_maps LOOP
        RETURN QUERY SELECT * FROM p2p_sync.settle_map(v_map, v_at);
    END LOOP;
    RETURN QUERY
    SELECT a.map_name, a.account_id,
        CASE WHEN a.is_backup THEN 'backup' WHEN a.is_assistance THEN 'assistant' ELSE 'primary' END,
        a.epoch, NULL::boolean
    FROM unnest(p_accounts, p_maps) AS r (account_id, maps)
    JOIN p2p_sync.host_assignments AS a ON a.account_id = r.account_id AND a.is_active
    WHERE a.map_name = ANY (string_to_array(r.maps, ','))
    ORDER BY a.account_id, a.map_name;
END
$$;

-- Counts missed health checks, drops hosts that have missed three, at most `p_limit`, and settles what they
-- offered. Answers with what changed, in order, and last (`began` is NULL) with how many were dropped, as epoch.
-- Locks as `report_hosts` does.
CREATE OR REPLACE FUNCTION p2p_sync.sweep_hosts(p_limit bigint)
RETURNS TABLE (map_name text, account_id bigint, part text, epoch bigint, began boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_at timestamptz;
    v_silent bigint[];
    v_maps text[];
    v_map text;
BEGIN
    PERFORM pg_advisory_xact_lock(1882353779, -1);
    v_at := p2p_sync.moment();
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
    UPDATE p2p_sync.host_metrics AS h
    SET consecutive_failed_checks = late.failed
    FROM (
        SELECT m.account_id,
            least(3, greatest(0, floor(extract(epoch FROM v_at - m.last_health_check) / 15)))::integer AS failed
        FROM p2p_sync.host_metrics AS m
        WHERE m.consecutive_failed_checks
            <> least(3, greatest(0, floor(extract(epoch FROM v_at - m.last_health_check) / 15)))::integer
        ORDER BY m.account_id
        FOR UPDATE
    ) AS late
    WHERE h.account_id = late.account_id;
    DELETE FROM p2p_sync.host_offers AS o WHERE o.account_id = ANY (v_silent);
    FOREACH v_map IN ARRAY v_maps LOOP
        RETURN QUERY SELECT * FROM p2p_sync.settle_map(v_map, v_at);
    END LOOP;
    epoch := cardinality(v_silent);
    RETURN NEXT;
END
$$;
