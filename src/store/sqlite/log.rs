//! The log, and what else of the database's file only SQLite understands.

use crate::store::sql::{log_page, statements};

statements! {
    VERSION = "SELECT sqlite_version() AS version";
    LONGEST_LEASE = "SELECT longest_lease_ms FROM lease_file";
    RECORD_LONGEST_LEASE = "UPDATE lease_file SET longest_lease_ms = MAX(longest_lease_ms, $1)";
    LOG_PAGE = log_page!("''", "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)");
}
