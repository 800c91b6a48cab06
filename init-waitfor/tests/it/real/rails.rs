//! ActiveRecord, of the Debian packages.

use testkit::Proc;

use super::{Base, Engine, run};
use crate::servers::program;

const MIGRATE: &str = "require 'active_record'\nActiveRecord::Base.establish_connection(ENV['DATABASE_URL'])\n\
    ActiveRecord::MigrationContext.new(ARGV[0], ActiveRecord::SchemaMigration).up(ARGV[1] && ARGV[1].to_i)\n";

fn migration(class: &str, table: &str) -> String {
    format!(
        "class {class} < ActiveRecord::Migration[6.1]\n  def change\n    create_table :{table}\n  end\nend\n"
    )
}

#[test]
fn applied_behind_and_ahead() {
    let Some(ruby) = program("ruby", "ruby ruby-activerecord ruby-pg ruby-mysql2 ruby-sqlite3") else {
        return;
    };
    for base in Base::each("rails_app", &[Engine::Postgres, Engine::MariaDb, Engine::Sqlite]) {
        base.pod.write("db/20260101000000_create_orders.rb", migration("CreateOrders", "orders"));
        base.pod.write("db/20260201000000_create_lines.rb", migration("CreateLines", "lines"));
        base.pod.write("migrate.rb", MIGRATE);
        let url = base.tool_url("postgres", "mysql2", "sqlite3:");
        let dir = base.pod.join("db");
        let up = |version: Option<&str>| {
            let proc = Proc::new(&ruby).arg(base.pod.join("migrate.rb")).arg(&dir).args(version);
            run(proc.env("DATABASE_URL", &url).env("RAILS_ENV", "production"))
        };
        let wanted = format!("dir: {}", dir.display());
        base.ask(&[(wanted.clone(), "not yet", "nothing applied yet")]);
        up(Some("20260101000000"));
        base.ask(&[
            (wanted.clone(), "not yet", "rails has 1 of 2, next is 20260201000000"),
            ("at: '20260101000000'".into(), "ready", "rails is at 20260101000000"),
        ]);
        up(None);
        base.ask(&[
            (wanted.clone(), "ready", "rails has all 2"),
            ("at_least: '20260101000000'".into(), "ready", "rails is at 20260201000000"),
            ("at: '20260101000000'".into(), "failed", "is at 20260201000000"),
        ]);
        std::fs::remove_file(dir.join("20260201000000_create_lines.rb")).unwrap();
        base.ask(&[(wanted.clone(), "failed", "20260201000000")]);
        // The lock that Rails takes while it migrates, by the number that Rails itself computes.
        if base.engine == Engine::Postgres {
            let number =
                run(Proc::new(&ruby)
                    .args(["-e", "require 'zlib'; puts 2053462845 * Zlib.crc32('rails_app')"]));
            let server = crate::servers::Postgres::shared().unwrap();
            let held = server.session("rails_app");
            held.tell(&format!("SELECT pg_advisory_lock({})", number.stdout().trim()));
            base.ask(&[("at_least: '20260301000000'".into(), "not yet", "it runs now (backend")]);
        }
    }
}
