-- Roles of the database of loans: credit_loader writes the tables, credit_reader reads them and nothing else.
--
-- Run as an administrator, connected to this database; may be run again. The roles have no password, and so no way in
-- but those that pg_hba.conf opens without one: give each its own by \password, or ALTER ROLE ... PASSWORD.
-- In a warehouse that others use too, leave out the two statements that take rights from PUBLIC, and grant SELECT on
-- the tables that the portfolio names instead of on a schema.
--
--     CREDIT_WAREHOUSE_URL=postgresql://credit_loader:...@host/loans   for `credit-assets load`, `generate`, `demo`
--     CREDIT_WAREHOUSE_URL=postgresql://credit_reader:...@host/loans   for everything else

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['credit_loader', 'credit_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
        EXECUTE format(
            'ALTER ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', name);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name);
        -- The portfolio names its tables without a schema.
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = loans', name, current_database());
    END LOOP;
    -- Rows to be loaded stand in a temporary table first.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO credit_loader', current_database());
    -- Said twice: that there is no right, and that nothing is tried.
    EXECUTE format('ALTER ROLE credit_reader IN DATABASE %I SET default_transaction_read_only = on', current_database());
    -- Of everybody: connecting and temporary tables.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
END
$$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA IF NOT EXISTS loans;
ALTER SCHEMA loans OWNER TO credit_loader;
GRANT USAGE ON SCHEMA loans TO credit_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA loans TO credit_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE credit_loader IN SCHEMA loans GRANT SELECT ON TABLES TO credit_reader;
