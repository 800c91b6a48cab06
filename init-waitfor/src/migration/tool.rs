//! The tools, as a table: where each keeps its history and how its rows read. Long, because it is a table.

/// A migration tool. Sources: the tools' documentation and their DDL, see each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tool {
    Flyway,
    GolangMigrate,
    Django,
    Alembic,
    Rails,
    Sqlx,
    Prisma,
    Liquibase,
    Diesel,
    Goose,
    Knex,
    EfCore,
    Atlas,
    Dbmate,
    Refinery,
    Drizzle,
    TypeOrm,
    Sequelize,
    Laravel,
    Ecto,
    Yoyo,
    NodePgMigrate,
}

/// How versions are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Whole numbers: `20260101120000`.
    Number,
    /// Dotted numbers: `1.10` comes after `1.9`.
    Dotted,
    /// Names that begin with a time or a counter.
    Text,
    /// `app.0001_initial`: ordered within an app.
    PerApp,
    /// Revisions that name their parents.
    Graph,
    /// As they were executed; their names say nothing.
    Executed,
}

/// Where a tool keeps its history.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub name: &'static str,
    /// Default table, in lower case.
    pub table: &'static str,
    /// Schema that is looked into besides the search path (PostgreSQL).
    pub schema: Option<&'static str>,
    /// Columns that must be there, in lower case.
    pub columns: &'static [&'static str],
    /// Columns that must not be there: they make it another tool's table.
    pub without: &'static [&'static str],
    /// Columns to read, in the order that `applied` expects them.
    pub read: &'static [&'static str],
    /// Column that gives the rows' order.
    pub sort: Option<&'static str>,
    pub order: Order,
}

impl Tool {
    pub const ALL: [Tool; 22] = [
        Tool::Flyway,
        Tool::GolangMigrate,
        Tool::Django,
        Tool::Alembic,
        Tool::Rails,
        Tool::Sqlx,
        Tool::Prisma,
        Tool::Liquibase,
        Tool::Diesel,
        Tool::Goose,
        Tool::Knex,
        Tool::EfCore,
        Tool::Atlas,
        Tool::Dbmate,
        Tool::Refinery,
        Tool::Drizzle,
        Tool::TypeOrm,
        Tool::Sequelize,
        Tool::Laravel,
        Tool::Ecto,
        Tool::Yoyo,
        Tool::NodePgMigrate,
    ];

