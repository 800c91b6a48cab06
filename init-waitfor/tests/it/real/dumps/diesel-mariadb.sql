-- The history table that diesel_cli 2.3.14 has left after: diesel migration run --migration-dir m (MariaDB 10.11; mysqldump --compact)
CREATE TABLE `__diesel_schema_migrations` (
  `version` varchar(50) NOT NULL,
  `run_on` timestamp NOT NULL DEFAULT current_timestamp(),
  PRIMARY KEY (`version`)
) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci;
INSERT INTO `__diesel_schema_migrations` VALUES ('20260101000000','2026-11-21 16:49:10');
INSERT INTO `__diesel_schema_migrations` VALUES ('20260201000000','2026-11-21 16:49:10');
