-- Main server, 4: embeddings and their search, the cache table, clean-up. See 0001 for how these files are run.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE IF NOT EXISTS p2p_sync.embeddings (
    id         text         COLLATE "C" PRIMARY KEY,
    embedding  vector(1536) NOT NULL,
    metadata   jsonb        NOT NULL DEFAULT '{}',
    created_at timestamptz  NOT NULL DEFAULT now(),
    updated_at timestamptz  NOT NULL DEFAULT now()
);
-- HNSW learns from each row as it comes. An ivfflat index that is built on an empty table has its lists from
-- nothing, and finds little.
CREATE INDEX IF NOT EXISTS embeddings_nearest ON p2p_sync.embeddings USING hnsw (embedding vector_cosine_ops);
CREATE INDEX IF NOT EXISTS embeddings_metadata ON p2p_sync.embeddings USING gin (metadata jsonb_path_ops);

-- Applies one operation, which must be an event, and if it takes effect now stores the embedding `p_id`, or removes it
-- when `p_embedding` is NULL. Answers as `apply_operations` does.
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

-- The nearest embeddings by cosine distance among those whose metadata contain `p_filter`: `p_limit` of them whenever
-- so many pass. Of equal distances the smaller id comes first.
--
-- Where few pass, all that do are compared, which is exact and cheap. Else the HNSW index is walked, on and on until enough of what it
-- meets passes the filter (iterative scan); should it give up before, all that pass are compared after all. A candidate list
-- (ef_search) shorter than the limit would find no more than its length.
CREATE OR REPLACE FUNCTION p2p_sync.search_embeddings(
    p_embedding vector(1536), p_limit integer DEFAULT 10, p_filter jsonb DEFAULT NULL
) RETURNS TABLE (id text, distance double precision, metadata jsonb)
LANGUAGE plpgsql STABLE
SET hnsw.ef_search = 200
SET hnsw.iterative_scan = 'strict_order'
AS $$
#variable_conflict use_column
DECLARE
    c_few CONSTANT integer := 2000;
    v_found text[];
BEGIN
    IF p_limit <= 0 THEN
        RETURN;
    END IF;
    IF p_filter IS NULL THEN
        v_found := ARRAY(
            SELECT e.id
            FROM p2p_sync.embeddings AS e
            ORDER BY e.embedding <=> p_embedding
            LIMIT p_limit
        );
    ELSIF (
        SELECT count(*) FROM (
            SELECT FROM p2p_sync.embeddings AS e WHERE e.metadata @> p_filter LIMIT c_few + 1
        ) AS few
    ) > c_few THEN
        v_found := ARRAY(
            SELECT e.id
            FROM p2p_sync.embeddings AS e
            WHERE e.metadata @> p_filter
            ORDER BY e.embedding <=> p_embedding
            LIMIT p_limit
        );
    END IF;
    IF cardinality(v_found) = p_limit THEN
        RETURN QUERY
        SELECT e.id, e.embedding <=> p_embedding, e.metadata
        FROM p2p_sync.embeddings AS e
        WHERE e.id = ANY (v_found)
        ORDER BY 2, 1;
    ELSE
        RETURN QUERY
        WITH passing AS MATERIALIZED (
            SELECT e.id, e.embedding <=> p_embedding AS distance, e.metadata
            FROM p2p_sync.embeddings AS e
            WHERE p_filter IS NULL OR e.metadata @> p_filter
        )
        SELECT p.id, p.distance, p.metadata
        FROM passing AS p
        ORDER BY 2, 1
        LIMIT p_limit;
    END IF;
END
$$;

-- The specification's table of cache entries, for what is written by SQL: the main server keeps its own in Redis alone. NULL
-- never expires.
CREATE TABLE IF NOT EXISTS p2p_sync.cache (
    cache_key   text        COLLATE "C" PRIMARY KEY,
    cache_value text        NOT NULL,
    expires_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS cache_expires_at ON p2p_sync.cache (expires_at) WHERE expires_at IS NOT NULL;

-- Removes operations older than 7 days, expired cache rows, and the sequences of sessions that sent nothing
-- for 30 days, at most `p_limit` of each, so that one call never holds locks for long: call again while a
-- count equals the limit. A sequence that is removed cannot let an old operation in, whose frame is past the
-- freshness window by then.
CREATE OR REPLACE FUNCTION p2p_sync.clean_up(p_limit bigint DEFAULT 10000, p_now timestamptz DEFAULT now())
RETURNS TABLE (operations_removed bigint, cache_rows_removed bigint, sequences_removed bigint)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    operations_removed := p2p_sync.purge_operations(
        (extract(epoch FROM p_now - interval '7 days') * 1000000)::bigint, p_limit);
    DELETE FROM p2p_sync.cache
    WHERE ctid = ANY (ARRAY(
        SELECT c.ctid FROM p2p_sync.cache AS c WHERE c.expires_at <= p_now LIMIT p_limit FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS cache_rows_removed = ROW_COUNT;
    DELETE FROM p2p_sync.session_sequences
    WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM p2p_sync.session_sequences AS s
        WHERE s.last_used_at < p_now - interval '30 days' LIMIT p_limit FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS sequences_removed = ROW_COUNT;
    RETURN NEXT;
END
$$;
