//! The project's own commands: `cargo xtask demo`, `cargo xtask test`, and what they are made of.

mod bench;
mod corpus;
mod demo;
mod dist;
mod docker;
mod fuzz;
mod images;
mod pages;
mod record;
mod release;
mod schemas;
mod sh;
mod soak;
mod structure;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Podmates' own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole pod, shows what happens, and proves at the end that nothing was lost
    Demo(demo::Options),
    /// Sets up what the tests need, then runs every check there is
    Test(test::Options),
    /// Measures ours and a peer in turn, under the same load, and prints the ratios
    Bench(bench::Options),
    /// Random schedules of everything that goes wrong, for as long as wanted
    Soak(soak::SoakOptions),
    /// Behaviour that peers were measured with, in every combination
    Probe(soak::ProbeOptions),
    /// Compares the adapter's records with those that others made of the same logs
    Corpus(corpus::Options),
    /// Runs the fuzz targets of the packages that have some, for as long as wanted
    Fuzz(fuzz::Options),
    /// Builds the static binaries that ship, into dist/, and the archive with man pages, completions and bills of materials
    Dist,
    /// Plays the demo on a terminal of its own and writes docs/demo.svg
    Record(record::Options),
    /// Takes pictures of the status pages while the demo runs, for docs/; needs Chromium
    Pages(pages::Options),
    /// Builds the container images
    Images(images::Options),
    /// Writes schemas/*.json from the binaries; with --check, says whether they are up to date
    Schemas(schemas::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Soak(options) => soak::soak(&options),
        Command::Probe(options) => soak::probe(&options),
        Command::Corpus(options) => corpus::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Dist => dist::build().and_then(|_| release::archive()).map(|_| true),
        Command::Record(options) => record::run(&options).map(|()| true),
        Command::Pages(options) => pages::run(&options).map(|()| true),
        Command::Images(options) => images::build(&options).map(|_| true),
        Command::Schemas(options) => schemas::run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
