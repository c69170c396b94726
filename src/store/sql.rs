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

/// The verified user to whom the user `u` is joined, while that one is verified and has the same address: somebody
/// with a shell may have changed either.
macro_rules! joined_user {
    () => {
        "(SELECT v.id FROM users v WHERE v.id = u.joined_to AND v.email = u.email \
         AND v.email_verified_at IS NOT NULL)"
    };
}

/// Whether the address of the user `u` belongs to them.
macro_rules! is_verified {
    () => {
        concat!(
            "(u.email_verified_at IS NOT NULL OR ",
            $crate::store::sql::joined_user!(),
            " IS NOT NULL)"
        )
    };
}

/// The marks of revoking everything that cover the key `k`; its row may not say so yet.
macro_rules! marks_on {
    () => {
        "FROM revoke_all_marks e WHERE e.organization_id IN ('', k.organization_id) \
         AND k.created_seq <= e.seq"
    };
}

/// Whether the key `k` is not revoked, its member left out of account.
macro_rules! unrevoked {
    () => {
        concat!(
            "(k.revoked_at IS NULL AND NOT EXISTS (SELECT 1 ",
            $crate::store::sql::marks_on!(),
            "))"
        )
    };
}

/// What [`super::rows::key`] reads. A key of a membership that is over is revoked, whatever its row says; one
/// that was rotated ends no later than its rotation says. A key that was made before its owner's address was
/// proven acts as the user of that organization alone, even if that user was joined to another later. Whether it was
/// proven is asked of the user too: somebody with a shell may have taken that back.
macro_rules! key_columns {
    () => {
        concat!(
            "k.id, k.hash, k.hint, k.name, k.organization_id, k.membership_id, \
             CASE WHEN k.email_verified THEN COALESCE(",
            joined_user!(),
            ", u.id) ELSE u.id END AS user_id, u.email, (k.email_verified AND ",
            is_verified!(),
            ") AS email_verified, COALESCE(k.chain_id, k.id) AS chain_id, k.parent_id, \
             k.scopes, m.role, k.created_at, \
             CASE WHEN r.ends_at IS NULL OR r.ends_at > k.expires_at THEN k.expires_at \
                 ELSE r.ends_at END AS expires_at, \
             (r.ends_at IS NOT NULL AND (k.expires_at IS NULL OR r.ends_at <= k.expires_at)) \
                 AS is_replaced, \
             COALESCE(k.revoked_at, m.removed_at, (SELECT MIN(e.at) ",
            marks_on!(),
            ")) AS revoked_at"
        )
    };
}

macro_rules! keys_with_owners {
    () => {
        concat!(
            "SELECT ",
            key_columns!(),
            " FROM keys k JOIN memberships m ON m.id = k.membership_id \
             JOIN users u ON u.id = m.user_id LEFT JOIN key_rotations r ON r.key_id = k.id"
        )
    };
}

/// What `super::keys::listed` reads: a key with whose it is, and what takes its place.
macro_rules! listed_keys {
    () => {
        concat!(
            "SELECT ",
            key_columns!(),
            ", u.name AS owner_name, u.kind AS owner_kind, r.successor_id, r.ends_at, r.silent_ms, \
             p.key_id AS predecessor_id, t.last_used_at \
             FROM keys k JOIN memberships m ON m.id = k.membership_id \
             JOIN users u ON u.id = m.user_id LEFT JOIN key_rotations r ON r.key_id = k.id \
             LEFT JOIN key_rotations p ON p.successor_id = k.id \
             LEFT JOIN key_usage t ON t.key_id = k.id"
        )
    };
}

/// What [`super::rows::member`] reads. A user who is joined to the verified one of the address is that one.
macro_rules! member_columns {
    () => {
        concat!(
            "m.id, m.organization_id, COALESCE(",
            $crate::store::sql::joined_user!(),
            ", u.id) AS user_id, u.email, ",
            $crate::store::sql::is_verified!(),
            " AS email_verified, u.name, u.kind, m.role, m.created_at"
        )
    };
}

/// Members who are there.
macro_rules! present_members {
    () => {
        concat!(
            "SELECT ",
            $crate::store::sql::member_columns!(),
            " FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.removed_at IS NULL"
        )
    };
}

/// What [`super::rows::log_page`] reads: the head, and with it, in one snapshot, the log from a position
/// on. `$history`: which history of the database this is; `$now`: its clock, in milliseconds.
macro_rules! log_page {
    ($history:literal, $now:literal) => {
        concat!(
            "SELECT h.seq AS head, ",
            $history,
            " AS history, ",
            $now,
            " AS now, h.has_imported, l.seq, l.kind, l.subject, l.at FROM revocation_head h \
             LEFT JOIN revocation_log l ON l.seq >= $1 ORDER BY l.seq LIMIT $2"
        )
    };
}

