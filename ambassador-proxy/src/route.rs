//! Which upstream a request goes to: pure, decided on the head alone.

use std::sync::Arc;

use http::{HeaderName, Method};

use crate::config::plan::Policy;
use crate::fields::Ask;
use crate::forward::headers;

/// The routes of one listener, in the order written.
#[derive(Debug, Default)]
pub struct Routes {
    /// Tried from the top.
    pub rules: Vec<Rule>,
    /// Takes what no rule took.
    pub fallback: Option<Arc<Policy>>,
}

/// One route: every condition has to hold.
#[derive(Debug)]
pub struct Rule {
    /// On the path.
    pub path: PathRule,
    /// On the host.
    pub host: Option<HostRule>,
    /// On the method; empty = all.
    pub methods: Vec<Method>,
    /// On headers: name, and value or `None` for any.
    pub headers: Vec<(HeaderName, Option<String>)>,
    /// What happens then.
    pub policy: Arc<Policy>,
}

/// A condition on the path.
#[derive(Debug, PartialEq, Eq)]
pub enum PathRule {
    /// Any path.
    Any,
    /// Whole segments from the start.
    Prefix(String),
    /// Exactly this.
    Exact(String),
}

/// A condition on the host.
#[derive(Debug, PartialEq, Eq)]
pub enum HostRule {
    /// This name.
    Exact(String),
    /// Every name that ends so; begins with a dot.
    Suffix(String),
}

impl Routes {
    /// The policy for a request and the number of the rule, `None` where nothing matches.
    pub fn find(&self, ask: &Ask) -> Option<(&Arc<Policy>, Option<usize>)> {
        let fallback = || self.fallback.as_ref().map(|policy| (policy, None));
        if self.rules.is_empty() {
            return fallback();
        }
        let (host, path) = (headers::host(ask), ask.uri.path());
        let found = self.rules.iter().position(|rule| rule.takes(ask, host, path));
        found.map(|number| (&self.rules[number].policy, Some(number))).or_else(fallback)
    }
}

impl Rule {
    fn takes(&self, ask: &Ask, host: Option<&str>, path: &str) -> bool {
        self.path.takes(path)
            && (self.methods.is_empty() || self.methods.contains(&ask.method))
            && self.host.as_ref().is_none_or(|rule| host.is_some_and(|host| rule.takes(host)))
            && self.headers.iter().all(|(name, want)| match want {
                None => ask.headers.has(name),
                Some(want) => ask.headers.any(name, |value| value == want.as_bytes()),
            })
    }
}

impl PathRule {
    fn takes(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(want) => path == want,
            Self::Prefix(prefix) => {
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl HostRule {
    /// `*.example.com` or a plain name.
    pub fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some(suffix) => Self::Suffix(suffix.to_owned()),
            None => Self::Exact(text),
        }
    }

    fn takes(&self, host: &str) -> bool {
        let name = strip_port(host);
        match self {
            Self::Exact(want) => name.eq_ignore_ascii_case(want),
            Self::Suffix(suffix) => name
                .len()
                .checked_sub(suffix.len())
                .filter(|start| *start > 0 && name.is_char_boundary(*start))
                .is_some_and(|start| name[start..].eq_ignore_ascii_case(suffix)),
        }
    }
}

/// The name in `name:port`, `[v6]:port` or `name`.
fn strip_port(host: &str) -> &str {
    if let Some(end) = host.starts_with('[').then(|| host.find(']')).flatten() {
        return &host[..=end];
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// The path (with query) that the upstream gets: its own prefix first, a matched prefix replaced.
pub fn rewrite(
    path_and_query: &str,
    upstream_prefix: &str,
    replace: Option<&(String, String)>,
) -> Option<String> {
    if upstream_prefix.is_empty() && replace.is_none() {
        return None;
    }
    let mut rest = path_and_query;
    let mut out = String::with_capacity(upstream_prefix.len() + path_and_query.len() + 8);
    out.push_str(upstream_prefix);
    if let Some((from, to)) = replace {
        let from = from.strip_suffix('/').unwrap_or(from);
        if let Some(after) = rest.strip_prefix(from) {
            out.push_str(to.strip_suffix('/').unwrap_or(to));
            rest = after;
        }
    }
    if !rest.starts_with('/') {
        out.push('/');
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_takes_whole_segments() {
        let rule = PathRule::Prefix("/api".into());
        assert!(rule.takes("/api") && rule.takes("/api/") && rule.takes("/api/x"));
        assert!(!rule.takes("/apix") && !rule.takes("/"));
        assert!(PathRule::Prefix("/".into()).takes("/x"));
        assert!(PathRule::Prefix("/api/".into()).takes("/api/x"));
    }

    #[test]
    fn hosts_match_without_port_and_case() {
        assert!(HostRule::parse("Api.example.com").takes("api.EXAMPLE.com:8080"));
        assert!(HostRule::parse("*.example.com").takes("a.example.com"));
        assert!(!HostRule::parse("*.example.com").takes("example.com"));
        assert!(HostRule::parse("[::1]").takes("[::1]:80"));
    }

    #[test]
    fn paths_are_rewritten() {
        assert_eq!(rewrite("/x?q=1", "", None), None);
        assert_eq!(rewrite("/x?q=1", "/base", None).as_deref(), Some("/base/x?q=1"));
        let replace = ("/api".to_owned(), "/v2".to_owned());
        assert_eq!(rewrite("/api/x?q", "", Some(&replace)).as_deref(), Some("/v2/x?q"));
        assert_eq!(rewrite("/api?q", "", Some(&replace)).as_deref(), Some("/v2/?q"));
        let strip = ("/api".to_owned(), "/".to_owned());
        assert_eq!(rewrite("/api", "/b", Some(&strip)).as_deref(), Some("/b/"));
    }
}
