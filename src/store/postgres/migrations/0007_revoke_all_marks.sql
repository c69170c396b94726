-- To revoke very many keys is one small transaction: a mark says it of all of them at once, and their rows follow in
-- short ones. A key is covered by a mark whose `seq` is not below the place in the log at which the key was created:
-- clocks decide nothing. What plain SQL creates has place 0, and is covered by every mark that is there.

ALTER TABLE keys ADD COLUMN created_seq BIGINT NOT NULL DEFAULT 0;

CREATE TABLE revoke_all_marks (
    -- Empty: of every organization.
    organization_id TEXT   NOT NULL,
    seq             BIGINT NOT NULL,
    at              BIGINT NOT NULL,
    PRIMARY KEY (organization_id, seq)
);

CREATE FUNCTION log_mark() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.seq <> (SELECT seq + 1 FROM revocation_head) THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = 'a mark has the next place in the log';
    END IF;
    PERFORM append_change('everything_revoked', NEW.organization_id);
    RETURN NULL;
END $$;

CREATE TRIGGER revoke_all_marks_logged AFTER INSERT ON revoke_all_marks
    FOR EACH ROW EXECUTE FUNCTION log_mark();

-- A mark goes when every row that it covers says the same.
CREATE FUNCTION keep_marks() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF NOT EXISTS
            (SELECT 1 FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= OLD.seq
                AND (OLD.organization_id = '' OR k.organization_id = OLD.organization_id))
        THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE integrity_constraint_violation
        USING MESSAGE = 'what a mark covers stays revoked';
END $$;

CREATE TRIGGER revoke_all_marks_kept BEFORE DELETE OR UPDATE ON revoke_all_marks
    FOR EACH ROW EXECUTE FUNCTION keep_marks();
CREATE TRIGGER revoke_all_marks_truncated BEFORE TRUNCATE ON revoke_all_marks
    FOR EACH STATEMENT EXECUTE FUNCTION keep_marks();
CREATE TRIGGER keys_place_kept BEFORE UPDATE OF created_seq ON keys
    FOR EACH ROW EXECUTE FUNCTION keep_marks();
