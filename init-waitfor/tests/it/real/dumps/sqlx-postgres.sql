-- The history table that sqlx-cli 0.9.0 has left after: sqlx migrate run --source m (PostgreSQL 15; pg_dump --inserts)
CREATE TABLE public._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);
INSERT INTO public._sqlx_migrations VALUES (20260101000000, 'first', '2026-11-21 16:55:57.51998+00', true, '\x45417f9af9928ff0393a26d387efa7ca69d04c0a547c6edff348495910b144c53211ccb8f14a9c71c69dbcb280522ecf', 4804996);
INSERT INTO public._sqlx_migrations VALUES (20260201000000, 'second', '2026-11-21 16:55:57.525879+00', true, '\x60fbc891ca2730809a40e84fc12e7e8eba8512de9d6647c3eaa63b09841884fadbafca173eff1daee109924e59da242f', 3154012);
ALTER TABLE ONLY public._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);
