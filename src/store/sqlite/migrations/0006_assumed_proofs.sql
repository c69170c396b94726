-- A session may rest on an address of which the identity provider said nothing, and which a setting lets count as
-- verified (`assume_email_verified`): `proof` is 'address' then, and this is true.
ALTER TABLE sessions ADD COLUMN is_assumed INTEGER NOT NULL DEFAULT 0;
