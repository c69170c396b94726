//! The statements that both engines understand, each written once.
//!
//! Both take `$1`. What differs (locks, the clock of leases) is in the engines' rooms.

/// Declares statements as constants and lists them, so that one test can prepare every one of them
/// on the real engine.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(in crate::store) const $name: &str = $sql;)+

        /// Every statement above, by name.
        pub(in crate::store) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}

/// What [`super::rows::key`] reads. A key of a stay that is over is revoked, whatever its row says.
macro_rules! key_columns {
    () => {
        "k.id, k.hash, k.hint, k.name, k.organization_id, k.membership_id, k.user_id, u.email, \
         k.scopes, k.created_at, k.expires_at, COALESCE(k.revoked_at, m.removed_at) AS revoked_at"
    };
}

macro_rules! keys_with_owners {
    () => {
        concat!(
            "SELECT ",
            key_columns!(),
            " FROM keys k JOIN memberships m ON m.id = k.membership_id \
             JOIN users u ON u.id = m.user_id"
        )
    };
}

/// What [`super::rows::member`] reads.
macro_rules! present_members {
    () => {
        "SELECT m.id, m.organization_id, m.user_id, u.email, u.name, m.role, m.created_at \
         FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.removed_at IS NULL"
    };
}

pub(super) use statements;

statements! {
    /// Head and key in one statement, hence in one snapshot. Left joins all the way: a key whose
    /// stay or owner is gone yields no address, and is unknown.
    LOOK_UP = concat!(
        "SELECT h.seq, ",
        key_columns!(),
        " FROM revocation_head h LEFT JOIN keys k ON k.hash = $1 \
         LEFT JOIN memberships m ON m.id = k.membership_id \
         LEFT JOIN users u ON u.id = m.user_id"
    );

    HEAD = "SELECT seq FROM revocation_head";
    CHANGES_AFTER =
        "SELECT seq, kind, subject FROM revocation_log WHERE seq > $1 ORDER BY seq LIMIT $2";
    DEREGISTER = "DELETE FROM instances WHERE id = $1";
    ACKNOWLEDGE = "UPDATE instances SET applied = $2 WHERE id = $1 AND NOT evicted";

    INSERT_ORGANIZATION = "INSERT INTO organizations (id, name, created_at) VALUES ($1, $2, $3) \
        ON CONFLICT (name) DO NOTHING";
    ORGANIZATIONS = "SELECT id, name, created_at FROM organizations ORDER BY created_at, id";
    ORGANIZATION_EXISTS = "SELECT COUNT(*) AS n FROM organizations WHERE id = $1";

    INSERT_USER = "INSERT INTO users (id, email, name, created_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (email) DO NOTHING";
    PRESENT_STAYS = "SELECT COUNT(*) AS n FROM memberships m JOIN users u ON u.id = m.user_id \
        WHERE m.removed_at IS NULL AND m.organization_id = $1 AND u.email = $2";
    /// The user is found by address: it may have been known before, under its own id.
    INSERT_MEMBERSHIP =
        "INSERT INTO memberships (id, organization_id, user_id, role, created_at) \
         SELECT $1, $2, u.id, $3, $4 FROM users u WHERE u.email = $5";
    MEMBER = concat!(present_members!(), " AND m.id = $1");
    MEMBERS = concat!(
        present_members!(),
        " AND (CAST($1 AS TEXT) IS NULL OR m.organization_id = $1) ORDER BY m.created_at, m.id"
    );
    MEMBERS_BY_EMAIL =
        concat!(present_members!(), " AND u.email = $1 ORDER BY m.created_at, m.id");
    MEMBERSHIP_EXISTS = "SELECT COUNT(*) AS n FROM memberships WHERE id = $1";
    OTHER_OWNERS = "SELECT COUNT(*) AS n FROM memberships WHERE organization_id = $1 AND id <> $2 \
        AND role = 'owner' AND removed_at IS NULL";
    END_MEMBERSHIP = "UPDATE memberships SET removed_at = $2 WHERE id = $1 AND removed_at IS NULL";

    HASH_EXISTS = "SELECT COUNT(*) AS n FROM keys WHERE hash = $1";
    INSERT_KEY = "INSERT INTO keys (id, hash, hint, name, membership_id, organization_id, \
        user_id, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    KEY = concat!(keys_with_owners!(), " WHERE k.id = $1");
    KEYS = concat!(
        keys_with_owners!(),
        " WHERE (CAST($1 AS TEXT) IS NULL OR k.organization_id = $1) \
           AND (CAST($2 AS TEXT) IS NULL OR k.membership_id = $2) \
           AND ($3 OR COALESCE(k.revoked_at, m.removed_at) IS NULL) \
         ORDER BY k.created_at DESC, k.id DESC"
    );
    KEY_EXISTS = "SELECT COUNT(*) AS n FROM keys WHERE id = $1";
    REVOKE_KEY = "UPDATE keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    UNREVOKED_KEYS = "SELECT COUNT(*) AS n FROM keys WHERE membership_id = $1 AND revoked_at IS NULL";
}
