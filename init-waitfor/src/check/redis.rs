//! `redis://[user:password@]host:port[/db][?role=master|replica&exists=NAME]`: RESP, PING, AUTH, ROLE.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use podkit::secret::Secret;
use podkit::tls::TlsOptions;

use super::{Attempt, Verdict, tls};
use crate::config::TargetConfig;
use crate::target::{HostPort, Parts, Query, Wrong, host_port};
use crate::wire::{Reach, Trouble, Wire};

#[derive(Debug)]
pub struct Redis {
    pub at: HostPort,
    user: Option<String>,
    url_password: Option<Hidden>,
    secret: Option<Secret>,
    database: u32,
    role: Option<&'static str>,
    key: Option<String>,
    tls: Option<TlsOptions>,
}

/// A password that no `{:?}` shows.
struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Redis {
    pub(super) fn parse(parts: &Parts<'_>, entry: &TargetConfig) -> Result<Self, Wrong> {
        let (before, query) = parts.query();
        let query = Query::parse(query, &["role", "exists"])?;
        let (authority, database) = before.split_once('/').unwrap_or((before, ""));
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        let (user, password) = match userinfo {
            None => (None, None),
            Some(info) => match info.split_once(':') {
                Some((user, password)) => {
                    (Some(crate::sql::decode(user)), Some(crate::sql::decode(password)))
                }
                None => (Some(crate::sql::decode(info)), None),
            },
        };
        let database = match database.trim_end_matches('/') {
            "" => 0,
            text => text
                .parse()
                .map_err(|_| Wrong::new(format!("{text:?} is no database"), "write a number, or nothing"))?,
        };
        let role = match query.get("role") {
            None => None,
            Some("master" | "primary") => Some("master"),
            Some("replica" | "slave") => Some("slave"),
            Some(other) => {
                return Err(Wrong::new(format!("role={other}"), "write role=master or role=replica"));
            }
        };
        Ok(Redis {
            at: host_port(host, Some(6379))?,
            user: user.filter(|user| !user.is_empty()),
            url_password: password.map(Hidden),
            secret: entry.password.clone(),
            database,
            role,
            key: query.get("exists").map(str::to_owned),
            tls: (parts.scheme == "rediss").then(|| entry.tls.clone().unwrap_or_default()),
        })
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        self.attempt(attempt).await.unwrap_or_else(Verdict::from)
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Verdict, Trouble> {
        let mut wire =
            Wire::tcp(Reach { resolver: attempt.resolver, until: attempt.until }, &self.at).await?;
        if let Some(options) = &self.tls {
            let name =
                tls::server_name(&self.at.host).map_err(|wrong| Trouble::unknown("handshake", wrong.what))?;
            wire = wire.into_tls(options, name, &[]).await?;
        }
        if let Some(password) = self.password(attempt)? {
            let mut words = vec!["AUTH"];
            words.extend(self.user.as_deref());
            words.push(&password);
            ask(&mut wire, &words).await?;
        }
        match ask(&mut wire, &["PING"]).await? {
            Value::Text(text) if text == "PONG" => {}
            other => return Err(Trouble::unknown("reply", format!("PING gives {other:?}"))),
        }
        let role = match ask(&mut wire, &["ROLE"]).await {
            Ok(Value::List(list)) => list.into_iter().next().map(|value| value.text()).unwrap_or_default(),
            // Renamed or forbidden by an ACL; only a problem when it is asked for.
            Ok(_) | Err(Trouble { state: Some(_), .. }) if self.role.is_none() => {
                "of unknown role".to_owned()
            }
            Ok(other) => return Err(Trouble::unknown("reply", format!("ROLE gives {other:?}"))),
            Err(trouble) => return Err(trouble),
        };
        if let Some(wanted) = self.role
            && role != wanted
        {
            return Ok(Verdict::no("role", format!("is a {role}, wanted a {wanted}")));
        }
        if let Some(key) = &self.key {
            if self.database > 0 {
                ask(&mut wire, &["SELECT", &self.database.to_string()]).await?;
            }
            if !matches!(ask(&mut wire, &["EXISTS", key]).await?, Value::Number(1..)) {
                return Ok(Verdict::no("key", format!("no key {key}")));
            }
        }
        Ok(Verdict::ready(format!("PONG, {role}")))
    }

    fn password(&self, attempt: &Attempt<'_>) -> Result<Option<String>, Trouble> {
        let password = match (&self.secret, &self.url_password) {
            (Some(secret), _) => {
                Some(secret.read().map_err(|error| Trouble::unknown("secret", error.to_string()))?)
            }
            (None, Some(password)) => Some(password.0.clone()),
            (None, None) => std::env::var("REDISCLI_AUTH").ok(),
        };
        password.iter().for_each(|password| attempt.redactor.learn(password));
        Ok(password)
    }
}

/// A RESP2 reply, as deep as we need.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(i64),
    Nothing,
    List(Vec<Value>),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            other => format!("{other:?}"),
        }
    }
}

