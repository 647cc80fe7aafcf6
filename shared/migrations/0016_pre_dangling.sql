-- A workflow goes on naming an authorization that was deleted, as its versions do: its runs fail and say so. So what it names is
-- checked when it is saved, with the authorization locked, and not by the database.

ALTER TABLE workflows DROP CONSTRAINT workflows_authorization_id_fkey;
