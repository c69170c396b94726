-- What a session proved, which user an address belongs to, where a key comes from, and what gateways share.

-- Several users can have one address: at most one of them is verified. A user who is not has joined by an
-- invitation link alone, and belongs to that organization alone; `joined_to` names the verified user once
-- whoever has proven the address has entered that organization. It counts only while that user is verified
-- and has the same address.
ALTER TABLE users DROP CONSTRAINT users_email_key;
ALTER TABLE users ADD COLUMN email_verified_at BIGINT;
ALTER TABLE users ADD COLUMN joined_to TEXT REFERENCES users (id) ON DELETE SET NULL;
ALTER TABLE users ADD CHECK (joined_to IS NULL OR email_verified_at IS NULL);

-- Whoever accepted an invitation may have done so by its link: that is no proof of the address. Everybody
-- else was added by the operator. An address that was changed since is found by the membership, which began
-- in the moment of accepting.
UPDATE users u SET email_verified_at = u.created_at
    WHERE u.kind = 'person' AND NOT EXISTS
        (SELECT 1 FROM invitations i WHERE i.email = u.email AND i.accepted_at IS NOT NULL)
    AND NOT EXISTS
        (SELECT 1 FROM invitations i JOIN memberships m
            ON m.organization_id = i.organization_id AND m.created_at = i.accepted_at
        WHERE m.user_id = u.id);

CREATE INDEX users_by_email ON users (email);
CREATE INDEX users_by_joined_to ON users (joined_to) WHERE joined_to IS NOT NULL;
CREATE UNIQUE INDEX users_verified ON users (email) WHERE email_verified_at IS NOT NULL;

-- What becomes of a user holds for those who are joined to it.
CREATE OR REPLACE FUNCTION log_user() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM append_change('member_changed', changed.id) FROM
        (SELECT m.id FROM memberships m WHERE m.removed_at IS NULL AND m.user_id IN
            (SELECT NEW.id UNION SELECT u.id FROM users u WHERE u.joined_to = NEW.id)
        ORDER BY m.id) changed;
    RETURN NULL;
END $$;

DROP TRIGGER users_email ON users;
CREATE TRIGGER users_changed AFTER UPDATE ON users
    FOR EACH ROW WHEN (NEW.email <> OLD.email OR NEW.joined_to IS DISTINCT FROM OLD.joined_to
        OR NEW.email_verified_at IS DISTINCT FROM OLD.email_verified_at)
    EXECUTE FUNCTION log_user();

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
ALTER TABLE organizations ADD COLUMN access_ended_seq BIGINT NOT NULL DEFAULT -1;
ALTER TABLE sign_in_links ADD COLUMN created_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN proven_seq BIGINT NOT NULL DEFAULT 0;

-- `email_verified`: whoever made the key had proven the owner's address. `chain_id`: the first key of its
-- rotations; NULL: itself. `parent_id`: the key with which it was made.
ALTER TABLE keys ADD COLUMN email_verified BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE keys ADD COLUMN chain_id TEXT;
ALTER TABLE keys ADD COLUMN parent_id TEXT REFERENCES keys (id) ON DELETE SET NULL;

CREATE INDEX keys_by_parent ON keys (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX keys_by_chain ON keys (chain_id) WHERE chain_id IS NOT NULL;

UPDATE keys SET email_verified = TRUE
    WHERE user_id IN (SELECT id FROM users WHERE email_verified_at IS NOT NULL);

WITH RECURSIVE chain (id, first) AS (
    SELECT r.successor_id, r.key_id FROM key_rotations r
        WHERE r.key_id NOT IN (SELECT successor_id FROM key_rotations)
    UNION ALL
    SELECT r.successor_id, c.first FROM key_rotations r JOIN chain c ON r.key_id = c.id
)
UPDATE keys k SET chain_id = c.first FROM chain c WHERE c.id = k.id;

-- Whether a key of another format was ever imported: while none was, one that looks so needs no look-up.
ALTER TABLE revocation_head ADD COLUMN has_imported BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE revocation_head SET has_imported = EXISTS (SELECT 1 FROM keys WHERE hint = 'imported');

CREATE OR REPLACE FUNCTION log_key() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.hint = 'imported' THEN
            UPDATE revocation_head SET has_imported = TRUE WHERE NOT has_imported;
        END IF;
        PERFORM append_change('key_created', encode(NEW.hash, 'hex'));
    ELSIF OLD.revoked_at IS NULL
        AND NOT (SELECT revoking_everything FROM revocation_head)
        AND EXISTS
            (SELECT 1 FROM memberships m WHERE m.id = OLD.membership_id AND m.removed_at IS NULL)
    THEN
        PERFORM append_change('key_revoked', encode(OLD.hash, 'hex'));
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION keep_key() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF (NEW.id, NEW.hash, NEW.membership_id, NEW.organization_id, NEW.user_id, NEW.scopes,
        NEW.expires_at, NEW.created_at, NEW.email_verified, NEW.chain_id)
        IS DISTINCT FROM (OLD.id, OLD.hash, OLD.membership_id, OLD.organization_id, OLD.user_id,
        OLD.scopes, OLD.expires_at, OLD.created_at, OLD.email_verified, OLD.chain_id)
    THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = 'what a key opens is never changed: revoke it and create another';
    END IF;
    IF OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN
        RAISE integrity_constraint_violation
            USING MESSAGE = 'a revoked key stays revoked: create another';
    END IF;
    RETURN NEW;
END $$;

-- Secrets that the gateways of one database share, made by the first of them.
CREATE TABLE shared_secrets (
    name   TEXT  NOT NULL PRIMARY KEY,
    secret BYTEA NOT NULL
);

-- The key with which the invitation was made, through the management API: it opens nothing once that has ended.
ALTER TABLE invitations ADD COLUMN made_with TEXT;
