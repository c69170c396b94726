-- Times are milliseconds since 1970 on the wall clock, but for leases. Ids are kept as people see them.

CREATE TABLE organizations (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id         TEXT    NOT NULL PRIMARY KEY,
    email      TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- A row for each stay: who was removed and comes back gets a new one, and old keys remain dead.
CREATE TABLE memberships (
    id              TEXT    NOT NULL PRIMARY KEY,
    organization_id TEXT    NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role            TEXT    NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    created_at      INTEGER NOT NULL,
    removed_at      INTEGER,
    UNIQUE (id, organization_id, user_id)
) STRICT;

CREATE UNIQUE INDEX memberships_present ON memberships (organization_id, user_id)
    WHERE removed_at IS NULL;
CREATE INDEX memberships_by_user ON memberships (user_id);

CREATE TABLE keys (
    id              TEXT    NOT NULL PRIMARY KEY,
    hash            BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    hint            TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    membership_id   TEXT    NOT NULL,
    organization_id TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    scopes          TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER,
    FOREIGN KEY (membership_id, organization_id, user_id)
        REFERENCES memberships (id, organization_id, user_id) ON DELETE CASCADE
) STRICT;

CREATE INDEX keys_by_membership ON keys (membership_id);
CREATE INDEX keys_by_organization ON keys (organization_id);

-- One row, incremented inside the transaction that changes: gapless, in commit order.
CREATE TABLE revocation_head (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL
) STRICT;

INSERT INTO revocation_head (one, seq) VALUES (1, 0);

-- The subject is a key's hash in hexadecimal or a membership's id. `at` is for people.
CREATE TABLE revocation_log (
    seq     INTEGER NOT NULL PRIMARY KEY,
    kind    TEXT    NOT NULL CHECK (kind IN
        ('key_revoked', 'member_removed', 'everything_revoked', 'key_created', 'member_changed')),
    subject TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT;

-- The lease ends at a reading, in milliseconds, of CLOCK_BOOTTIME of the boot that is named.
CREATE TABLE instances (
    id               TEXT    NOT NULL PRIMARY KEY,
    boot_id          TEXT    NOT NULL,
    lease_expires_at INTEGER NOT NULL,
    applied          INTEGER NOT NULL,
    evicted          INTEGER NOT NULL CHECK (evicted IN (0, 1))
) STRICT;

-- To insert here is to append to the log.
CREATE VIEW changes AS SELECT kind, subject FROM revocation_log;

CREATE TRIGGER changes_append INSTEAD OF INSERT ON changes BEGIN
    UPDATE revocation_head SET seq = seq + 1;
    INSERT INTO revocation_log (seq, kind, subject, at)
        SELECT seq, NEW.kind, NEW.subject,
               CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
        FROM revocation_head;
END;

-- Keys.

CREATE TRIGGER keys_created AFTER INSERT ON keys BEGIN
    INSERT INTO changes (kind, subject) VALUES ('key_created', lower(hex(NEW.hash)));
END;

-- Silent when the stay is over: its one entry speaks for all its keys.
CREATE TRIGGER keys_revoked AFTER UPDATE OF revoked_at ON keys
WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL AND EXISTS
    (SELECT 1 FROM memberships WHERE id = NEW.membership_id AND removed_at IS NULL)
BEGIN
    INSERT INTO changes (kind, subject) VALUES ('key_revoked', lower(hex(NEW.hash)));
END;

CREATE TRIGGER keys_deleted AFTER DELETE ON keys
WHEN OLD.revoked_at IS NULL AND EXISTS
    (SELECT 1 FROM memberships WHERE id = OLD.membership_id AND removed_at IS NULL)
BEGIN
    INSERT INTO changes (kind, subject) VALUES ('key_revoked', lower(hex(OLD.hash)));
END;

CREATE TRIGGER keys_kept BEFORE UPDATE ON keys
WHEN NEW.id <> OLD.id OR NEW.hash <> OLD.hash OR NEW.membership_id <> OLD.membership_id
    OR NEW.organization_id <> OLD.organization_id OR NEW.user_id <> OLD.user_id
    OR NEW.scopes <> OLD.scopes OR NEW.expires_at IS NOT OLD.expires_at
    OR NEW.created_at <> OLD.created_at
BEGIN
    SELECT RAISE(ABORT, 'what a key opens is never changed: revoke it and create another');
END;

CREATE TRIGGER keys_stay_revoked BEFORE UPDATE ON keys
WHEN OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NOT OLD.revoked_at
BEGIN
    SELECT RAISE(ABORT, 'a revoked key stays revoked: create another');
END;

-- INSERT OR REPLACE deletes without firing the triggers of DELETE.
CREATE TRIGGER keys_not_replaced BEFORE INSERT ON keys
WHEN EXISTS (SELECT 1 FROM keys WHERE id = NEW.id OR hash = NEW.hash)
BEGIN
    SELECT RAISE(ABORT, 'a key with this id or hash exists already');
END;

-- Members. Keys are ended before the log is written, so that the counter's row is locked last.

CREATE TRIGGER memberships_ended AFTER UPDATE OF removed_at ON memberships
WHEN OLD.removed_at IS NULL AND NEW.removed_at IS NOT NULL
BEGIN
    UPDATE keys SET revoked_at = NEW.removed_at
        WHERE membership_id = NEW.id AND revoked_at IS NULL;
    INSERT INTO changes (kind, subject) VALUES ('member_removed', NEW.id);
END;

-- Deletes the keys itself: a shell may have foreign keys switched off.
CREATE TRIGGER memberships_deleted AFTER DELETE ON memberships BEGIN
    DELETE FROM keys WHERE membership_id = OLD.id;
    INSERT INTO changes (kind, subject)
        SELECT 'member_removed', OLD.id WHERE OLD.removed_at IS NULL;
END;

CREATE TRIGGER memberships_role AFTER UPDATE OF role ON memberships
WHEN NEW.role <> OLD.role AND NEW.removed_at IS NULL
BEGIN
    INSERT INTO changes (kind, subject) VALUES ('member_changed', NEW.id);
END;

CREATE TRIGGER memberships_kept BEFORE UPDATE ON memberships
WHEN NEW.id <> OLD.id OR NEW.organization_id <> OLD.organization_id OR NEW.user_id <> OLD.user_id
    OR (OLD.removed_at IS NOT NULL AND NEW.removed_at IS NOT OLD.removed_at)
BEGIN
    SELECT RAISE(ABORT, 'a stay that ended stays ended, and none changes hands: add the member anew');
END;

CREATE TRIGGER memberships_not_replaced BEFORE INSERT ON memberships
WHEN EXISTS (SELECT 1 FROM memberships WHERE id = NEW.id OR (removed_at IS NULL
    AND organization_id = NEW.organization_id AND user_id = NEW.user_id))
BEGIN
    SELECT RAISE(ABORT, 'this member exists already');
END;

CREATE TRIGGER users_email AFTER UPDATE OF email ON users
WHEN NEW.email <> OLD.email
BEGIN
    INSERT INTO changes (kind, subject)
        SELECT 'member_changed', id FROM memberships
        WHERE user_id = NEW.id AND removed_at IS NULL;
END;

CREATE TRIGGER users_deleted AFTER DELETE ON users BEGIN
    DELETE FROM memberships WHERE user_id = OLD.id;
END;

CREATE TRIGGER organizations_deleted AFTER DELETE ON organizations BEGIN
    DELETE FROM memberships WHERE organization_id = OLD.id;
END;
