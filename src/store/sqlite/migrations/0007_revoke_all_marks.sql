-- To revoke very many keys is one small transaction: a mark says it of all of them at once, and their rows follow in
-- short ones. A key is covered by a mark whose `seq` is not below the place in the log at which the key was created:
-- clocks decide nothing. What plain SQL creates has place 0, and is covered by every mark that is there.

ALTER TABLE keys ADD COLUMN created_seq INTEGER NOT NULL DEFAULT 0;

CREATE TABLE revoke_all_marks (
    -- Empty: of every organization.
    organization_id TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    PRIMARY KEY (organization_id, seq)
) STRICT;

CREATE TRIGGER revoke_all_marks_logged AFTER INSERT ON revoke_all_marks BEGIN
    SELECT RAISE(ABORT, 'a mark has the next place in the log')
        WHERE NEW.seq <> (SELECT seq + 1 FROM revocation_head);
    INSERT INTO changes (kind, subject) VALUES ('everything_revoked', NEW.organization_id);
END;

-- A mark goes when every row that it covers says the same.
CREATE TRIGGER revoke_all_marks_kept BEFORE DELETE ON revoke_all_marks
WHEN EXISTS (SELECT 1 FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= OLD.seq
    AND (OLD.organization_id = '' OR k.organization_id = OLD.organization_id))
BEGIN
    SELECT RAISE(ABORT, 'what a mark covers stays revoked');
END;

CREATE TRIGGER revoke_all_marks_unchanged BEFORE UPDATE ON revoke_all_marks BEGIN
    SELECT RAISE(ABORT, 'what a mark covers stays revoked');
END;

CREATE TRIGGER keys_place_kept BEFORE UPDATE OF created_seq ON keys BEGIN
    SELECT RAISE(ABORT, 'what a mark covers stays revoked');
END;
