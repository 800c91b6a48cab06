//! One value for all servers that are asked by a short conversation over one connection.

use podkit::tls::TlsOptions;

use super::{Attempt, Verdict, amqp, kafka, memcached, mongodb, mqtt, nats, redis, tls};
use crate::config::TargetConfig;
use crate::target::{Login, Parts, Wrong};
use crate::wire::{Reach, Trouble, Wire};

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Redis,
    Amqp,
    Nats,
    Mqtt,
    Memcached,
    MongoDb,
    Kafka,
}

/// A server, its protocol, and what it must say.
#[derive(Debug)]
pub struct Broker {
    pub login: Login,
    protocol: Protocol,
    tls: Option<TlsOptions>,
    /// For protocols that begin in plain text and go on in TLS.
    later_tls: TlsOptions,
}

/// (scheme, protocol, TLS from the start, port, options)
type Row = (&'static str, Protocol, bool, u16, &'static [&'static str]);

/// The last ones are for drivers; they are let through, so that a `MONGODB_URI` works as it is.
const MONGO: &[&str] = &[
    "role",
    "replica-set",
    "authSource",
    "authMechanism",
    "replicaSet",
    "appName",
    "connectTimeoutMS",
    "directConnection",
    "maxPoolSize",
    "minPoolSize",
    "readPreference",
    "retryReads",
    "retryWrites",
    "serverSelectionTimeoutMS",
    "socketTimeoutMS",
    "w",
];

const SCHEMES: [Row; 12] = [
    ("redis", Protocol::Redis, false, 6379, &["role", "exists"]),
    ("rediss", Protocol::Redis, true, 6379, &["role", "exists"]),
    ("amqp", Protocol::Amqp, false, 5672, &[]),
    ("amqps", Protocol::Amqp, true, 5671, &[]),
    ("nats", Protocol::Nats, false, 4222, &[]),
    ("mqtt", Protocol::Mqtt, false, 1883, &[]),
    ("mqtts", Protocol::Mqtt, true, 8883, &[]),
    ("memcached", Protocol::Memcached, false, 11211, &[]),
    ("mongodb", Protocol::MongoDb, false, 27017, MONGO),
    ("mongodb+tls", Protocol::MongoDb, true, 27017, MONGO),
    ("kafka", Protocol::Kafka, false, 9092, &["topic", "sasl"]),
    ("kafkas", Protocol::Kafka, true, 9093, &["topic", "sasl"]),
];

impl Broker {
    /// `None` when the scheme is none of ours.
    pub(super) fn parse(parts: &Parts<'_>, entry: &TargetConfig) -> Option<Result<Self, Wrong>> {
        let (_, protocol, secure, port, options) = SCHEMES.iter().find(|row| row.0 == parts.scheme)?;
        let options_of = || entry.tls.clone().unwrap_or_default();
        Some(Login::parse(parts, entry, *port, options).and_then(|login| {
            let broker =
                Broker { login, protocol: *protocol, tls: secure.then(options_of), later_tls: options_of() };
            broker.check_options()?;
            Ok(broker)
        }))
    }

    pub(super) fn schemes() -> impl Iterator<Item = &'static str> {
        SCHEMES.iter().map(|row| row.0)
    }

    fn check_options(&self) -> Result<(), Wrong> {
        match self.protocol {
            Protocol::Redis => redis::options(&self.login).map(drop),
            Protocol::MongoDb => mongodb::options(&self.login).map(drop),
            Protocol::Kafka => kafka::mechanism(&self.login, self.tls.is_some()).map(drop),
            _ => Ok(()),
        }
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        self.attempt(attempt).await.unwrap_or_else(Verdict::from)
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Verdict, Trouble> {
        let login = &self.login;
        let password = login.password(attempt.redactor)?;
        let password = password.as_deref();
        let mut wire =
            Wire::tcp(Reach { resolver: attempt.resolver, until: attempt.until }, &login.at).await?;
        if let Some(options) = &self.tls {
            let name = tls::server_name(&login.at.host)
                .map_err(|wrong| Trouble::unknown("handshake", wrong.what))?;
            wire = wire.into_tls(options, name, &[]).await?;
        }
        match self.protocol {
            Protocol::Redis => redis::talk(&mut wire, login, password, attempt).await,
            Protocol::Amqp => amqp::talk(&mut wire, login, password).await,
            Protocol::Nats => nats::talk(wire, login, password, &self.later_tls).await,
            Protocol::Mqtt => mqtt::talk(&mut wire, login, password).await,
            Protocol::Memcached => memcached::talk(&mut wire).await,
            Protocol::MongoDb => mongodb::talk(&mut wire, login, password).await,
            Protocol::Kafka => kafka::talk(&mut wire, login, password, self.tls.is_some()).await,
        }
    }
}
