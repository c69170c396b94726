//! Statements that record uses, as PostgreSQL reads JSON.

use crate::store::usage::{Statements, uses};

uses!(
    "jsonb_to_recordset(CAST($1 AS JSONB)) AS u(key TEXT, requests BIGINT, at BIGINT, address TEXT, \
     client TEXT, open BIGINT)"
);

pub(super) const STATEMENTS: Statements = Statements {
    used: USED,
    counted: COUNTED,
    open: OPEN,
};
