-- Instances and their reports are in a file of their own beside this one (`-leases`): a renewal waits for no writer here.

DROP TABLE revocation_reports;
DROP TABLE instances;
