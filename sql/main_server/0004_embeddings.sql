-- Main server, 4: embeddings change with their operations, and searches find as many as there are. See 0001 for how
-- these files are run.

-- Applies one operation, which must be an event, and if it takes effect now stores the embedding `p_id`, or removes it when
-- `p_embedding` is NULL. Answers as apply_batch does.
CREATE OR REPLACE FUNCTION p2p_sync.change_embedding(
    p_account bigint, p_incarnation bigint, p_counter bigint, p_type smallint, p_map text, p_sequence bigint,
    p_critical boolean, p_data text, p_received_us bigint, p_id text, p_embedding vector(1536), p_metadata jsonb
) RETURNS TABLE (is_applied boolean, outcome bigint, is_duplicate boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    SELECT a.is_applied, a.outcome, a.is_duplicate
    INTO is_applied, outcome, is_duplicate
    FROM p2p_sync.apply_batch(
        ARRAY[p_account], ARRAY[p_incarnation], ARRAY[p_counter], ARRAY[p_type], ARRAY[NULL::bigint], ARRAY[p_map],
        ARRAY[p_sequence], ARRAY[p_critical], ARRAY[p_data], ARRAY[p_received_us]
    ) AS a;
    IF is_applied AND NOT is_duplicate THEN
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
