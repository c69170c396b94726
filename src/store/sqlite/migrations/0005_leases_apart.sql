-- Instances and their reports are in a file of their own beside this one (`-leases`): a renewal waits for no writer here.

DROP TABLE revocation_reports;
DROP TABLE instances;

-- One row: which file that is, by the id in it, and for how long a lease may have been granted there. Whoever finds another
-- file in its place waits for so long before it says that nobody holds a lease.
CREATE TABLE lease_file (
    id               TEXT    NOT NULL,
    longest_lease_ms INTEGER NOT NULL
) STRICT;
INSERT INTO lease_file VALUES ('', 0);
