//! Whether the triggers that write the log are those that the migrations made.
//!
//! Functions are compared by their bodies, which PostgreSQL keeps as written; triggers by their
//! definitions as PostgreSQL prints them, without parentheses and blanks, which versions set
//! differently. A trigger that a shell disabled (`ALTER TABLE … DISABLE TRIGGER`) counts as missing.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::errors::explain;
use super::open::MIGRATIONS;
use super::session::answered;
use crate::store::StoreError;
use crate::store::sql::statements;

statements! {
    FUNCTIONS = "SELECT p.proname AS name, p.prosrc AS text FROM pg_proc p \
        WHERE p.pronamespace = \
            (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('revocation_log'))";
    TRIGGERS = "SELECT t.tgname AS name, \
        lower(regexp_replace(pg_get_triggerdef(t.oid, TRUE), '[()[:space:]]', '', 'g')) AS text \
        FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgrelid IN \
            (to_regclass('keys'), to_regclass('memberships'), to_regclass('users'), \
             to_regclass('everything'), to_regclass('key_rotations'), to_regclass('revoke_all_marks'), \
             to_regclass('instances'))";
}

/// Name and definition of every trigger, as [`TRIGGERS`] yields them.
const EXPECTED_TRIGGERS: [(&str, &str); 16] = [
    (
        "everything_revoked",
        "insteadofinsertoneverythingforeachrowexecutefunctionrevoke_everything",
    ),
    (
        "instances_know_marks",
        "beforeinsertorupdateofid,knows_marks,evictedoninstancesforeachrow\
         whennotnew.knows_marksandnotnew.evictedexecutefunctionrefuse_without_marks",
    ),
    (
        "key_rotations_logged",
        "afterinsertordeleteorupdateonkey_rotationsforeachrowexecutefunctionlog_rotation",
    ),
    (
        "keys_created",
        "afterinsertonkeysreferencingnewtableasnew_keysforeachstatementexecutefunctionlog_key",
    ),
    (
        "keys_deleted",
        "afterdeleteonkeysreferencingoldtableasold_keysforeachstatementexecutefunctionlog_key",
    ),
    (
        "keys_kept",
        "beforeupdateonkeysforeachrowexecutefunctionkeep_key",
    ),
    (
        "keys_place_bounded",
        "beforeinsertonkeysforeachrowwhennew.created_seq>0executefunctionbound_place",
    ),
    (
        "keys_place_kept",
        "beforeupdateofcreated_seqonkeysforeachrowexecutefunctionkeep_marks",
    ),
    (
        "keys_revoked",
        "afterupdateonkeysreferencingoldtableasold_keysnewtableasnew_keysforeachstatement\
         executefunctionlog_key",
    ),
    (
        "keys_truncated",
        "aftertruncateonkeysforeachstatementexecutefunctionlog_everything",
    ),
    (
        "memberships_kept",
        "beforeupdateonmembershipsforeachrowexecutefunctionkeep_membership",
    ),
    (
        "memberships_logged",
        "afterdeleteorupdateonmembershipsforeachrowexecutefunctionlog_membership",
    ),
    (
        "revoke_all_marks_kept",
        "beforedeleteorupdateonrevoke_all_marksforeachrowexecutefunctionkeep_marks",
    ),
    (
        "revoke_all_marks_logged",
        "afterinsertonrevoke_all_marksforeachrowexecutefunctionlog_mark",
    ),
    (
        "revoke_all_marks_truncated",
        "beforetruncateonrevoke_all_marksforeachstatementexecutefunctionkeep_marks",
    ),
    (
        "users_changed",
        "afterupdateonusersforeachrowwhennew.email<>old.emailornew.joined_toisdistinctfromold.joined_to\
         ornew.email_verified_atisdistinctfromold.email_verified_atexecutefunctionlog_user",
    ),
];

/// The setting by which a connection switches triggers off.
const ROLE: &str = "SELECT current_setting('session_replication_role')";

/// On this connection the triggers that write the log do not fire.
#[derive(Debug, thiserror::Error)]
#[error(
    "setting session_replication_role is `{0}`, which switches triggers off (see ALTER DATABASE and \
     ALTER ROLE … RESET)"
)]
pub(super) struct TriggersDisabled(String);

/// Refuses a connection whose triggers do not fire, wherever that was set: the URL, the role, the database or
/// the server.
pub(super) fn judge(role: String) -> sqlx::Result<()> {
    if role == "origin" {
        Ok(())
    } else {
        Err(sqlx::Error::Configuration(Box::new(TriggersDisabled(role))))
    }
}

/// Compares what the database has with what genkan made.
///
/// # Errors
/// [`StoreError::Unguarded`] names the first that is missing or differs, or says why none fires.
pub(super) async fn verify(connection: &mut PgConnection) -> Result<(), StoreError> {
    let role = answered(sqlx::query_scalar(ROLE).fetch_one(&mut *connection)).await?;
    judge(role).map_err(explain)?;
    let functions = listed(connection, FUNCTIONS).await?;
    for (name, body) in expected_functions() {
        compare("function", name, &body, functions.get(name))?;
    }
    let triggers = listed(connection, TRIGGERS).await?;
    for (name, definition) in EXPECTED_TRIGGERS {
        let definition = format!("createtrigger{name}{definition}");
        compare("trigger", name, &definition, triggers.get(name))?;
    }
    Ok(())
}

fn compare(
    what: &str,
    name: &str,
    expected: &str,
    found: Option<&String>,
) -> Result<(), StoreError> {
    match found {
        Some(found) if found == expected => Ok(()),
        Some(_) => Err(StoreError::Unguarded(format!(
            "{what} `{name}` was altered"
        ))),
        None => Err(StoreError::Unguarded(format!(
            "{what} `{name}` is missing or disabled"
        ))),
    }
}

async fn listed(
    connection: &mut PgConnection,
    sql: &'static str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let rows: Vec<(String, String)> = answered(sqlx::query_as(sql).fetch_all(connection)).await?;
    Ok(rows.into_iter().collect())
}

/// Name and body of every function in the migrations; a later definition replaces an earlier one.
fn expected_functions() -> BTreeMap<&'static str, String> {
    let mut bodies = BTreeMap::new();
    for (_, text) in MIGRATIONS {
        for definition in text.split("FUNCTION ").skip(1) {
            let name = definition.split('(').next().unwrap_or_default();
            // A mention (`EXECUTE FUNCTION …`) has no body before the statement's end.
            let mut parts = definition.split("$$");
            let (head, body) = (parts.next().unwrap_or_default(), parts.next());
            if let Some(body) = body.filter(|_| !head.contains(';')) {
                bodies.insert(name, body.to_owned());
            }
        }
    }
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_migrations_is_expected_in_its_last_form() {
        let expected = expected_functions();
        let names: Vec<_> = expected.keys().copied().collect();
        assert_eq!(
            names,
            [
                "append_change",
                "append_changes",
                "bound_place",
                "clock_ms",
                "keep_key",
                "keep_marks",
                "keep_membership",
                "log_everything",
                "log_key",
                "log_mark",
                "log_membership",
                "log_rotation",
                "log_user",
                "refuse_without_marks",
                "revoke_everything",
            ]
        );
        assert!(expected["log_key"].contains("revoking_everything"));
    }
}
