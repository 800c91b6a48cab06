//! `redis://[user:password@]host:port[/db][?role=master|replica&exists=NAME]`: RESP, PING, AUTH, ROLE.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use super::{Attempt, Verdict};
use crate::target::{Login, Wrong};
use crate::wire::{Trouble, Wire};

/// What else than a PONG is wanted.
pub(super) struct Options {
    database: u32,
    role: Option<&'static str>,
}

pub(super) fn options(login: &Login) -> Result<Options, Wrong> {
    let database = match login.path.as_deref().unwrap_or_default().trim_end_matches('/') {
        "" => 0,
        text => text
            .parse()
            .map_err(|_| Wrong::new(format!("{text:?} is no database"), "write a number, or nothing"))?,
    };
    let role = match login.query.get("role") {
        None => None,
        Some("master" | "primary") => Some("master"),
        Some("replica" | "slave") => Some("slave"),
        Some(other) => return Err(Wrong::new(format!("role={other}"), "write role=master or role=replica")),
    };
    Ok(Options { database, role })
}

pub(super) async fn talk(
    wire: &mut Wire,
    login: &Login,
    password: Option<&str>,
    attempt: &Attempt<'_>,
) -> Result<Verdict, Trouble> {
    let options = options(login).map_err(|wrong| Trouble::unknown("options", wrong.what))?;
    let from_environment = std::env::var("REDISCLI_AUTH").ok();
    from_environment.iter().for_each(|password| attempt.redactor.learn(password));
    if let Some(password) = password.or(from_environment.as_deref()) {
        let mut words = vec!["AUTH"];
        words.extend(login.user.as_deref());
        words.push(password);
        ask(wire, &words).await?;
    }
    match ask(wire, &["PING"]).await? {
        Value::Text(text) if text == "PONG" => {}
        _ => return Err(Trouble::unknown("reply", "the answer to PING is not PONG")),
    }
    let role = match ask(wire, &["ROLE"]).await {
        Ok(Value::List(list)) => list.into_iter().next().map(|value| value.text()).unwrap_or_default(),
        // Renamed or forbidden by an ACL; only a problem when it is asked for.
        Ok(_) | Err(Trouble { state: Some(_), .. }) if options.role.is_none() => "of unknown role".to_owned(),
        Ok(_) => return Err(Trouble::unknown("reply", "the answer to ROLE is no list")),
        Err(trouble) => return Err(trouble),
    };
    if let Some(wanted) = options.role
        && role != wanted
    {
        return Ok(Verdict::no("role", format!("is a {role}, wanted a {wanted}")));
    }
    if options.database > 0 {
        ask(wire, &["SELECT", &options.database.to_string()]).await?;
    }
    if let Some(key) = login.query.get("exists")
        && !matches!(ask(wire, &["EXISTS", key]).await?, Value::Number(1..))
    {
        return Ok(Verdict::no("key", format!("no key {key}")));
    }
    Ok(Verdict::ready(format!("PONG, {role}")))
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
        _ if text.starts_with("ERR DB index") => Trouble::no("database", text),
        _ if text.starts_with("ERR max number of clients") => Trouble::no("starting", text),
        _ => Trouble::unknown("server", text),
    };
    trouble.state(word)
}
