//! `drain`: waits, as a preStop hook, until everything written so far is delivered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use podkit::{Exit, probe};
use serde_json::Value;

use crate::cli::DrainArgs;

/// Between questions.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Between requests to hurry: a sink that comes back is to be noticed at once, as when the shipper itself ends.
const HURRY_EVERY: Duration = Duration::from_millis(250);
/// What was written before is in the answers after so long.
const KNOWN_AFTER: Duration = Duration::from_millis(500);

/// Asks the running shipper to hurry until nothing is left and nothing was written for `--quiet`.
///
/// # Errors
/// Code 1 when there is no shipper, or when time is up; it says how many bytes are left.
pub fn run(args: &DrainArgs, admin: Option<&str>, default_port: u16) -> Result<(), Exit> {
    let addr = probe::address(admin, default_port)?;
    let end = Instant::now() + args.within.get();
    let ask = |method, path| {
        probe::request(addr, method, path).map_err(|e| {
            Exit::failed(format!(
                "no shipper answers at {addr}: {e}; if it listens elsewhere, write --admin ADDR"
            ))
        })
    };
    let (mut before, mut hurried) = (0, None::<Instant>);
    let mut quiet_since = Instant::now();
    loop {
        if hurried.is_none_or(|at| at.elapsed() >= HURRY_EVERY) {
            ask("POST", "/drain")?;
            hurried = Some(Instant::now());
        }
        let (read, left) = progress(addr, &ask("GET", "/statusz")?.1)?;
        if read != before || left > 0 {
            before = read;
            quiet_since = Instant::now();
        } else if quiet_since.elapsed() >= args.quiet.get().max(KNOWN_AFTER) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Exit::failed(format!("{left} bytes are not delivered yet; give --within more time")));
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Bytes read so far, and what is not delivered or saved yet.
fn progress(addr: SocketAddr, body: &str) -> Result<(u64, u64), Exit> {
    let status: Value = serde_json::from_str(body).map_err(|e| {
        Exit::failed(format!("http://{addr}/statusz is not understood: {e}; is it a shipper?"))
    })?;
    let number = |group: &str, key: &str| status[group][key].as_u64().unwrap_or(0);
    let left =
        number("gauges", "lag_bytes") + number("gauges", "in_flight_bytes") + number("gauges", "unsaved");
    Ok((number("totals", "bytes_read"), left))
}
