-- Where scores are handed to other systems by a table: credit_scores adds rows, and changes and deletes none.
--
-- The pipeline keeps its scores in the store (`loan_scores`), and writes into no database: this is for the job of yours
-- that copies them. Run as an administrator, connected to the database that is to have them; may be run again.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'credit_scores') THEN
        CREATE ROLE credit_scores LOGIN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO credit_scores', current_database());
    EXECUTE format('ALTER ROLE credit_scores IN DATABASE %I SET search_path = scores', current_database());
END
$$;
ALTER ROLE credit_scores NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

CREATE SCHEMA IF NOT EXISTS scores;
CREATE TABLE IF NOT EXISTS scores.loan_scores (
    application_id text NOT NULL,
    application_date date NOT NULL,
    model_version text NOT NULL,
    pd double precision CHECK (pd BETWEEN 0 AND 1),
    score integer,
    scored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (application_id, model_version)
);
GRANT USAGE ON SCHEMA scores TO credit_scores;
-- SELECT, so that a copy that was cut short goes on where it was.
GRANT SELECT, INSERT ON scores.loan_scores TO credit_scores;
