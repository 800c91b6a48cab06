//! A small web shop, made to be watched: `traffic → shop → orders`, `shop → logs → ledger`.
//!
//! It needs nothing from outside: it visits its own pages when asked (`--rate`), calls its `orders` service
//! through localhost, and writes two logs in two formats. Every line and every request carries an id, and
//! every one is counted, so that somebody can check at the end that none was lost on the way.

mod ledger;
mod logs;
mod orders;
mod server;
mod shop;
mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// A small web shop that logs to files and calls its orders service through localhost.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Where the shop listens.
    #[arg(long, env = "SHOP_LISTEN", default_value = "127.0.0.1:8000", value_name = "ADDR")]
    listen: SocketAddr,
    /// The directory for access.log (nginx combined) and app.log (logfmt).
    #[arg(long, env = "SHOP_LOGS", default_value = "/var/log/app", value_name = "DIR")]
    logs: PathBuf,
    /// The orders service; in a pod this is the ambassador on localhost.
    #[arg(long, env = "SHOP_ORDERS", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    orders: String,
    /// Visits per second the shop makes to itself; 0 waits for real visitors.
    #[arg(long, env = "SHOP_RATE", default_value_t = 0, value_name = "N")]
    rate: u32,
    /// Rotates a log that has grown to so many bytes; 0 rotates only on `POST /rotate`.
    #[arg(long, env = "SHOP_ROTATE_BYTES", default_value_t = 16 * 1024 * 1024, value_name = "BYTES")]
    rotate_bytes: u64,
    /// How many rotated files of each log to keep.
    #[arg(long, env = "SHOP_KEEP", default_value_t = 3, value_name = "N")]
    keep: usize,
    /// Seconds that visits under way may take after SIGTERM.
    #[arg(long, env = "SHOP_GRACE", default_value_t = 8, value_name = "SECONDS")]
    grace: u64,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Asks the running shop whether it answers; exits with 0 or 1.
    Probe,
    /// Does nothing until SIGTERM: holds a network namespace, as a pod's pause container does.
    Pause,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the runtime: {error}")),
    };
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, async move {
        match cli.command {
            Some(Command::Probe) => server::probe(cli.listen).await,
            Some(Command::Pause) => server::stop_signal()?.await,
            None => shop::run(cli).await,
        }
    });
    // A visit that hangs in a blocking call must not hold up the end of the pod.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("{error:#}")),
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("demo-app: {message}");
    ExitCode::FAILURE
}
