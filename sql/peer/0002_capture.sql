-- A peer's database, 2: the clock, stamps, and what all captured tables share. The functions and triggers of each
-- table are made by the peer when it connects, since only it knows which columns travel.

-- This node's clock: the server's, and an offset for tests of skew.
CREATE OR REPLACE FUNCTION p2p_peer.p2p_clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT clock_timestamp() + offset_us * interval '1 microsecond' FROM p2p_peer.clock
$$;

-- The same in microseconds since 1970.
CREATE OR REPLACE FUNCTION p2p_peer.clock_us() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT (extract(epoch FROM p2p_peer.p2p_clock()) * 1000000)::bigint
$$;

-- Gives `wanted` stamps, (us, counter) and those after it with the same microseconds. They are greater than every stamp
-- that was given or absorbed before, whatever the clock does. The lock is let go at once, not when the transaction ends:
-- it belongs to the session, so whatever interrupts this has to let it go, too. Assignments, where PERFORM would do: an
-- expression without a table costs a tenth of a statement.
CREATE OR REPLACE FUNCTION p2p_peer.take_stamps(wanted bigint, OUT us bigint, OUT counter bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    last_us      bigint;
    last_counter bigint;
    done         boolean;
BEGIN
    IF wanted < 1 THEN
        RETURN;
    END IF;
    done := pg_advisory_lock(8102931207438591077) IS NOT NULL;
    last_us := coalesce(pg_sequence_last_value('p2p_peer.stamp_us'), 0);
    last_counter := coalesce(pg_sequence_last_value('p2p_peer.stamp_counter'), 0);
    us := p2p_peer.clock_us();
    counter := 0;
    IF us <= last_us THEN
        us := last_us;
        counter := last_counter + 1;
    END IF;
    -- A counter has 32 bits; one that is used up is carried.
    IF counter + wanted > 4294967295 THEN
        us := us + 1;
        counter := 0;
    END IF;
    done := setval('p2p_peer.stamp_us', us) IS NOT NULL;
    done := setval('p2p_peer.stamp_counter', counter + wanted - 1) IS NOT NULL;
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
