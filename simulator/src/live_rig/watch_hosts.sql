-- Writes down every part on a map that begins or ends, with the transaction that did it. In a schema of the rig's own: what
-- the main server keeps stays as it is. Run after the main server's migrations; may be run again.

CREATE SCHEMA IF NOT EXISTS p2psim;
DROP TABLE IF EXISTS p2psim.changes;
CREATE TABLE p2psim.changes (
    change_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    begins     boolean NOT NULL,
    map_name   text    NOT NULL,
    account_id bigint  NOT NULL,
    part       text    NOT NULL,
    epoch      bigint  NOT NULL
);

CREATE OR REPLACE FUNCTION p2psim.note_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.is_active THEN
        INSERT INTO p2psim.changes (begins, map_name, account_id, part, epoch)
        VALUES (false, OLD.map_name, OLD.account_id,
            CASE WHEN OLD.is_backup THEN 'backup' WHEN OLD.is_assistance THEN 'assistant' ELSE 'primary' END, OLD.epoch);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.is_active THEN
        INSERT INTO p2psim.changes (begins, map_name, account_id, part, epoch)
        VALUES (true, NEW.map_name, NEW.account_id,
            CASE WHEN NEW.is_backup THEN 'backup' WHEN NEW.is_assistance THEN 'assistant' ELSE 'primary' END, NEW.epoch);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER p2psim_changes AFTER INSERT OR UPDATE OR DELETE ON p2p_sync.host_assignments
FOR EACH ROW EXECUTE FUNCTION p2psim.note_change();
