//! `scheme://user:password@host:port/path?options`, for the servers that want to know who asks.

use podkit::secret::Secret;

use super::{HostPort, Parts, Query, Wrong, host_port};
use crate::config::TargetConfig;
use crate::report::Redactor;
use crate::wire::Trouble;

/// Where, and who we are. No `{:?}` shows the password.
pub struct Login {
    pub at: HostPort,
    pub user: Option<String>,
    /// Without the leading slash, percent signs decoded; `None` when there is no slash.
    pub path: Option<String>,
    pub query: Query,
    password: Option<String>,
    secret: Option<Secret>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.user.as_deref().unwrap_or_default(), self.at)
    }
}

impl Login {
    /// # Errors
    /// No host, no port, an unknown option.
    pub fn parse(
        parts: &Parts<'_>,
        entry: &TargetConfig,
        port: u16,
        options: &[&str],
    ) -> Result<Self, Wrong> {
        let (before, query) = parts.query();
        let query = Query::parse(query, options)?;
        let (authority, path) = match before.split_once('/') {
            Some((authority, path)) => (authority, Some(crate::sql::decode(path))),
            None => (before, None),
        };
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        let (user, password) =
            match userinfo.map(|info| info.split_once(':').map_or((info, None), |(u, p)| (u, Some(p)))) {
                Some((user, password)) => (Some(crate::sql::decode(user)), password.map(crate::sql::decode)),
                None => (None, None),
            };
        Ok(Login {
            at: host_port(host, Some(port))?,
            user: user.filter(|user| !user.is_empty()),
            path,
            query,
            password,
            secret: entry.password.clone(),
        })
    }

    /// The secret (read now) or the URL's password.
    ///
    /// # Errors
    /// The secret cannot be read.
    pub fn password(&self, redactor: &Redactor) -> Result<Option<String>, Trouble> {
        let password = match &self.secret {
            Some(secret) => {
                Some(secret.read().map_err(|error| Trouble::unknown("secret", error.to_string()))?)
            }
            None => self.password.clone(),
        };
        password.iter().for_each(|password| redactor.learn(password));
        Ok(password)
    }
}
