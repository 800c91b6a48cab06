-- The history table that sqlx-cli 0.9.0 has left after: sqlx migrate run --source m (sqlite3 .dump)
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO _sqlx_migrations VALUES(20260101000000,'first','2026-11-21 16:55:58',1,X'45417f9af9928ff0393a26d387efa7ca69d04c0a547c6edff348495910b144c53211ccb8f14a9c71c69dbcb280522ecf',31926494);
INSERT INTO _sqlx_migrations VALUES(20260201000000,'second','2026-11-21 16:55:58',1,X'60fbc891ca2730809a40e84fc12e7e8eba8512de9d6647c3eaa63b09841884fadbafca173eff1daee109924e59da242f',19971866);
COMMIT;
