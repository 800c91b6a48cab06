-- The history table that refinery_cli 0.10.0 has left after: refinery migrate -e DATABASE_URL -p m (sqlite3 .dump)
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE refinery_schema_history(
             version int4 PRIMARY KEY,
             name VARCHAR(255),
             applied_on VARCHAR(255),
             checksum VARCHAR(255));
INSERT INTO refinery_schema_history VALUES(1,'first','2026-11-21T16:50:26.414957451Z','1048874711512218850');
INSERT INTO refinery_schema_history VALUES(2,'second','2026-11-21T16:50:26.415000249Z','15331915432965867882');
COMMIT;
