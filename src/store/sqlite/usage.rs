//! Statements that record uses, as SQLite reads JSON.

use crate::store::usage::{Statements, uses};

uses!(
    "(SELECT value ->> 'key' AS key, value ->> 'requests' AS requests, value ->> 'at' AS at, \
     value ->> 'address' AS address, value ->> 'client' AS client, value ->> 'open' AS open \
     FROM json_each($1)) u"
);

pub(super) const STATEMENTS: Statements = Statements {
    used: USED,
    counted: COUNTED,
    open: OPEN,
};
