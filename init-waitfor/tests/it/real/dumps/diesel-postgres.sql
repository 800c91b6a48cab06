-- The history table that diesel_cli 2.3.14 has left after: diesel migration run --migration-dir m (PostgreSQL 15; pg_dump --inserts)
CREATE TABLE public.__diesel_schema_migrations (
    version character varying(50) NOT NULL,
    run_on timestamp without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
INSERT INTO public.__diesel_schema_migrations VALUES ('20260101000000', '2026-11-21 16:49:10.051092');
INSERT INTO public.__diesel_schema_migrations VALUES ('20260201000000', '2026-11-21 16:49:10.055997');
ALTER TABLE ONLY public.__diesel_schema_migrations
    ADD CONSTRAINT __diesel_schema_migrations_pkey PRIMARY KEY (version);
