-- What a session proved, which user an address belongs to, where a key comes from, and what gateways share.

-- Several users can have one address: at most one of them is verified. A user who is not has joined by an
-- invitation link alone, and belongs to that organization alone; `joined_to` names the verified user once
-- whoever has proven the address has entered that organization. It counts only while that user is verified
-- and has the same address. The table is made anew because SQLite cannot drop the UNIQUE of a column; foreign
-- keys are off on the connection that migrates.
CREATE TABLE users_new (
    id                TEXT    NOT NULL PRIMARY KEY,
    email             TEXT    NOT NULL,
    name              TEXT    NOT NULL,
    created_at        INTEGER NOT NULL,
    kind              TEXT    NOT NULL DEFAULT 'person' CHECK (kind IN ('person', 'service_account')),
    email_verified_at INTEGER,
    joined_to         TEXT REFERENCES users (id) ON DELETE SET NULL,
    CHECK (joined_to IS NULL OR email_verified_at IS NULL)
) STRICT;

-- Whoever accepted an invitation may have done so by its link: that is no proof of the address. Everybody
-- else was added by the operator. An address that was changed since is found by the membership, which began
-- in the moment of accepting.
INSERT INTO users_new (id, email, name, created_at, kind, email_verified_at)
    SELECT u.id, u.email, u.name, u.created_at, u.kind,
        CASE WHEN u.kind = 'person' AND NOT EXISTS
            (SELECT 1 FROM invitations i WHERE i.email = u.email AND i.accepted_at IS NOT NULL)
        AND NOT EXISTS
            (SELECT 1 FROM invitations i JOIN memberships m
                ON m.organization_id = i.organization_id AND m.created_at = i.accepted_at
            WHERE m.user_id = u.id)
        THEN u.created_at END
    FROM users u;

DROP TABLE users;
ALTER TABLE users_new RENAME TO users;

CREATE INDEX users_by_email ON users (email);
CREATE INDEX users_by_joined_to ON users (joined_to) WHERE joined_to IS NOT NULL;
CREATE UNIQUE INDEX users_verified ON users (email) WHERE email_verified_at IS NOT NULL;

-- What becomes of a user holds for those who are joined to it.
CREATE TRIGGER users_changed AFTER UPDATE ON users
WHEN NEW.email <> OLD.email OR NEW.joined_to IS NOT OLD.joined_to
    OR NEW.email_verified_at IS NOT OLD.email_verified_at
BEGIN
    INSERT INTO changes (kind, subject)
        SELECT 'member_changed', id FROM memberships
        WHERE removed_at IS NULL
            AND (user_id = NEW.id OR user_id IN (SELECT id FROM users WHERE joined_to = NEW.id))
        ORDER BY id;
END;

-- As the foreign keys do, which a shell may not hold.
CREATE TRIGGER users_deleted AFTER DELETE ON users BEGIN
    UPDATE users SET joined_to = NULL WHERE joined_to = OLD.id;
    DELETE FROM memberships WHERE user_id = OLD.id;
END;

-- `address`: an identity provider or the operator vouches for the address, so every membership of its user is
-- open to the session. `membership`: an invitation link, which proves that membership alone.
ALTER TABLE sessions ADD COLUMN proof TEXT NOT NULL DEFAULT 'membership'
    CHECK (proof IN ('membership', 'address'));

-- Of these a session began by the operator's link or by an identity provider.
UPDATE sessions SET proof = 'address' WHERE membership_id IN
    (SELECT m.id FROM memberships m JOIN users u ON u.id = m.user_id WHERE u.email_verified_at IS NOT NULL);

-- Of the others one may have come here from another organization, without having proven the address.
UPDATE sessions SET ended_at = seen_at WHERE ended_at IS NULL AND membership_id IN
    (SELECT m.id FROM memberships m JOIN users u ON u.id = m.user_id
        WHERE u.email_verified_at IS NULL AND EXISTS (SELECT 1 FROM memberships other
            WHERE other.user_id = m.user_id AND other.organization_id <> m.organization_id));

-- From where somebody signed in, if that is known.
ALTER TABLE sessions ADD COLUMN address TEXT;

-- Places in the audit log, so that no two clocks are compared. When the ways into an organization were last
-- ended; when a link was made; when what a session proved was shown: for a link, when that was made. A session
-- of elsewhere enters an organization only if it is younger.
ALTER TABLE organizations ADD COLUMN access_ended_seq INTEGER NOT NULL DEFAULT -1;
ALTER TABLE sign_in_links ADD COLUMN created_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN proven_seq INTEGER NOT NULL DEFAULT 0;

-- `email_verified`: whoever made the key had proven the owner's address. `chain_id`: the first key of its
-- rotations; NULL: itself. `parent_id`: the key with which it was made.
ALTER TABLE keys ADD COLUMN email_verified INTEGER NOT NULL DEFAULT 0 CHECK (email_verified IN (0, 1));
ALTER TABLE keys ADD COLUMN chain_id TEXT;
ALTER TABLE keys ADD COLUMN parent_id TEXT REFERENCES keys (id) ON DELETE SET NULL;

CREATE INDEX keys_by_parent ON keys (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX keys_by_chain ON keys (chain_id) WHERE chain_id IS NOT NULL;

UPDATE keys SET email_verified = 1
    WHERE user_id IN (SELECT id FROM users WHERE email_verified_at IS NOT NULL);

WITH RECURSIVE chain (id, first) AS (
    SELECT r.successor_id, r.key_id FROM key_rotations r
        WHERE r.key_id NOT IN (SELECT successor_id FROM key_rotations)
    UNION ALL
    SELECT r.successor_id, c.first FROM key_rotations r JOIN chain c ON r.key_id = c.id
)
UPDATE keys SET chain_id = (SELECT c.first FROM chain c WHERE c.id = keys.id)
    WHERE id IN (SELECT id FROM chain);

-- Whether a key of another format was ever imported: while none was, one that looks so needs no look-up.
ALTER TABLE revocation_head ADD COLUMN has_imported INTEGER NOT NULL DEFAULT 0;
UPDATE revocation_head SET has_imported = EXISTS (SELECT 1 FROM keys WHERE hint = 'imported');

CREATE TRIGGER keys_imported AFTER INSERT ON keys WHEN NEW.hint = 'imported' BEGIN
    UPDATE revocation_head SET has_imported = 1 WHERE has_imported = 0;
END;

DROP TRIGGER keys_kept;
CREATE TRIGGER keys_kept BEFORE UPDATE ON keys
WHEN NEW.id <> OLD.id OR NEW.hash <> OLD.hash OR NEW.membership_id <> OLD.membership_id
    OR NEW.organization_id <> OLD.organization_id OR NEW.user_id <> OLD.user_id
    OR NEW.scopes <> OLD.scopes OR NEW.expires_at IS NOT OLD.expires_at
    OR NEW.created_at <> OLD.created_at OR NEW.email_verified <> OLD.email_verified
    OR NEW.chain_id IS NOT OLD.chain_id
BEGIN
    SELECT RAISE(ABORT, 'what a key opens is never changed: revoke it and create another');
END;

-- Secrets that the gateways of one database share, made by the first of them.
CREATE TABLE shared_secrets (
    name   TEXT NOT NULL PRIMARY KEY,
    secret BLOB NOT NULL
) STRICT;

-- The key with which the invitation was made, through the management API: it opens nothing once that has ended.
ALTER TABLE invitations ADD COLUMN made_with TEXT;
