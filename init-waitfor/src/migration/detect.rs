//! Which tool's table is there: by its columns, never by its name alone.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::rows;
use super::tool::Tool;
use crate::sql::{Dsn, Engine, Session, identifier, literal};
use crate::wire::Trouble;

/// A tool's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub tool: Tool,
    pub schema: String,
    pub table: String,
    /// As the database spells them: EF Core's are in mixed case.
    pub columns: Vec<String>,
    /// Tables of locks that are there, too.
    pub locks: Vec<LockTable>,
}

/// A table whose row is a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LockTable {
    pub schema: String,
    pub table: String,
    pub columns: Vec<String>,
}

impl Place {
    /// For SQL, in quotes.
    pub(super) fn quoted(&self, engine: Engine) -> String {
        format!("{}.{}", identifier(engine, &self.schema), identifier(engine, &self.table))
    }

    /// A column by its lower-case name, in quotes; `NULL` when this version of the tool has none.
    pub(super) fn column(&self, engine: Engine, name: &str) -> String {
        let real = self.columns.iter().find(|column| column.eq_ignore_ascii_case(name));
        real.map_or_else(|| "NULL".to_owned(), |column| identifier(engine, column))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    None,
    One(Place),
    /// Their names, for a message.
    Several(String),
}

/// Tables with their columns: (schema, table) → columns.
type Tables = BTreeMap<(String, String), Vec<String>>;

pub(super) async fn find(
    session: &mut Session,
    dsn: &Dsn,
    tool: Option<Tool>,
    table: Option<&str>,
    until: Instant,
) -> Result<Found, Trouble> {
    let history = dsn.history();
    let table = table.or(history.as_deref());
    let rows = session.query(&columns_sql(dsn, table), until).await?;
    let mut tables = Tables::new();
    for row in rows {
        if let [Some(schema), Some(table), Some(column)] = row.as_slice() {
            tables.entry((schema.clone(), table.clone())).or_default().push(column.clone());
        }
    }
    Ok(choose(&mut tables, tool, table))
}

fn columns_sql(dsn: &Dsn, table: Option<&str>) -> String {
    let engine = dsn.engine;
    let mut names: Vec<String> = Tool::ALL
        .iter()
        .map(|tool| literal(engine, tool.spec().table))
        .chain([literal(engine, "ar_internal_metadata")])
        .collect();
    let locks: Vec<String> = rows::tables().map(|name| literal(engine, name)).collect();
    let mut schema = None;
    if let Some(text) = table {
        let (before, name) =
            text.rsplit_once('.').map_or((None, text), |(schema, name)| (Some(schema), name));
        let name = name.to_lowercase();
        names = vec![literal(engine, &name), literal(engine, &format!("{name}_lock"))];
        schema = before.map(|name| literal(engine, name));
    }
    names.extend(locks);
    let names = names.join(", ");
    match engine {
        Engine::Postgres => {
            let own = "n.nspname IN ('drizzle', 'atlas_schema_revisions')";
            let named: Vec<String> = dsn.schemas().map(|name| literal(engine, name)).collect();
            let place = match schema {
                Some(schema) => format!("n.nspname = {schema}"),
                None if named.is_empty() => format!("(pg_table_is_visible(c.oid) OR {own})"),
                None => format!("(n.nspname IN ({}) OR {own})", named.join(", ")),
            };
            format!(
                "SELECT n.nspname, c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped \
                 AND {place} AND lower(c.relname) IN ({names}) ORDER BY 1, 2, a.attnum"
            )
        }
        Engine::Sqlite => format!(
            "SELECT 'main', m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type = 'table' \
             AND lower(m.name) IN ({names}) ORDER BY 1, 2, p.cid"
        ),
        Engine::MySql => {
            let place = schema.unwrap_or_else(|| "DATABASE()".to_owned());
            format!(
                "SELECT table_schema, table_name, column_name FROM information_schema.columns \
                 WHERE table_schema = {place} AND lower(table_name) IN ({names}) ORDER BY 1, 2, ordinal_position"
            )
        }
    }
}

fn choose(tables: &mut Tables, wanted: Option<Tool>, table: Option<&str>) -> Found {
    let named = table.is_some();
    let own_lock = table.map(|text| format!("{}_lock", text.rsplit('.').next().unwrap_or(text)));
    let is_lock = |name: &str| {
        rows::tables().any(|table| table.eq_ignore_ascii_case(name))
            || own_lock.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
    };
    let locks: Vec<LockTable> = tables
        .extract_if(.., |(_, table), _| is_lock(table))
        .map(|((schema, table), columns)| LockTable { schema, table, columns })
        .collect();
    let rails = tables.keys().any(|(_, table)| table == "ar_internal_metadata");
    let mut places: Vec<Place> = Vec::new();
    for ((schema, table), columns) in &*tables {
        let has = |name: &&str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        for tool in Tool::ALL {
            let spec = tool.spec();
            let by_name = named || spec.table.eq_ignore_ascii_case(table);
            let by_columns = spec.columns.iter().all(&has) && !spec.without.iter().any(&has);
            // Both read alike; the neighbour tells them apart.
            let twin =
                wanted.is_none() && matches!((tool, rails), (Tool::Rails, false) | (Tool::Dbmate, true));
            if by_name && by_columns && !twin && wanted.is_none_or(|wanted| wanted == tool) {
                places.push(Place {
                    tool,
                    schema: schema.clone(),
                    table: table.clone(),
                    columns: columns.clone(),
                    locks: locks.clone(),
                });
            }
        }
    }
    if named && places.len() > 1 {
        // Under another name, fewer columns fit more tools: the most particular one is meant.
        let most = places.iter().map(|place| place.tool.spec().columns.len()).max().unwrap_or(0);
        places.retain(|place| place.tool.spec().columns.len() == most);
    }
    match places.len() {
        0 => Found::None,
        1 => Found::One(places.remove(0)),
        _ => Found::Several(
            places
                .iter()
                .map(|place| format!("{} ({}.{})", place.tool.name(), place.schema, place.table))
                .collect::<Vec<_>>()
                .join(", "),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(list: &[(&str, &[&str])]) -> Tables {
        list.iter()
            .map(|(table, columns)| {
                (
                    ("public".to_owned(), (*table).to_owned()),
                    columns.iter().map(|c| (*c).to_owned()).collect(),
                )
            })
            .collect()
    }

    fn tool(list: &[(&str, &[&str])]) -> Option<Tool> {
        match choose(&mut tables(list), None, None) {
            Found::One(place) => Some(place.tool),
            _ => None,
        }
    }

    #[test]
    fn the_same_name_is_four_tools() {
        assert_eq!(tool(&[("schema_migrations", &["version", "dirty"])]), Some(Tool::GolangMigrate));
        assert_eq!(tool(&[("schema_migrations", &["version", "inserted_at"])]), Some(Tool::Ecto));
        assert_eq!(tool(&[("schema_migrations", &["version"])]), Some(Tool::Dbmate));
        let rails: &[(&str, &[&str])] =
            &[("schema_migrations", &["version"]), ("ar_internal_metadata", &["key", "value"])];
        assert_eq!(tool(rails), Some(Tool::Rails));
        assert_eq!(tool(&[("migrations", &["id", "timestamp", "name"])]), Some(Tool::TypeOrm));
        assert_eq!(tool(&[("migrations", &["id", "migration", "batch"])]), Some(Tool::Laravel));
        assert_eq!(
            tool(&[("__EFMigrationsHistory", &["MigrationId", "ProductVersion"])]),
            Some(Tool::EfCore)
        );
        assert_eq!(tool(&[("migrations", &["id", "what"])]), None);
    }

    #[test]
    fn every_tool_is_found_by_its_own_table_and_no_other() {
        for one in Tool::ALL {
            let spec = one.spec();
            let mut list = vec![(spec.table, spec.columns)];
            if one == Tool::Rails {
                list.push(("ar_internal_metadata", &["key"]));
            }
            assert_eq!(tool(&list), Some(one));
        }
    }

    #[test]
    fn two_tools_are_ambiguous_unless_one_is_named() {
        let mut both = tables(&[
            ("alembic_version", &["version_num"]),
            ("django_migrations", &["id", "app", "name", "applied"]),
        ]);
        assert!(
            matches!(choose(&mut both, None, None), Found::Several(names) if names.contains("alembic") && names.contains("django"))
        );
        assert!(
            matches!(choose(&mut both, Some(Tool::Django), None), Found::One(place) if place.tool == Tool::Django)
        );
        assert_eq!(choose(&mut both, Some(Tool::Flyway), None), Found::None);
    }

    #[test]
    fn tables_of_locks_go_along_and_are_no_history() {
        let mut list = tables(&[
            ("knex_migrations", &["id", "name", "batch", "migration_time"]),
            ("knex_migrations_lock", &["index", "is_locked"]),
        ]);
        let Found::One(place) = choose(&mut list, None, None) else { panic!("one") };
        assert_eq!((place.tool, place.locks.len()), (Tool::Knex, 1));
        let mut list = tables(&[
            ("applied", &["name", "batch", "migration_time"]),
            ("applied_lock", &["index", "is_locked"]),
        ]);
        let Found::One(place) = choose(&mut list, None, Some("history.applied")) else { panic!("one") };
        assert_eq!((place.tool, place.locks[0].table.as_str()), (Tool::Knex, "applied_lock"));
    }
}
