//! PostgreSQL's protocol 3.0: start-up, authentication (cleartext, MD5, SCRAM-SHA-256), simple queries.
//! <https://www.postgresql.org/docs/current/protocol.html>

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use tokio::time::Instant;

use super::{Dsn, MOST_ROWS, Row, TlsMode};
use crate::wire::{Reach, Trouble, Wire};

/// A logged-in session.
#[derive(Debug)]
pub struct Postgres {
    wire: Wire,
    /// What the server says that its process is; a pooler makes this up.
    backend_pid: i32,
    version: String,
}

impl Postgres {
    pub(super) async fn open(reach: Reach<'_>, dsn: &Dsn, password: Option<&str>) -> Result<Self, Trouble> {
        let mut wire = match &dsn.socket {
            Some(dir) => Wire::unix(reach, &dir.join(format!(".s.PGSQL.{}", dsn.at.port))).await?,
            None => Self::secured(reach, dsn).await?,
        };
        let name = application_name();
        let mut parameters =
            vec![("user", dsn.user.as_str()), ("database", &dsn.database), ("application_name", &name)];
        if let Some(options) = dsn.query.get("options") {
            parameters.push(("options", options));
        }
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out)
            .map_err(|error| Trouble::unknown("login", error.to_string()))?;
        wire.send(&out).await?;
        let mut session = Postgres { wire, backend_pid: 0, version: String::new() };
        session.authenticate(dsn, password).await?;
        session.until_ready().await?;
        Ok(session)
    }

    /// TCP, and TLS as far as wanted and offered.
    async fn secured(reach: Reach<'_>, dsn: &Dsn) -> Result<Wire, Trouble> {
        let mut wire = Wire::tcp(reach, &dsn.at).await?;
        if dsn.tls == TlsMode::Off {
            return Ok(wire);
        }
        let mut out = BytesMut::new();
        frontend::ssl_request(&mut out);
        wire.send(&out).await?;
        match wire.take(1).await?[0] {
            b'S' => {
                let (options, name) = dsn.tls_for_handshake()?;
                wire.into_tls(&options, name, &["postgresql"]).await
            }
            b'N' if dsn.tls == TlsMode::Prefer => Ok(wire),
            b'N' => Err(Trouble::no("tls", "the server does not offer TLS, which sslmode asks for")),
            // A server too full to talk says so before it looks at the request.
            b'E' => {
                Err(Trouble::unknown("login", "the server refuses before the login; it is starting or full"))
            }
            _ => Err(Trouble::unknown("handshake", "this is not PostgreSQL")),
        }
    }

    async fn authenticate(&mut self, dsn: &Dsn, password: Option<&str>) -> Result<(), Trouble> {
        let need = || {
            password.ok_or_else(|| {
                Trouble::auth("the server wants a password; give one in the URL, by `password` or PGPASSWORD")
            })
        };
        let mut scram: Option<ScramSha256> = None;
        loop {
            let mut out = BytesMut::new();
            let bad = |error: std::io::Error| Trouble::auth(error.to_string());
            match self.message().await? {
                Message::AuthenticationOk => return Ok(()),
                Message::AuthenticationCleartextPassword => {
                    frontend::password_message(need()?.as_bytes(), &mut out).map_err(bad)?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(dsn.user.as_bytes(), need()?.as_bytes(), body.salt());
                    frontend::password_message(hash.as_bytes(), &mut out).map_err(bad)?;
                }
                Message::AuthenticationSasl(body) => {
                    let mut offered = body.mechanisms();
                    let mut scram_offered = false;
                    while let Ok(Some(mechanism)) = fallible_iterator::FallibleIterator::next(&mut offered) {
                        scram_offered |= mechanism == SCRAM_SHA_256;
                    }
                    if !scram_offered {
                        return Err(Trouble::auth(
                            "the server offers no login that is known here (only SCRAM-SHA-256)",
                        ));
                    }
                    let state = ScramSha256::new(need()?.as_bytes(), ChannelBinding::unsupported());
                    frontend::sasl_initial_response(SCRAM_SHA_256, state.message(), &mut out).map_err(bad)?;
                    scram = Some(state);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let state = scram.as_mut().ok_or_else(unexpected)?;
                    state.update(body.data()).map_err(bad)?;
                    frontend::sasl_response(state.message(), &mut out).map_err(bad)?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().ok_or_else(unexpected)?.finish(body.data()).map_err(|_| {
                        Trouble::auth(
                            "the server does not know the password either: it is not the one we wanted",
                        )
                    })?;
                    continue;
                }
                Message::ErrorResponse(body) => return Err(server_error(&body)),
                _ => {
                    return Err(Trouble::auth(
                        "the server wants a login that is not known here (password, MD5 and SCRAM-SHA-256 are)",
                    ));
                }
            }
            self.wire.send(&out).await?;
        }
    }

    async fn until_ready(&mut self) -> Result<(), Trouble> {
        loop {
            match self.message().await? {
                Message::BackendKeyData(body) => self.backend_pid = body.process_id(),
                Message::ParameterStatus(body) if body.name().ok() == Some("server_version") => {
                    body.value().unwrap_or_default().clone_into(&mut self.version);
                }
                Message::ReadyForQuery(_) => return Ok(()),
                Message::ErrorResponse(body) => return Err(server_error(&body)),
                _ => {}
            }
        }
    }

    pub(super) async fn query(&mut self, sql: &str, until: Instant) -> Result<Vec<Row>, Trouble> {
        self.wire.until(until);
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out).map_err(|error| Trouble::unknown("query", error.to_string()))?;
        self.wire.send(&out).await?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            match self.message().await? {
                Message::DataRow(body) => {
                    let mut ranges = body.ranges();
                    let mut row = Row::new();
                    while let Some(range) = fallible_iterator::FallibleIterator::next(&mut ranges)
                        .map_err(|error| Trouble::io(&error))?
                    {
                        row.push(
                            range
                                .and_then(|range| body.buffer().get(range))
                                .map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
                        );
                    }
                    if rows.len() < MOST_ROWS {
                        rows.push(row);
                    }
                }
                Message::ErrorResponse(body) => failed = Some(server_error(&body)),
                Message::ReadyForQuery(_) => return failed.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    async fn message(&mut self) -> Result<Message, Trouble> {
        loop {
            match Message::parse(self.wire.buffer()) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(_) => return Err(Trouble::unknown("reply", "this is not PostgreSQL")),
            }
            if !self.wire.more().await? {
                return Err(Trouble::ended());
            }
        }
    }

    /// The process id that the start-up gave; compare with `pg_backend_pid()`.
    pub fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }
}

/// Shown in `pg_stat_activity`: who holds a lock can be seen there.
fn application_name() -> String {
    let pod = std::env::var("HOSTNAME").unwrap_or_default();
    // PostgreSQL keeps 63 bytes.
    format!("init-waitfor/{pod}").chars().filter(char::is_ascii).take(63).collect()
}

fn unexpected() -> Trouble {
    Trouble::unknown("login", "the server answers out of turn")
}

fn server_error(body: &ErrorResponseBody) -> Trouble {
    let (mut state, mut message) = (String::new(), String::new());
    let mut fields = body.fields();
    while let Ok(Some(field)) = fallible_iterator::FallibleIterator::next(&mut fields) {
        let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => state = value(),
            b'M' => message = value(),
            _ => {}
        }
    }
    let reason = format!("{message} ({state})");
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    let trouble = match state.as_str() {
        "28P01" | "28000" => Trouble::auth(reason),
        // Starting up, shutting down, recovering; too many connections.
        "57P03" | "57P01" | "57P02" | "53300" => Trouble::no("starting", reason),
        "3D000" => Trouble::no("database", reason),
        _ => Trouble::unknown("server", reason),
    };
    trouble.state(state)
}
