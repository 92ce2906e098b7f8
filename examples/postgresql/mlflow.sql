-- The role of the database of MLflow (runs, models, aliases). It owns one schema, whose tables upgrades change.
--
-- Run as an administrator, connected to this database, which nothing else uses; may be run again. The role has no
-- password: give it one by \password credit_mlflow, and have it in the secret that the chart names.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'credit_mlflow') THEN
        CREATE ROLE credit_mlflow LOGIN;
    END IF;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO credit_mlflow', current_database());
    EXECUTE format('ALTER ROLE credit_mlflow IN DATABASE %I SET search_path = mlflow', current_database());
END
$$;
ALTER ROLE credit_mlflow NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA IF NOT EXISTS mlflow;
ALTER SCHEMA mlflow OWNER TO credit_mlflow;