/// A renewal that comes late or twice never takes back what was applied.
macro_rules! renew {
    ($now:literal) => {
        concat!(
            "UPDATE instances SET renewals = renewals + 1, \
             applied = CASE WHEN applied > $2 THEN applied ELSE $2 END, renewed_at = ",
            $now,
            " WHERE id = $1 AND NOT evicted"
        )
    };
}

/// Evicted rows are kept for a while, for people who look; nobody waits for them any more.
macro_rules! forget {
    ($now:literal) => {
        concat!(
            "DELETE FROM instances WHERE evicted AND renewed_at < ",
            $now,
            " - 600000"
        )
    };
}

pub(super) use {
    forget, is_verified, joined_user, log_page, marks_on, member_columns, present_members, renew,
    statements, unrevoked,
};

statements! {
    /// Head and key in one statement, hence in one snapshot. Left joins all the way: a key whose
    /// stay or owner is gone yields no address, and is unknown.
    LOOK_UP = concat!(
        "SELECT h.seq, ",
        key_columns!(),
        " FROM revocation_head h LEFT JOIN keys k ON k.hash = $1 \
         LEFT JOIN memberships m ON m.id = k.membership_id \
         LEFT JOIN users u ON u.id = m.user_id \
         LEFT JOIN key_rotations r ON r.key_id = k.id"
    );

    HEAD = "SELECT seq FROM revocation_head";

    INSERT_ORGANIZATION = "INSERT INTO organizations (id, name, created_at) VALUES ($1, $2, $3) \
        ON CONFLICT (name) DO NOTHING";
    ORGANIZATIONS = "SELECT id, name, created_at FROM organizations ORDER BY created_at, id";
    ORGANIZATION = "SELECT id, name, created_at FROM organizations WHERE id = $1";
    ORGANIZATION_EXISTS = "SELECT COUNT(*) AS n FROM organizations WHERE id = $1";

    INSERT_USER = "INSERT INTO users (id, email, name, created_at, kind, email_verified_at, joined_to) \
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    /// The one user to whom an address belongs.
    VERIFIED_USER = "SELECT id FROM users WHERE email = $1 AND email_verified_at IS NOT NULL";
    /// The user of a membership, unless it is the verified one, or joined to it, already. Who was joined to one that
    /// is verified no more is joined anew.
    JOIN_USER = "UPDATE users SET joined_to = $2 WHERE id = (SELECT m.user_id FROM memberships m WHERE m.id = $1) \
        AND id <> $2 AND kind = 'person' AND email_verified_at IS NULL \
        AND (joined_to IS NULL OR joined_to <> $2)";
    COUNT_PRESENT_MEMBERSHIPS = "SELECT COUNT(*) AS n FROM memberships m JOIN users u ON u.id = m.user_id \
        WHERE m.removed_at IS NULL AND m.organization_id = $1 AND u.email = $2";
    INSERT_MEMBERSHIP = "INSERT INTO memberships (id, organization_id, user_id, role, created_at) \
        VALUES ($1, $2, $3, $4, $5)";
    MEMBER = concat!(present_members!(), " AND m.id = $1");
    MEMBERS = concat!(
        present_members!(),
        " AND (CAST($1 AS TEXT) IS NULL OR m.organization_id = $1) ORDER BY m.created_at, m.id"
    );
    MEMBERS_PAGE = concat!(
        "SELECT ",
        member_columns!(),
        ", (SELECT COUNT(*) FROM keys k \
            WHERE k.membership_id = m.id AND ",
        unrevoked!(),
        ") AS live_keys \
         FROM memberships m JOIN users u ON u.id = m.user_id \
         WHERE m.organization_id = $1 AND m.removed_at IS NULL AND m.id < $2 AND u.kind = $4 \
         ORDER BY m.id DESC LIMIT $3"
    );
    /// That of the verified user comes first, then what they have entered or been added to, then what somebody opened
    /// by a link.
    MEMBERS_BY_EMAIL = concat!(
        present_members!(),
        " AND u.email = $1 ORDER BY CASE WHEN u.email_verified_at IS NOT NULL THEN 0 WHEN ",
        is_verified!(),
        " THEN 1 ELSE 2 END, m.created_at, m.id"
    );
    MEMBERSHIP_EXISTS = "SELECT COUNT(*) AS n FROM memberships WHERE id = $1";
    OTHER_OWNERS = "SELECT COUNT(*) AS n FROM memberships m JOIN users u ON u.id = m.user_id \
        WHERE m.organization_id = $1 AND m.id <> $2 AND m.role = 'owner' AND m.removed_at IS NULL \
        AND u.kind = 'person'";
    CHANGE_ROLE = "UPDATE memberships SET role = $2 WHERE id = $1 AND removed_at IS NULL";
    END_MEMBERSHIP = "UPDATE memberships SET removed_at = $2 WHERE id = $1 AND removed_at IS NULL";

    HASH_EXISTS = "SELECT COUNT(*) AS n FROM keys WHERE hash = $1";
    /// The user is that of the membership's row: an unverified one keeps its own id there for good.
    INSERT_KEY = "INSERT INTO keys (id, hash, hint, name, membership_id, organization_id, \
        user_id, scopes, created_at, expires_at, email_verified, chain_id, parent_id, created_seq) \
        SELECT $1, $2, $3, $4, m.id, m.organization_id, m.user_id, $6, $7, $8, $9, $10, $11, h.seq + 1 \
        FROM memberships m CROSS JOIN revocation_head h WHERE m.id = $5";
    KEY = concat!(keys_with_owners!(), " WHERE k.id = $1");
    KEYS = concat!(
        keys_with_owners!(),
        " WHERE (CAST($1 AS TEXT) IS NULL OR k.organization_id = $1) \
           AND (CAST($2 AS TEXT) IS NULL OR k.membership_id = $2) \
           AND ($3 OR (m.removed_at IS NULL AND ",
        unrevoked!(),
        ")) \
           AND k.id < $4 ORDER BY k.id DESC LIMIT $5"
    );
    /// Newest first, from below an id on. Two statements, for the index that each wants.
    LIVE_KEYS_OF_ORGANIZATION = concat!(
        listed_keys!(),
        " WHERE k.organization_id = $1 AND ",
        unrevoked!(),
        " AND k.id < $2 \
         ORDER BY k.id DESC LIMIT $3"
    );
    ALL_KEYS_OF_ORGANIZATION = concat!(
        listed_keys!(),
        " WHERE k.organization_id = $1 AND k.id < $2 ORDER BY k.id DESC LIMIT $3"
    );
    KEYS_OF_MEMBERSHIP = concat!(
        listed_keys!(),
        " WHERE k.membership_id = $1 AND ($4 OR ",
        unrevoked!(),
        ") AND k.id < $2 \
         ORDER BY k.id DESC LIMIT $3"
    );
    /// Those that were made with a key of the chain `$3`.
    KEYS_OF_PARENT = concat!(
        listed_keys!(),
        " WHERE (CAST($1 AS TEXT) IS NULL OR k.organization_id = $1) \
         AND (CAST($2 AS TEXT) IS NULL OR k.membership_id = $2) \
         AND k.parent_id IN (SELECT a.id FROM keys a WHERE a.id = $3 OR a.chain_id = $3) \
         AND ($4 OR ",
        unrevoked!(),
        ") AND k.id < $5 ORDER BY k.id DESC LIMIT $6"
    );
    LISTED_KEY = concat!(listed_keys!(), " WHERE k.id = $1");
    RENAME_KEY = "UPDATE keys SET name = $2 WHERE id = $1 AND name = $3";
    KEY_EXISTS = "SELECT COUNT(*) AS n FROM keys WHERE id = $1";
    /// What a mark covers is revoked already, and has its entry in the log.
    REVOKE_KEY = concat!("UPDATE keys AS k SET revoked_at = $2 WHERE k.id = $1 AND ", unrevoked!());
    REVOKE_HASH = concat!("UPDATE keys AS k SET revoked_at = $2 WHERE k.hash = $1 AND ", unrevoked!());
    REVOKE_OLDER = concat!(
        "UPDATE keys AS k SET revoked_at = $2 WHERE ",
        unrevoked!(),
        " AND k.created_at <= $3 AND (CAST($1 AS TEXT) IS NULL OR k.organization_id = $1)"
    );
    REVOKE_EVERYTHING = "INSERT INTO everything (organization_id, at) VALUES ($1, $2)";
    UNREVOKED_KEYS_OF_ALL = concat!(
        "SELECT COUNT(*) AS n FROM keys k WHERE ",
        unrevoked!(),
        " AND (CAST($1 AS TEXT) IS NULL OR k.organization_id = $1)"
    );
    UNREVOKED_KEYS = concat!(
        "SELECT COUNT(*) AS n FROM keys k WHERE k.membership_id = $1 AND ",
        unrevoked!()
    );
}
