-- A peer's database, 1: what the synchronisation keeps beside the tables of applications.
--
-- Run with `psql -v ON_ERROR_STOP=1 -f`, file by file in the order of their numbers, or by the peer itself. Every
-- statement may be run again. A file that has been released is never edited: the peer keeps a digest of what it applied
-- and refuses another text of that number.
--
-- How values are kept
--   key          canonical: each column of the primary key as `<bytes>:<text>`.
--   content      canonical: each column that travels, likewise, a null as `-`; see sync-core/src/peer_sync/content.rs.
--   incarnation  bigint with the same 64 bits as the unsigned number on the wire; so are sums of fingerprints.
--   xid          bigint, the number of an xid8.
--   stamps       microseconds since 1970 and a counter.
--   snapshots    text, as pg_snapshot writes it.
--
-- Only one process at a time writes here: the one that holds the advisory lock. Applications write to their own
-- tables; what captures that appends to `log` and to nothing else.

CREATE SCHEMA IF NOT EXISTS p2p_peer;

-- Who this is, and how far everything has come.
CREATE TABLE IF NOT EXISTS p2p_peer.node (
    only_one        boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    node_id         text COLLATE "C" NOT NULL,
    -- The life of this database. A new one begins when the database turns out to be another, or older.
    incarnation     bigint NOT NULL,
    -- The server, its timeline and the database that this life began in.
    system_id       bigint NOT NULL,
    timeline        bigint NOT NULL,
    database_oid    bigint NOT NULL,
    -- The last transaction of an application that was folded.
    own_xid         bigint,
    -- What is covered of everybody else's writes, and the horizon of purges, as JSON.
    frontier        text NOT NULL,
    -- All transactions before this one are taken for such of which tombstones were purged.
    purged_floor    bigint NOT NULL DEFAULT 0,
    -- What was visible at the last purge.
    purged_snapshot text NOT NULL DEFAULT '0:0:'
);

-- How far the clock of this node is from the server's, in microseconds, for tests of skew: see the view `clock`. A
-- sequence, as below, since every statement of an application looks at it.
CREATE SEQUENCE IF NOT EXISTS p2p_peer.clock_offset MINVALUE -9223372036854775807 START 0;

-- The greatest stamp that was given or seen. Sequences, since these change at once and for everybody, whatever
-- becomes of the transaction. Read and set only by take_stamps and absorb_stamp.
CREATE SEQUENCE IF NOT EXISTS p2p_peer.stamp_us MINVALUE 0 START 0;
CREATE SEQUENCE IF NOT EXISTS p2p_peer.stamp_counter MINVALUE 0 START 0;

-- The tables that travel, and totals over what is stored of them.
CREATE TABLE IF NOT EXISTS p2p_peer.tables (
    table_name text COLLATE "C" PRIMARY KEY,
    -- Names the functions that capture.
    number     integer GENERATED ALWAYS AS IDENTITY,
    -- Digest of these functions; null as long as the table is not captured.
    capture_sha256 text,
    rows       bigint NOT NULL DEFAULT 0,
    tombstones bigint NOT NULL DEFAULT 0,
    set_aside  bigint NOT NULL DEFAULT 0,
    -- The greatest stamp that was ever stored.
    us         bigint NOT NULL DEFAULT 0,
    counter    bigint NOT NULL DEFAULT 0,
    -- Sum over the fingerprints of all versions, modulo 2^64.
    sum        bigint NOT NULL DEFAULT 0
);

