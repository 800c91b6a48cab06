-- The history table that refinery_cli 0.10.0 has left after: refinery migrate -e DATABASE_URL -p m (MariaDB 10.11; mysqldump --compact)
CREATE TABLE `refinery_schema_history` (
  `version` int(11) NOT NULL,
  `name` varchar(255) DEFAULT NULL,
  `applied_on` varchar(255) DEFAULT NULL,
  `checksum` varchar(255) DEFAULT NULL,
  PRIMARY KEY (`version`)
) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci;
INSERT INTO `refinery_schema_history` VALUES (1,'first','2026-11-21T16:50:26.228138774Z','1048874711512218850');
INSERT INTO `refinery_schema_history` VALUES (2,'second','2026-11-21T16:50:26.228194652Z','15331915432965867882');
