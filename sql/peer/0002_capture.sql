-- A peer's database, 2: the clock, stamps, and what all captured tables share. The functions and triggers of each
-- table are made by the peer when it connects, since only it knows which columns travel.

-- How far this node's clock is from the server's. Whoever tests skew sets it with UPDATE; it counts at once and for all.
CREATE OR REPLACE VIEW p2p_peer.clock AS
    SELECT coalesce(pg_sequence_last_value('p2p_peer.clock_offset'), 0) AS offset_us;
CREATE OR REPLACE FUNCTION p2p_peer.set_clock() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM setval('p2p_peer.clock_offset', NEW.offset_us);
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER set_clock INSTEAD OF UPDATE ON p2p_peer.clock
FOR EACH ROW EXECUTE FUNCTION p2p_peer.set_clock();

-- This node's clock: the server's, and an offset for tests of skew.
CREATE OR REPLACE FUNCTION p2p_peer.p2p_clock() RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$
    SELECT clock_timestamp()
        + coalesce(pg_sequence_last_value('p2p_peer.clock_offset'), 0) * interval '1 microsecond'
$$;

-- The same in microseconds since 1970. An expression alone, so that PL/pgSQL takes it in where it is called: a query would
-- cost every statement of an application as much as all else that is done to stamp it.
CREATE OR REPLACE FUNCTION p2p_peer.clock_us() RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
        + coalesce(pg_sequence_last_value('p2p_peer.clock_offset'), 0)
$$;

-- Gives `wanted` stamps, (us, counter) and those after it with the same microseconds. They are greater than every stamp
-- that was given or absorbed before, whatever the clock does. The lock is let go at once, not when the transaction ends:
-- it belongs to the session, so whatever interrupts this has to let it go, too. Few assignments, and no PERFORM: each
-- expression costs, and one without a table far less than a statement.
CREATE OR REPLACE FUNCTION p2p_peer.take_stamps(wanted bigint, OUT us bigint, OUT counter bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    last_us bigint;
    done    boolean;
BEGIN
    IF wanted < 1 THEN
        RETURN;
    END IF;
    done := pg_advisory_lock(8102931207438591077) IS NOT NULL;
    last_us := coalesce(pg_sequence_last_value('p2p_peer.stamp_us'), 0);
    us := p2p_peer.clock_us();
    counter := 0;
    IF us <= last_us THEN
        us := last_us;
        counter := coalesce(pg_sequence_last_value('p2p_peer.stamp_counter'), 0) + 1;
    END IF;
    -- A counter has 32 bits; one that is used up is carried.
    IF counter + wanted > 4294967295 THEN
        us := us + 1;
        counter := 0;
    END IF;
    done := setval('p2p_peer.stamp_us', us) + setval('p2p_peer.stamp_counter', counter + wanted - 1) IS NOT NULL;
    done := pg_advisory_unlock(8102931207438591077);
EXCEPTION WHEN query_canceled OR OTHERS THEN
    PERFORM pg_advisory_unlock(8102931207438591077);
    RAISE;
END
$$;

-- Stamps that are given from now on are greater than this one.
CREATE OR REPLACE FUNCTION p2p_peer.absorb_stamp(seen_us bigint, seen_counter bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    last_us      bigint;
    last_counter bigint;
    done         boolean;
BEGIN
    done := pg_advisory_lock(8102931207438591077) IS NOT NULL;
    last_us := coalesce(pg_sequence_last_value('p2p_peer.stamp_us'), 0);
    last_counter := coalesce(pg_sequence_last_value('p2p_peer.stamp_counter'), 0);
    IF (seen_us, seen_counter) > (last_us, last_counter) THEN
        done := setval('p2p_peer.stamp_us', seen_us) IS NOT NULL;
        done := setval('p2p_peer.stamp_counter', seen_counter) IS NOT NULL;
    END IF;
    done := pg_advisory_unlock(8102931207438591077);
EXCEPTION WHEN query_canceled OR OTHERS THEN
    PERFORM pg_advisory_unlock(8102931207438591077);
    RAISE;
END
$$;

-- TRUNCATE names no rows, so nobody else could be told what went.
CREATE OR REPLACE FUNCTION p2p_peer.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table "%" travels between peers: TRUNCATE cannot be captured', TG_TABLE_NAME
        USING ERRCODE = 'feature_not_supported', HINT = 'Use DELETE FROM, which is captured.';
END
$$;
