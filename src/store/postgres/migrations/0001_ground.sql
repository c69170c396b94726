-- Times are milliseconds since 1970 on the wall clock. Ids are kept as people see them.

CREATE TABLE organizations (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE users (
    id         TEXT   NOT NULL PRIMARY KEY,
    email      TEXT   NOT NULL UNIQUE,
    name       TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

-- A row for each stay: who was removed and comes back gets a new one, and old keys remain dead.
CREATE TABLE memberships (
    id              TEXT   NOT NULL PRIMARY KEY,
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id         TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role            TEXT   NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    created_at      BIGINT NOT NULL,
    removed_at      BIGINT,
    UNIQUE (id, organization_id, user_id)
);

CREATE UNIQUE INDEX memberships_present ON memberships (organization_id, user_id)
    WHERE removed_at IS NULL;
CREATE INDEX memberships_by_user ON memberships (user_id);

CREATE TABLE keys (
    id              TEXT   NOT NULL PRIMARY KEY,
    hash            BYTEA  NOT NULL UNIQUE CHECK (length(hash) = 32),
    hint            TEXT   NOT NULL,
    name            TEXT   NOT NULL,
    membership_id   TEXT   NOT NULL,
    organization_id TEXT   NOT NULL,
    user_id         TEXT   NOT NULL,
    scopes          TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT,
    revoked_at      BIGINT,
    FOREIGN KEY (membership_id, organization_id, user_id)
        REFERENCES memberships (id, organization_id, user_id) ON DELETE CASCADE
);

CREATE INDEX keys_by_membership ON keys (membership_id);
CREATE INDEX keys_by_organization ON keys (organization_id);

-- One row, incremented inside the transaction that changes. Its lock makes the positions gapless and
-- in commit order; a sequence would show a reader 8 before 7 is committed, and 7 would be lost.
CREATE TABLE revocation_head (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    seq BIGINT  NOT NULL
);

INSERT INTO revocation_head (one, seq) VALUES (1, 0);

-- The subject is a key's hash in hexadecimal or a membership's id. `at` is for people.
CREATE TABLE revocation_log (
    seq     BIGINT NOT NULL PRIMARY KEY,
    kind    TEXT   NOT NULL CHECK (kind IN
        ('key_revoked', 'member_removed', 'everything_revoked', 'key_created', 'member_changed')),
    subject TEXT   NOT NULL,
    at      BIGINT NOT NULL
);

-- Logged on purpose: a crash that emptied it would free a revoker from waiting.
CREATE TABLE instances (
    id               TEXT    NOT NULL PRIMARY KEY,
    lease_expires_at BIGINT  NOT NULL,
    applied          BIGINT  NOT NULL,
    evicted          BOOLEAN NOT NULL
);

-- The server's clock now (not as of the transaction's start), in milliseconds: the clock of leases.
CREATE FUNCTION clock_ms() RETURNS BIGINT LANGUAGE sql VOLATILE AS $$
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::BIGINT
$$;

CREATE FUNCTION append_change(kind TEXT, subject TEXT) RETURNS VOID
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    next BIGINT;
BEGIN
    UPDATE revocation_head SET seq = seq + 1 RETURNING seq INTO STRICT next;
    INSERT INTO revocation_log VALUES (next, kind, subject, clock_ms());
    NOTIFY genkan_log;
END $$;

-- Keys.

-- Silent when the stay is over: its one entry speaks for all its keys.
CREATE FUNCTION log_key() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM append_change('key_created', encode(NEW.hash, 'hex'));
    ELSIF OLD.revoked_at IS NULL AND EXISTS
        (SELECT 1 FROM memberships m WHERE m.id = OLD.membership_id AND m.removed_at IS NULL)
    THEN
        PERFORM append_change('key_revoked', encode(OLD.hash, 'hex'));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER keys_created AFTER INSERT ON keys
    FOR EACH ROW EXECUTE FUNCTION log_key();
CREATE TRIGGER keys_revoked AFTER UPDATE ON keys
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
    EXECUTE FUNCTION log_key();
CREATE TRIGGER keys_deleted AFTER DELETE ON keys
    FOR EACH ROW EXECUTE FUNCTION log_key();

CREATE FUNCTION log_everything() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM append_change('everything_revoked', '');
    RETURN NULL;
END $$;

-- TRUNCATE fires no row triggers; of the tables above keys it must cascade to here.
CREATE TRIGGER keys_truncated AFTER TRUNCATE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION log_everything();

CREATE FUNCTION keep_key() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF (NEW.id, NEW.hash, NEW.membership_id, NEW.organization_id, NEW.user_id, NEW.scopes,
        NEW.expires_at, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.hash, OLD.membership_id, OLD.organization_id, OLD.user_id,
        OLD.scopes, OLD.expires_at, OLD.created_at)
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

CREATE TRIGGER keys_kept BEFORE UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION keep_key();

-- Members. Keys are ended before the log is written, so that the counter's row is locked last.

CREATE FUNCTION log_membership() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF OLD.removed_at IS NOT NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        PERFORM append_change('member_removed', OLD.id);
    ELSIF NEW.removed_at IS NOT NULL THEN
        UPDATE keys SET revoked_at = NEW.removed_at
            WHERE membership_id = NEW.id AND revoked_at IS NULL;
        PERFORM append_change('member_removed', NEW.id);
    ELSIF NEW.role <> OLD.role THEN
        PERFORM append_change('member_changed', NEW.id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER memberships_logged AFTER UPDATE OR DELETE ON memberships
    FOR EACH ROW EXECUTE FUNCTION log_membership();

CREATE FUNCTION keep_membership() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF (NEW.id, NEW.organization_id, NEW.user_id)
        IS DISTINCT FROM (OLD.id, OLD.organization_id, OLD.user_id)
        OR (OLD.removed_at IS NOT NULL AND NEW.removed_at IS DISTINCT FROM OLD.removed_at)
    THEN
        RAISE integrity_constraint_violation USING MESSAGE =
            'a stay that ended stays ended, and none changes hands: add the member anew';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER memberships_kept BEFORE UPDATE ON memberships
    FOR EACH ROW EXECUTE FUNCTION keep_membership();

CREATE FUNCTION log_user() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM append_change('member_changed', m.id)
        FROM memberships m WHERE m.user_id = NEW.id AND m.removed_at IS NULL;
    RETURN NULL;
END $$;

CREATE TRIGGER users_email AFTER UPDATE ON users
    FOR EACH ROW WHEN (NEW.email <> OLD.email) EXECUTE FUNCTION log_user();
