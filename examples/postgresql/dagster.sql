-- The role of the database of Dagster (runs, events, schedules). It owns one schema, whose tables upgrades change.
--
-- Run as an administrator, connected to this database, which nothing else uses; may be run again. The role has no
-- password: give it one by \password credit_dagster, and have it in the secret that the chart names.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'credit_dagster') THEN
        CREATE ROLE credit_dagster LOGIN;
    END IF;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO credit_dagster', current_database());
    EXECUTE format('ALTER ROLE credit_dagster IN DATABASE %I SET search_path = dagster', current_database());
END
$$;
ALTER ROLE credit_dagster NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA IF NOT EXISTS dagster;
ALTER SCHEMA dagster OWNER TO credit_dagster;
