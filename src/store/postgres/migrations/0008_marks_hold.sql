-- A key that plain SQL makes cannot be given a place beyond the next one in the log: a mark that is made later covers it.

DROP TRIGGER keys_place_kept ON keys;
UPDATE keys SET created_seq = 0 WHERE created_seq > (SELECT seq + 1 FROM revocation_head);
CREATE TRIGGER keys_place_kept BEFORE UPDATE OF created_seq ON keys
    FOR EACH ROW EXECUTE FUNCTION keep_marks();

CREATE FUNCTION bound_place() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.created_seq > (SELECT seq + 1 FROM revocation_head) THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = 'created_seq is at most the next place in the log';
    END IF;
    RETURN NEW;
END $$;

-- What plain SQL makes has mostly place 0: it does not pay for the comparison.
CREATE TRIGGER keys_place_bounded BEFORE INSERT ON keys
    FOR EACH ROW WHEN (NEW.created_seq > 0) EXECUTE FUNCTION bound_place();

-- Two conditions, for the index of an organization's keys.
CREATE OR REPLACE FUNCTION keep_marks() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    is_covering BOOLEAN := TRUE;
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.organization_id = '' THEN
            is_covering := EXISTS
                (SELECT 1 FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= OLD.seq);
        ELSE
            is_covering := EXISTS
                (SELECT 1 FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= OLD.seq
                    AND k.organization_id = OLD.organization_id);
        END IF;
    END IF;
    IF is_covering THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = 'what a mark covers stays revoked';
    END IF;
    RETURN OLD;
END $$;

-- A gateway of a version before marks looks keys up without them. As long as one may hold a lease, no mark is made; and
-- while there is a mark, none registers. The share lock makes registering and the making of a mark wait for each other.
ALTER TABLE instances ADD COLUMN knows_marks BOOLEAN NOT NULL DEFAULT FALSE;

CREATE FUNCTION refuse_without_marks() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM revocation_head FOR SHARE;
    IF EXISTS (SELECT 1 FROM revoke_all_marks) THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'rows of revoked keys are being written: a gateway of this version registers when they are';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER instances_know_marks BEFORE INSERT OR UPDATE OF id, knows_marks, evicted ON instances
    FOR EACH ROW WHEN (NOT NEW.knows_marks AND NOT NEW.evicted) EXECUTE FUNCTION refuse_without_marks();

-- The head is locked before it is compared: no change comes between. And plain SQL makes no mark beside such a gateway either.
CREATE OR REPLACE FUNCTION log_mark() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM revocation_head FOR UPDATE;
    IF NEW.seq <> (SELECT seq + 1 FROM revocation_head) THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = 'a mark has the next place in the log';
    END IF;
    IF EXISTS (SELECT 1 FROM instances WHERE NOT evicted AND NOT knows_marks) THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'a gateway of a version before marks may hold a lease';
    END IF;
    PERFORM append_change('everything_revoked', NEW.organization_id);
    RETURN NULL;
END $$;
