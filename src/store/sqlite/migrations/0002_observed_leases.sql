-- Leases are observed, not compared with a clock: who waits for an instance watches `renewals` on a
-- clock of its own.

DROP TABLE instances;

-- `renewed_at` is for people, and for forgetting rows that are evicted already.
CREATE TABLE instances (
    id         TEXT    NOT NULL PRIMARY KEY,
    renewals   INTEGER NOT NULL,
    lease_ms   INTEGER NOT NULL,
    applied    INTEGER NOT NULL,
    evicted    INTEGER NOT NULL CHECK (evicted IN (0, 1)),
    renewed_at INTEGER NOT NULL
) STRICT;

-- What an instance ended by applying an entry, written in the transaction that acknowledges it.
CREATE TABLE revocation_reports (
    seq              INTEGER NOT NULL,
    instance_id      TEXT    NOT NULL,
    streams_cut      INTEGER NOT NULL,
    last_accepted_at INTEGER,
    PRIMARY KEY (seq, instance_id)
) STRICT;

-- True only inside the transaction that revokes everything: its one entry speaks for every key.
ALTER TABLE revocation_head ADD COLUMN revoking_everything INTEGER NOT NULL DEFAULT 0;

DROP TRIGGER keys_revoked;

-- Silent when the stay is over, or everything is being revoked: that one entry speaks for all.
CREATE TRIGGER keys_revoked AFTER UPDATE OF revoked_at ON keys
WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL
    AND NOT (SELECT revoking_everything FROM revocation_head) AND EXISTS
    (SELECT 1 FROM memberships WHERE id = NEW.membership_id AND removed_at IS NULL)
BEGIN
    INSERT INTO changes (kind, subject) VALUES ('key_revoked', lower(hex(NEW.hash)));
END;

-- To insert here is to revoke every key: of one organization, or, where it is NULL, of all.
CREATE VIEW everything AS
    SELECT NULL AS organization_id, at FROM revocation_log WHERE kind = 'everything_revoked';

CREATE TRIGGER everything_revoked INSTEAD OF INSERT ON everything BEGIN
    UPDATE revocation_head SET revoking_everything = 1;
    UPDATE keys SET revoked_at = NEW.at WHERE revoked_at IS NULL
        AND (NEW.organization_id IS NULL OR organization_id = NEW.organization_id);
    INSERT INTO changes (kind, subject)
        VALUES ('everything_revoked', COALESCE(NEW.organization_id, ''));
    UPDATE revocation_head SET revoking_everything = 0;
END;
