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
    last_updated              timestamptz      NOT NULL DEFAULT now()
);

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
        ('SPAWN_RATE', 'DROP_RATE', 'MONSTER_STATS', 'PLAYER_MOVEMENT', 'SKILL_USAGE')),
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
