//! The numbers and names under which the tools lock, computed as they compute them.

use super::detect::Place;
use super::tool::Tool;

/// Keys of `pg_advisory_lock` that the tool uses.
pub(super) fn advisory_keys(place: &Place, database: &str) -> Vec<i64> {
    let crc = i64::from(crc32fast::hash(database.as_bytes()));
    match place.tool {
        // PostgreSQLAdvisoryLockTemplate: LOCK_MAGIC_NUM plus the hash of the quoted table
        Tool::Flyway => {
            let hash = java_hash(&format!("\"{}\".\"{}\"", place.schema, place.table));
            vec![77_431_708_279_161_i64.wrapping_add(i64::from(hash))]
        }
        // database.GenerateAdvisoryLockId; the CLI's database name begins with the slash of the URL
        Tool::GolangMigrate => [database.to_owned(), format!("/{database}")]
            .iter()
            .map(|database| golang_key(&[&place.schema, &place.table, database]))
            .collect(),
        Tool::Rails => vec![2_053_462_845_i64.wrapping_mul(crc)],
        Tool::Sqlx => vec![0x3d32_ad9e_i64.wrapping_mul(crc)],
        Tool::Prisma => vec![72_707_369],
        Tool::Goose => vec![4_097_083_626],
        Tool::Atlas => vec![2_686_470_616],
        Tool::NodePgMigrate => vec![7_241_865_325_823_964],
        _ => Vec::new(),
    }
}

/// Names of `GET_LOCK` that the tool uses.
pub(super) fn lock_names(place: &Place, database: &str) -> Vec<String> {
    let crc = i64::from(crc32fast::hash(database.as_bytes()));
    match place.tool {
        Tool::Flyway => vec![format!("Flyway-{}", java_hash(&format!("`{database}`.`{}`", place.table)))],
        Tool::GolangMigrate => vec![golang_key(&[&format!("{database}:{}", place.table)]).to_string()],
        Tool::Rails => vec![2_053_462_845_i64.wrapping_mul(crc).to_string()],
        // sqlx-mysql/src/migrate.rs: generate_lock_id
        Tool::Sqlx => vec![format!("{:x}", 0x3d32_ad9e_i64.wrapping_mul(crc))],
        Tool::Prisma => vec!["prisma_migrate".to_owned()],
        Tool::Atlas => vec!["atlas_migrate_execute".to_owned()],
        _ => Vec::new(),
    }
}

fn golang_key(parts: &[&str]) -> i64 {
    i64::from(crc32fast::hash(parts.join("\0").as_bytes()).wrapping_mul(1_486_364_155))
}

/// `String.hashCode`
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tool: Tool, table: &str) -> Place {
        Place {
            tool,
            schema: "public".to_owned(),
            table: table.to_owned(),
            columns: Vec::new(),
            locks: Vec::new(),
        }
    }

    /// Keys seen in `pg_locks` while the tools ran, or computed by their code.
    #[test]
    fn keys_as_the_tools_compute_them() {
        assert_eq!(advisory_keys(&place(Tool::Flyway, "flyway_schema_history"), "x"), [77_433_833_903_597]);
        let golang = advisory_keys(&place(Tool::GolangMigrate, "schema_migrations"), "app");
        assert_eq!(golang, [1_787_120_056, 1_726_534_663]);
        assert_eq!(
            advisory_keys(&place(Tool::Rails, "schema_migrations"), "rails"),
            [4_475_467_841_591_330_430]
        );
        assert_eq!(advisory_keys(&place(Tool::Django, "django_migrations"), "x"), Vec::<i64>::new());
    }
}
