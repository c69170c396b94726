-- People and what they leave: roles of keys, rotations, invitations, sessions, use, the audit log.

-- A service account is a user whom nobody is: it signs in nowhere, and its stay is its life.
ALTER TABLE users ADD COLUMN kind TEXT NOT NULL DEFAULT 'person'
    CHECK (kind IN ('person', 'service_account'));

-- Lists go by id, newest first; ids begin with their time.
DROP INDEX keys_by_membership;
DROP INDEX keys_by_organization;
CREATE INDEX keys_by_membership ON keys (membership_id, id);
CREATE INDEX keys_by_organization ON keys (organization_id, id);
CREATE INDEX keys_live_by_organization ON keys (organization_id, id) WHERE revoked_at IS NULL;
CREATE INDEX memberships_by_organization ON memberships (organization_id, id) WHERE removed_at IS NULL;

-- The old key and the one that takes its place. The old one ends at a moment, or when nobody has used
-- it for so long.
CREATE TABLE key_rotations (
    key_id       TEXT   NOT NULL PRIMARY KEY REFERENCES keys (id) ON DELETE CASCADE,
    successor_id TEXT   NOT NULL UNIQUE REFERENCES keys (id) ON DELETE CASCADE,
    at           BIGINT NOT NULL,
    ends_at      BIGINT,
    silent_ms    BIGINT,
    CHECK ((ends_at IS NULL) <> (silent_ms IS NULL))
);

-- A key that gets another end is looked up anew, with its owner's others.
CREATE FUNCTION log_rotation() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM append_change('member_changed', k.membership_id)
        FROM keys k WHERE k.id = COALESCE(NEW.key_id, OLD.key_id);
    RETURN NULL;
END $$;

CREATE TRIGGER key_rotations_logged AFTER INSERT OR UPDATE OR DELETE ON key_rotations
    FOR EACH ROW EXECUTE FUNCTION log_rotation();

-- What a link or a browser holds is kept as its SHA-256.
CREATE TABLE invitations (
    id              TEXT   NOT NULL PRIMARY KEY,
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    email           TEXT   NOT NULL,
    name            TEXT   NOT NULL,
    role            TEXT   NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    token_hash      BYTEA NOT NULL UNIQUE,
    invited_by      TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    accepted_at     BIGINT,
    withdrawn_at    BIGINT
);

-- One that is open for each address.
CREATE UNIQUE INDEX invitations_open ON invitations (organization_id, email)
    WHERE accepted_at IS NULL AND withdrawn_at IS NULL;

CREATE TABLE sign_in_links (
    token_hash    BYTEA NOT NULL PRIMARY KEY,
    membership_id TEXT   NOT NULL REFERENCES memberships (id) ON DELETE CASCADE,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    used_at       BIGINT
);

-- A session lives by its stay: one that ended ends it, in the statement that reads it.
CREATE TABLE sessions (
    id            TEXT   NOT NULL PRIMARY KEY,
    token_hash    BYTEA NOT NULL UNIQUE,
    membership_id TEXT   NOT NULL REFERENCES memberships (id) ON DELETE CASCADE,
    created_at    BIGINT NOT NULL,
    seen_at       BIGINT NOT NULL,
    ended_at      BIGINT
);

CREATE INDEX sessions_by_membership ON sessions (membership_id);

-- A creation that a client repeats because it did not hear the answer.
CREATE TABLE idempotency_keys (
    membership_id TEXT   NOT NULL REFERENCES memberships (id) ON DELETE CASCADE,
    idempotency_key TEXT NOT NULL,
    request_hash  BYTEA NOT NULL,
    subject       TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (membership_id, idempotency_key)
);

-- Use, as the gateways tell it a few times a minute.
CREATE TABLE key_usage (
    key_id       TEXT   NOT NULL PRIMARY KEY REFERENCES keys (id) ON DELETE CASCADE,
    last_used_at BIGINT NOT NULL,
    last_address TEXT   NOT NULL,
    last_client  TEXT   NOT NULL
);

CREATE TABLE key_usage_hours (
    key_id   TEXT   NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    hour     BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (key_id, hour)
);

CREATE INDEX key_usage_hours_by_hour ON key_usage_hours (hour);

CREATE TABLE key_open_requests (
    instance_id TEXT   NOT NULL,
    key_id      TEXT   NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    open        BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (key_id, instance_id)
);

-- Who did what. Each row's hash holds the hash before it; the newest stands in `audit_head` too, so that
-- a missing end is seen. No trigger keeps anybody from changing it: `genkan audit verify` finds out.
CREATE TABLE audit_log (
    seq             BIGINT NOT NULL PRIMARY KEY,
    at              BIGINT NOT NULL,
    organization_id TEXT,
    actor           TEXT   NOT NULL,
    actor_email     TEXT,
    means           TEXT   NOT NULL,
    address         TEXT,
    action          TEXT   NOT NULL,
    subject         TEXT   NOT NULL,
    details         TEXT   NOT NULL,
    hash            BYTEA NOT NULL
);

CREATE INDEX audit_log_by_organization ON audit_log (organization_id, seq);

CREATE TABLE audit_head (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    seq  BIGINT NOT NULL,
    hash BYTEA NOT NULL
);

INSERT INTO audit_head (one, seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));