    pub fn name(self) -> &'static str {
        self.spec().name
    }

    pub fn named(name: &str) -> Option<Self> {
        Tool::ALL.into_iter().find(|tool| tool.name().eq_ignore_ascii_case(name))
    }

    pub fn spec(self) -> Spec {
        let plain = Spec {
            name: "",
            table: "",
            schema: None,
            columns: &[],
            without: &[],
            read: &[],
            sort: None,
            order: Order::Text,
        };
        match self {
            // flyway-database-*: createScript in *Database.java
            Tool::Flyway => Spec {
                name: "flyway",
                table: "flyway_schema_history",
                columns: &["installed_rank", "version", "type", "script", "success"],
                read: &["version", "success", "type", "script"],
                sort: Some("installed_rank"),
                order: Order::Dotted,
                ..plain
            },
            // golang-migrate/migrate: database/postgres/postgres.go ensureVersionTable
            Tool::GolangMigrate => Spec {
                name: "golang-migrate",
                table: "schema_migrations",
                columns: &["version", "dirty"],
                read: &["version", "dirty"],
                order: Order::Number,
                ..plain
            },
            // django/db/migrations/recorder.py
            Tool::Django => Spec {
                name: "django",
                table: "django_migrations",
                columns: &["app", "name", "applied"],
                read: &["app", "name"],
                sort: Some("id"),
                order: Order::PerApp,
                ..plain
            },
            // alembic/runtime/migration.py
            Tool::Alembic => Spec {
                name: "alembic",
                table: "alembic_version",
                columns: &["version_num"],
                read: &["version_num"],
                order: Order::Graph,
                ..plain
            },
            // activerecord/lib/active_record/schema_migration.rb
            Tool::Rails => Spec {
                name: "rails",
                table: "schema_migrations",
                columns: &["version"],
                without: &["dirty", "inserted_at"],
                read: &["version"],
                order: Order::Number,
                ..plain
            },
            // sqlx-postgres/src/migrate.rs
            Tool::Sqlx => Spec {
                name: "sqlx",
                table: "_sqlx_migrations",
                columns: &["version", "description", "success", "execution_time"],
                read: &["version", "success", "description"],
                sort: Some("version"),
                order: Order::Number,
                ..plain
            },
            // prisma-engines: schema-engine/connectors/sql-schema-connector
            Tool::Prisma => Spec {
                name: "prisma",
                table: "_prisma_migrations",
                columns: &["migration_name", "finished_at", "rolled_back_at", "logs"],
                read: &["migration_name", "finished_at", "rolled_back_at", "logs"],
                sort: Some("started_at"),
                ..plain
            },
            // liquibase-standard: CreateDatabaseChangeLogTableGenerator.java
            Tool::Liquibase => Spec {
                name: "liquibase",
                table: "databasechangelog",
                columns: &["id", "author", "filename", "exectype", "orderexecuted"],
                read: &["id", "exectype", "tag", "author", "filename"],
                sort: Some("orderexecuted"),
                order: Order::Executed,
                ..plain
            },
            // diesel_migrations: setup_database
            Tool::Diesel => Spec {
                name: "diesel",
                table: "__diesel_schema_migrations",
                columns: &["version", "run_on"],
                read: &["version"],
                order: Order::Number,
                ..plain
            },
            // pressly/goose: internal/dialects
            Tool::Goose => Spec {
                name: "goose",
                table: "goose_db_version",
                columns: &["id", "version_id", "is_applied"],
                read: &["version_id", "is_applied"],
                sort: Some("id"),
                order: Order::Number,
                ..plain
            },
            // knex/lib/migrations/migrate/table-creator.js
            Tool::Knex => Spec {
                name: "knex",
                table: "knex_migrations",
                columns: &["name", "batch", "migration_time"],
                read: &["name"],
                sort: Some("id"),
                ..plain
            },
            // efcore: HistoryRepository.cs
            Tool::EfCore => Spec {
                name: "efcore",
                table: "__efmigrationshistory",
                columns: &["migrationid", "productversion"],
                read: &["migrationid"],
                ..plain
            },
            // ariga/atlas: cmd/atlas/internal/migrate/ent/schema/revision.go
            Tool::Atlas => Spec {
                name: "atlas",
                table: "atlas_schema_revisions",
                schema: Some("atlas_schema_revisions"),
                columns: &["version", "applied", "total", "hash"],
                read: &["version", "applied", "total", "error", "type"],
                sort: Some("version"),
                ..plain
            },
            // amacneil/dbmate: pkg/driver/*; the same table as Rails', without ar_internal_metadata beside it
            Tool::Dbmate => Spec {
                name: "dbmate",
                table: "schema_migrations",
                columns: &["version"],
                without: &["dirty", "inserted_at"],
                read: &["version"],
                order: Order::Number,
                ..plain
            },
            // rust-db/refinery: refinery_core/src/traits
            Tool::Refinery => Spec {
                name: "refinery",
                table: "refinery_schema_history",
                columns: &["version", "name", "applied_on", "checksum"],
                read: &["version"],
                order: Order::Number,
                ..plain
            },
            // drizzle-orm: src/pg-core/dialect.ts migrate()
            Tool::Drizzle => Spec {
                name: "drizzle",
                table: "__drizzle_migrations",
                schema: Some("drizzle"),
                columns: &["id", "hash", "created_at"],
                read: &["created_at"],
                sort: Some("id"),
                order: Order::Number,
                ..plain
            },
            // typeorm: src/migration/MigrationExecutor.ts
            Tool::TypeOrm => Spec {
                name: "typeorm",
                table: "migrations",
                columns: &["id", "timestamp", "name"],
                read: &["timestamp"],
                sort: Some("id"),
                order: Order::Number,
                ..plain
            },
            // sequelize/umzug: src/storage/sequelize.ts
            Tool::Sequelize => Spec {
                name: "sequelize",
                table: "sequelizemeta",
                columns: &["name"],
                read: &["name"],
                ..plain
            },
            // laravel/framework: DatabaseMigrationRepository.php
            Tool::Laravel => Spec {
                name: "laravel",
                table: "migrations",
                columns: &["migration", "batch"],
                read: &["migration"],
                sort: Some("id"),
                ..plain
            },
            // ecto_sql: lib/ecto/migration/schema_migration.ex
            Tool::Ecto => Spec {
                name: "ecto",
                table: "schema_migrations",
                columns: &["version", "inserted_at"],
                read: &["version"],
                order: Order::Number,
                ..plain
            },
            // yoyo-migrations: yoyo/backends/base.py
            Tool::Yoyo => Spec {
                name: "yoyo",
                table: "_yoyo_migration",
                columns: &["migration_hash", "migration_id"],
                read: &["migration_id"],
                ..plain
            },
            // node-pg-migrate: src/runner.ts
            Tool::NodePgMigrate => Spec {
                name: "node-pg-migrate",
                table: "pgmigrations",
                columns: &["name", "run_on"],
                read: &["name"],
                sort: Some("id"),
                ..plain
            },
        }
    }
}