async fn ask(wire: &mut Wire, words: &[&str]) -> Result<Value, Trouble> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    wire.send(out.as_bytes()).await?;
    read(wire).await
}

async fn read(wire: &mut Wire) -> Result<Value, Trouble> {
    let head = wire.line().await?;
    let Some(count) = list_length(&head)? else { return scalar(wire, &head).await };
    let mut list = Vec::new();
    for _ in 0..count {
        let head = wire.line().await?;
        // ROLE nests once (the replicas of a master); their words are not needed.
        match list_length(&head)? {
            None => list.push(scalar(wire, &head).await?),
            Some(inner) => {
                for _ in 0..inner {
                    let head = wire.line().await?;
                    match list_length(&head)? {
                        None => drop(scalar(wire, &head).await?),
                        Some(words) => {
                            for _ in 0..words {
                                let head = wire.line().await?;
                                drop(scalar(wire, &head).await?);
                            }
                        }
                    }
                }
                list.push(Value::Nothing);
            }
        }
    }
    Ok(Value::List(list))
}

fn list_length(head: &str) -> Result<Option<u32>, Trouble> {
    let Some(text) = head.strip_prefix('*') else { return Ok(None) };
    match text.parse::<u32>() {
        Ok(count) if count <= 1024 => Ok(Some(count)),
        _ => Err(Trouble::unknown("reply", "this is not Redis")),
    }
}

async fn scalar(wire: &mut Wire, head: &str) -> Result<Value, Trouble> {
    let mut chars = head.chars();
    let kind = chars.next();
    let rest = chars.as_str();
    match kind {
        Some('+') => Ok(Value::Text(rest.to_owned())),
        Some('-') => Err(refused(rest)),
        Some(':') => {
            rest.parse().map(Value::Number).map_err(|_| Trouble::unknown("reply", "this is not Redis"))
        }
        Some('$') => match rest.parse::<i64>() {
            Ok(-1) => Ok(Value::Nothing),
            Ok(length @ 0..) => {
                let bytes =
                    wire.take(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(2)).await?;
                Ok(Value::Text(String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned()))
            }
            _ => Err(Trouble::unknown("reply", "this is not Redis")),
        },
        _ => Err(Trouble::unknown("reply", "this is not Redis")),
    }
}

fn refused(text: &str) -> Trouble {
    let word = text.split(' ').next().unwrap_or_default();
    let trouble = match word {
        "LOADING" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "BUSY" => Trouble::no("starting", text),
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => Trouble::auth(text),
        _ if text.starts_with("ERR invalid password") || text.contains("without any password configured") => {
            Trouble::auth(text)
        }
        _ if text.starts_with("ERR max number of clients") => Trouble::no("starting", text),
        _ => Trouble::unknown("server", text),
    };
    trouble.state(word)
}
