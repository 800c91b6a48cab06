//! Tables made by the real migration tools, on real databases: each tool applies its migrations, the gate says where it is.

mod alembic;
mod cargo;
mod django;
mod rails;
mod yoyo;

use std::path::{Path, PathBuf};

use testkit::{Exited, PodDir, Proc, skip_or_fail};

use crate::migration::ask_all;
use crate::servers::{MariaDb, PASSWORD, Postgres};

/// The virtual environment that `cargo xtask test` makes, with the tools of `xtask/requirements-migrations.txt`.
fn python() -> Option<PathBuf> {
    let venv = xtask().join("venv");
    if venv.join("requirements-migrations.txt.installed").exists() {
        return Some(venv.join("bin/python3"));
    }
    skip_or_fail(&format!(
        "no migration tools in {}: cargo xtask test installs xtask/requirements-migrations.txt there",
        venv.display()
    ));
    None
}

/// `target/xtask`, from the place of the binary under test: `target/debug/init-waitfor`.
fn xtask() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_init-waitfor")).ancestors().nth(2);
    target.expect("a binary in target/PROFILE").join("xtask")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Postgres,
    MariaDb,
    Sqlite,
}

/// An empty database for one test.
struct Base {
    engine: Engine,
    name: String,
    /// As init-waitfor takes it.
    url: String,
    port: u16,
    pod: PodDir,
}

impl Base {
    /// One of each engine that is here; what is missing is said aloud.
    fn each(name: &str, engines: &[Engine]) -> Vec<Base> {
        engines.iter().filter_map(|engine| Base::new(name, *engine)).collect()
    }

    fn new(name: &str, engine: Engine) -> Option<Base> {
        let pod = PodDir::new();
        let (url, port) = match engine {
            Engine::Postgres => {
                let server = Postgres::shared()?;
                (server.database(name), server.port)
            }
            Engine::MariaDb => {
                let server = MariaDb::shared()?;
                (server.database(name), server.port)
            }
            Engine::Sqlite => (format!("sqlite://{}", pod.join("app.db").display()), 0),
        };
        Some(Base { engine, name: name.to_owned(), url, port, pod })
    }

    /// As a tool takes it: `scheme://user:password@host:port/name`, or the file behind `sqlite`.
    fn tool_url(&self, postgres: &str, mariadb: &str, sqlite: &str) -> String {
        let password = PASSWORD.replace('/', "%2F");
        match self.engine {
            Engine::Postgres => {
                format!("{postgres}://postgres:{password}@127.0.0.1:{}/{}", self.port, self.name)
            }
            Engine::MariaDb => format!("{mariadb}://app:{password}@127.0.0.1:{}/{}", self.port, self.name),
            Engine::Sqlite => format!("{sqlite}{}", self.pod.join("app.db").display()),
        }
    }

    fn sql(&self, sql: &str) -> String {
        match self.engine {
            Engine::Postgres => Postgres::shared().unwrap().sql(&self.name, sql),
            Engine::MariaDb => MariaDb::shared().unwrap().sql(&self.name, sql),
            Engine::Sqlite => crate::servers::sqlite(&self.pod.join("app.db"), sql),
        }
    }

    /// One attempt at each question: (gate options in YAML, state, a word of its detail).
    fn ask(&self, questions: &[(String, &str, &str)]) {
        ask_all(&self.url, questions);
    }
}

/// A tool that has to succeed.
fn run(proc: Proc) -> Exited {
    let done = proc.run();
    done.expect_code(0);
    done
}
