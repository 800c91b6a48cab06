//! Which tool's table is there: by its columns, never by its name alone.

use std::collections::BTreeMap;

use tokio::time::Instant;

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
    let rows = session.query(&columns_sql(dsn.engine, table), until).await?;
    let mut tables = Tables::new();
    for row in rows {
        if let [Some(schema), Some(table), Some(column)] = row.as_slice() {
            tables.entry((schema.clone(), table.clone())).or_default().push(column.clone());
        }
    }
    Ok(choose(&tables, tool, table.is_some()))
}

fn columns_sql(engine: Engine, table: Option<&str>) -> String {
    let mut names: Vec<String> = Tool::ALL
        .iter()
        .map(|tool| literal(engine, tool.spec().table))
        .chain([literal(engine, "ar_internal_metadata")])
        .collect();
    let mut schema = None;
    if let Some(text) = table {
        let (before, name) =
            text.rsplit_once('.').map_or((None, text), |(schema, name)| (Some(schema), name));
        names = vec![literal(engine, &name.to_lowercase())];
        schema = before.map(|name| literal(engine, name));
    }
    let names = names.join(", ");
    match engine {
        Engine::Postgres => {
            let place = schema.map_or_else(
                || {
                    "(pg_table_is_visible(c.oid) OR n.nspname IN ('drizzle', 'atlas_schema_revisions'))"
                        .to_owned()
                },
                |schema| format!("n.nspname = {schema}"),
            );
            format!(
                "SELECT n.nspname, c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped \
                 AND {place} AND lower(c.relname) IN ({names}) ORDER BY 1, 2, a.attnum"
            )
        }
        Engine::MySql => {
            let place = schema.unwrap_or_else(|| "DATABASE()".to_owned());
            format!(
                "SELECT table_schema, table_name, column_name FROM information_schema.columns \
                 WHERE table_schema = {place} AND lower(table_name) IN ({names}) ORDER BY 1, 2, ordinal_position"
            )
        }
    }
}

fn choose(tables: &Tables, wanted: Option<Tool>, named: bool) -> Found {
    let rails = tables.keys().any(|(_, table)| table == "ar_internal_metadata");
    let mut places: Vec<Place> = Vec::new();
    for ((schema, table), columns) in tables {
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
        match choose(&tables(list), None, false) {
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
        let both = tables(&[
            ("alembic_version", &["version_num"]),
            ("django_migrations", &["id", "app", "name", "applied"]),
        ]);
        assert!(
            matches!(choose(&both, None, false), Found::Several(names) if names.contains("alembic") && names.contains("django"))
        );
        assert!(
            matches!(choose(&both, Some(Tool::Django), false), Found::One(place) if place.tool == Tool::Django)
        );
        assert_eq!(choose(&both, Some(Tool::Flyway), false), Found::None);
    }
}
