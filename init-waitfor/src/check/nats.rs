//! `nats://[user:password@|token@]host:port`: INFO, CONNECT, PING. <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use podkit::tls::TlsOptions;
use serde_json::{Value, json};

use super::{Verdict, tls};
use crate::target::Login;
use crate::wire::{Trouble, Wire};

pub(super) async fn talk(
    mut wire: Wire,
    login: &Login,
    password: Option<&str>,
    options: &TlsOptions,
) -> Result<Verdict, Trouble> {
    let line = wire.line().await?;
    let info: Value = line
        .strip_prefix("INFO ")
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| Trouble::unknown("reply", "this is not NATS"))?;
    if info["tls_required"] == true {
        let name =
            tls::server_name(&login.at.host).map_err(|wrong| Trouble::unknown("handshake", wrong.what))?;
        wire = wire.into_tls(options, name, &[]).await?;
    }
    let mut connect = json!({ "verbose": false, "pedantic": false, "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "name": "init-waitfor" });
    match (&login.user, password) {
        (Some(user), Some(password)) => {
            connect["user"] = user.as_str().into();
            connect["pass"] = password.into();
        }
        (Some(token), None) => connect["auth_token"] = token.as_str().into(),
        (None, Some(token)) => connect["auth_token"] = token.into(),
        (None, None) => {}
    }
    wire.send(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).await?;
    // Between CONNECT and PONG a server may say INFO again, or ping us.
    for _ in 0..16 {
        let line = wire.line().await?;
        match line.split(' ').next().unwrap_or_default() {
            "PONG" => {
                return Ok(Verdict::ready(format!(
                    "NATS {} answers",
                    info["version"].as_str().unwrap_or("?")
                )));
            }
            "PING" => wire.send(b"PONG\r\n").await?,
            "-ERR" if line.contains("Authorization") || line.contains("Authentication") => {
                return Err(Trouble::auth(line));
            }
            "-ERR" => return Err(Trouble::unknown("server", line)),
            _ => {}
        }
    }
    Err(Trouble::unknown("reply", "no PONG"))
}
