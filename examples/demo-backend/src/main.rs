//! Plays the world outside the demo's pod: `listen → {orders, bulk} → store → stats`.
//!
//! - **orders**: the service the shop calls. `GET /stock/7`, `POST /orders`; `?slow=250` answers late,
//!   `?fail` answers 500. Every answer repeats the request's `x-request-id`.
//! - **bulk**: the part of the Elasticsearch API a log shipper uses. Every record is looked through for the id
//!   the shop gave its line, so that lines can be counted, distinct and repeated, whatever the schema.
//!
//! `POST /outage?seconds=3` makes the log store refuse everything for that long; `GET /stats` counts.

mod bulk;
mod listen;
mod orders;
mod stats;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Plays the orders service and an Elasticsearch bulk endpoint, and counts what reaches them.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Where the orders service listens.
    #[arg(long, env = "BACKEND_ORDERS", default_value = "127.0.0.1:8090", value_name = "ADDR")]
    orders: SocketAddr,
    /// Where the Elasticsearch endpoint listens.
    #[arg(long, env = "BACKEND_ELASTICSEARCH", default_value = "127.0.0.1:9200", value_name = "ADDR")]
    elasticsearch: SocketAddr,
    /// Keeps what was received in this file, so that a killed backend still knows it after its restart.
    #[arg(long, env = "BACKEND_STORE", value_name = "FILE")]
    store: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Asks the running backend whether it answers; exits with 0 or 1 (a health check for an image without a shell).
    Probe,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the runtime: {error}")),
    };
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, async move {
        match cli.command {
            Some(Command::Probe) => listen::probe(cli.orders).await,
            None => serve(cli).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("{error:#}")),
    }
}

async fn serve(cli: Cli) -> anyhow::Result<()> {
    let store = Rc::new(store::Store::open(cli.store.as_deref())?);
    let world = Rc::new(stats::World::new(store));
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let orders = listen::bind(cli.orders).await?;
    let elasticsearch = listen::bind(cli.elasticsearch).await?;
    listen::say_ready(orders.local_addr()?, elasticsearch.local_addr()?);

    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::task::spawn_local(async move {
        tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
        let _ = stop.send(true);
    });
    let for_orders = Rc::clone(&world);
    let for_bulk = Rc::clone(&world);
    tokio::join!(
        listen::accept(orders, stopping.clone(), move |request| orders::answer(
            Rc::clone(&for_orders),
            request
        )),
        listen::accept(elasticsearch, stopping, move |request| bulk::answer(Rc::clone(&for_bulk), request)),
    );
    Ok(())
}

fn failed(message: &str) -> ExitCode {
    eprintln!("demo-backend: {message}");
    ExitCode::FAILURE
}
