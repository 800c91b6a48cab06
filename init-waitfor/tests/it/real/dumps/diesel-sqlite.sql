-- The history table that diesel_cli 2.3.14 has left after: diesel migration run --migration-dir m (sqlite3 .dump)
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE __diesel_schema_migrations (
       version VARCHAR(50) PRIMARY KEY NOT NULL,
       run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO __diesel_schema_migrations VALUES('20260101000000','2026-11-21 16:49:10');
INSERT INTO __diesel_schema_migrations VALUES('20260201000000','2026-11-21 16:49:10');
COMMIT;
