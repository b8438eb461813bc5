-- Main server, 3: embeddings, the cache table, clean-up. See 0001 for how these files are run.

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

-- The nearest embeddings by cosine distance among those whose metadata contain `p_filter`.
CREATE OR REPLACE FUNCTION p2p_sync.search_embeddings(
    p_embedding vector(1536), p_limit integer DEFAULT 10, p_filter jsonb DEFAULT NULL
) RETURNS TABLE (id text, distance double precision, metadata jsonb)
LANGUAGE sql STABLE AS $$
    SELECT e.id, e.embedding <=> p_embedding, e.metadata
    FROM p2p_sync.embeddings AS e
    WHERE p_filter IS NULL OR e.metadata @> p_filter
    ORDER BY e.embedding <=> p_embedding
    LIMIT p_limit
$$;

-- Entries that are to outlive the cache server; NULL never expires.
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
