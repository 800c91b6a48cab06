//! sqlx-cli, diesel_cli and refinery_cli, as `cargo install` builds them.
