-- Leases are observed, not compared with a clock: who waits for an instance watches `renewals` on a
-- clock of its own. This host's clock may jump without freeing or blocking anybody.

DROP TABLE instances;

-- Logged on purpose: a crash that emptied it would free a revoker from waiting. `renewed_at` is for
-- people, and for forgetting rows that are evicted already.
CREATE TABLE instances (
    id         TEXT    NOT NULL PRIMARY KEY,
    renewals   BIGINT  NOT NULL,
    lease_ms   BIGINT  NOT NULL,
    applied    BIGINT  NOT NULL,
    evicted    BOOLEAN NOT NULL,
    renewed_at BIGINT  NOT NULL
);

-- What an instance ended by applying an entry, written in the transaction that acknowledges it.
CREATE TABLE revocation_reports (
    seq              BIGINT NOT NULL,
    instance_id      TEXT   NOT NULL,
    streams_cut      BIGINT NOT NULL,
    last_accepted_at BIGINT,
    PRIMARY KEY (seq, instance_id)
);

-- True only inside the transaction that revokes everything: its one entry speaks for every key.
ALTER TABLE revocation_head ADD COLUMN revoking_everything BOOLEAN NOT NULL DEFAULT FALSE;

CREATE OR REPLACE FUNCTION log_key() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
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

-- To insert here is to revoke every key: of one organization, or, where it is NULL, of all.
CREATE VIEW everything AS
    SELECT NULL::TEXT AS organization_id, at FROM revocation_log WHERE kind = 'everything_revoked';

CREATE FUNCTION revoke_everything() RETURNS TRIGGER
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE revocation_head SET revoking_everything = TRUE;
    UPDATE keys SET revoked_at = NEW.at WHERE revoked_at IS NULL
        AND (NEW.organization_id IS NULL OR organization_id = NEW.organization_id);
    PERFORM append_change('everything_revoked', COALESCE(NEW.organization_id, ''));
    UPDATE revocation_head SET revoking_everything = FALSE;
    RETURN NEW;
END $$;

CREATE TRIGGER everything_revoked INSTEAD OF INSERT ON everything
    FOR EACH ROW EXECUTE FUNCTION revoke_everything();
