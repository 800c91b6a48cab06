-- The history table that sqlx-cli 0.9.0 has left after: sqlx migrate run --source m (MariaDB 10.11; mysqldump --compact --hex-blob)
CREATE TABLE `_sqlx_migrations` (
  `version` bigint(20) NOT NULL,
  `description` text NOT NULL,
  `installed_on` timestamp NOT NULL DEFAULT current_timestamp(),
  `success` tinyint(1) NOT NULL,
  `checksum` blob NOT NULL,
  `execution_time` bigint(20) NOT NULL,
  PRIMARY KEY (`version`)
) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci;
INSERT INTO `_sqlx_migrations` VALUES (20260101000000,'first','2026-11-21 16:55:58',1,0x45417F9AF9928FF0393A26D387EFA7CA69D04C0A547C6EDFF348495910B144C53211CCB8F14A9C71C69DBCB280522ECF,51608846);
INSERT INTO `_sqlx_migrations` VALUES (20260201000000,'second','2026-11-21 16:55:58',1,0x60FBC891CA2730809A40E84FC12E7E8EBA8512DE9D6647C3EAA63B09841884FADBAFCA173EFF1DAEE109924E59DA242F,55567738);
