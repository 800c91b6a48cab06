-- The history table that refinery_cli 0.10.0 has left after: refinery migrate -e DATABASE_URL -p m (PostgreSQL 15; pg_dump --inserts)
CREATE TABLE public.refinery_schema_history (
    version integer NOT NULL,
    name character varying(255),
    applied_on character varying(255),
    checksum character varying(255)
);
INSERT INTO public.refinery_schema_history VALUES (1, 'first', '2026-11-21T16:50:25.930204193Z', '1048874711512218850');
INSERT INTO public.refinery_schema_history VALUES (2, 'second', '2026-11-21T16:50:25.930262956Z', '15331915432965867882');
ALTER TABLE ONLY public.refinery_schema_history
    ADD CONSTRAINT refinery_schema_history_pkey PRIMARY KEY (version);
