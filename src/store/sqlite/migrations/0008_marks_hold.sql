-- A key that plain SQL makes cannot be given a place beyond the next one in the log: a mark that is made later covers it.

DROP TRIGGER keys_place_kept;
UPDATE keys SET created_seq = 0 WHERE created_seq > (SELECT seq + 1 FROM revocation_head);
CREATE TRIGGER keys_place_kept BEFORE UPDATE OF created_seq ON keys BEGIN
    SELECT RAISE(ABORT, 'what a mark covers stays revoked');
END;

CREATE TRIGGER keys_place_bounded BEFORE INSERT ON keys
WHEN NEW.created_seq > (SELECT seq + 1 FROM revocation_head)
BEGIN
    SELECT RAISE(ABORT, 'created_seq is at most the next place in the log');
END;

-- Two conditions, for the index of an organization's keys.
DROP TRIGGER revoke_all_marks_kept;
CREATE TRIGGER revoke_all_marks_kept BEFORE DELETE ON revoke_all_marks
WHEN OLD.organization_id = '' AND EXISTS
    (SELECT 1 FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= OLD.seq)
BEGIN
    SELECT RAISE(ABORT, 'what a mark covers stays revoked');
END;
CREATE TRIGGER revoke_all_marks_of_organization_kept BEFORE DELETE ON revoke_all_marks
WHEN OLD.organization_id <> '' AND EXISTS
    (SELECT 1 FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= OLD.seq
        AND k.organization_id = OLD.organization_id)
BEGIN
    SELECT RAISE(ABORT, 'what a mark covers stays revoked');
END;

-- INSERT OR REPLACE deletes the row of the same number without firing the triggers that keep it.
CREATE TRIGGER revoke_all_marks_not_replaced BEFORE INSERT ON revoke_all_marks
WHEN EXISTS (SELECT 1 FROM revoke_all_marks WHERE rowid = NEW.rowid)
BEGIN
    SELECT RAISE(ABORT, 'what a mark covers stays revoked');
END;
CREATE TRIGGER keys_row_not_replaced BEFORE INSERT ON keys
WHEN EXISTS (SELECT 1 FROM keys WHERE rowid = NEW.rowid)
BEGIN
    SELECT RAISE(ABORT, 'a key is not replaced by another');
END;
CREATE TRIGGER keys_row_kept BEFORE UPDATE ON keys WHEN NEW.rowid <> OLD.rowid BEGIN
    SELECT RAISE(ABORT, 'a key is not replaced by another');
END;