-- What applications wrote and nobody has folded into `versions` yet. No index: it is read whole and emptied.
CREATE TABLE IF NOT EXISTS p2p_peer.log (
    table_name text COLLATE "C" NOT NULL,
    -- The columns of the key. One that is longer could not be indexed in `versions`: it is refused where it is written.
    key        text[] COLLATE "C" NOT NULL
        CONSTRAINT key_of_a_travelling_row_too_long CHECK (octet_length(array_to_string(key, '0000:')) <= 1995),
    xid        bigint NOT NULL,
    us         bigint NOT NULL,
    counter    bigint NOT NULL,
    deleted    boolean NOT NULL,
    -- What the deleter saw.
    content    text COLLATE "C"
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- One version of each row that was ever here, tombstones included, until they are purged.
CREATE TABLE IF NOT EXISTS p2p_peer.versions (
    table_name         text COLLATE "C" NOT NULL,
    key                text COLLATE "C" NOT NULL,
    us                 bigint NOT NULL,
    counter            bigint NOT NULL,
    node               text COLLATE "C" NOT NULL,
    hash               bytea NOT NULL,
    deleted            boolean NOT NULL,
    -- Of tombstones, and of all rows of tables with references, natural keys or a policy. Else the table itself has it.
    content            text COLLATE "C",
    content_bytes      bigint NOT NULL,
    -- What the table's policy keeps beside it.
    extra              text COLLATE "C",
    -- The transaction that put this version here, and the one that put the first version here.
    xid                bigint NOT NULL,
    born               bigint NOT NULL,
    -- Which part of xid: 0 of an application's, else the place of a group in the page that it merged.
    part               integer NOT NULL,
    -- Where it was written; null for this life of this node.
    origin_incarnation bigint,
    origin_xid         bigint NOT NULL,
    -- The first 20 bits of the row's hash: its place among the parts that digests are made of.
    leaf               integer NOT NULL,
    -- How it stands, as JSON; null where its version says it.
    standing           text COLLATE "C",
    -- When it came here, by this node's clock.
    stored_us          bigint NOT NULL,
    PRIMARY KEY (table_name, key)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05);
-- What a feed is read by.
CREATE INDEX IF NOT EXISTS versions_by_xid ON p2p_peer.versions (xid, table_name, key);
CREATE INDEX IF NOT EXISTS versions_by_leaf ON p2p_peer.versions (leaf);
CREATE INDEX IF NOT EXISTS versions_tombstones ON p2p_peer.versions (xid, table_name, key) WHERE deleted;

-- Rows of a part of a transaction that another holds by now: whoever reads what is left of it needs these with it.
CREATE TABLE IF NOT EXISTS p2p_peer.lost (
    xid        bigint NOT NULL,
    part       integer NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    -- Tells lives of a row apart.
    born       bigint NOT NULL,
    PRIMARY KEY (xid, part, table_name, key)
);

-- What a stored version is known to beat and was not covered when it came here: each writer's last write of the row.
CREATE TABLE IF NOT EXISTS p2p_peer.beats (
    table_name  text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    node        text COLLATE "C" NOT NULL,
    incarnation bigint NOT NULL,
    xid         bigint NOT NULL,
    PRIMARY KEY (table_name, key, node, incarnation)
);

-- Which rows refer to a row, and which have a natural key: hashes, to find them by.
CREATE TABLE IF NOT EXISTS p2p_peer.ties (
    table_name text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    value      bigint NOT NULL,
    PRIMARY KEY (table_name, key, value)
);
CREATE INDEX IF NOT EXISTS ties_by_value ON p2p_peer.ties (value);

-- The digests of the 4,096 parts of level 3, 64 neighbours in a row, since a bulk of new rows concerns all of them. Wider
-- parts are sums of these, narrower ones are made of their rows.
CREATE TABLE IF NOT EXISTS p2p_peer.digests (
    parts integer PRIMARY KEY CHECK (parts BETWEEN 0 AND 63),
    rows  bigint[] NOT NULL DEFAULT array_fill(0::bigint, ARRAY[64]),
    sums  bigint[] NOT NULL DEFAULT array_fill(0::bigint, ARRAY[64])
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
INSERT INTO p2p_peer.digests (parts) SELECT generate_series(0, 63) ON CONFLICT DO NOTHING;

-- Where this node stands in the feeds of others, as JSON.
CREATE TABLE IF NOT EXISTS p2p_peer.positions (
    peer     text COLLATE "C" PRIMARY KEY,
    position text NOT NULL
);
-- What others have durably applied of this node's feed, as JSON.
CREATE TABLE IF NOT EXISTS p2p_peer.passed (
    peer     text COLLATE "C" PRIMARY KEY,
    position text NOT NULL
);
-- Peers of whose rows some were refused as too far ahead.
CREATE TABLE IF NOT EXISTS p2p_peer.refused (
    peer text COLLATE "C" PRIMARY KEY
);
-- The last version of rows that were purged or dropped: what is older and comes back from somebody who was away for
-- longer than tombstones are kept is no new row. The oldest are forgotten.
CREATE TABLE IF NOT EXISTS p2p_peer.graves (
    table_name text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    us         bigint NOT NULL,
    counter    bigint NOT NULL,
    node       text COLLATE "C" NOT NULL,
    hash       bytea NOT NULL,
    dug        bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (table_name, key)
);
CREATE INDEX IF NOT EXISTS graves_by_age ON p2p_peer.graves (dug);
-- The last transactions of which rows were purged.
CREATE TABLE IF NOT EXISTS p2p_peer.purged (
    xid bigint PRIMARY KEY
);
