//! Redirects, as RFC 9110, section 15.4, has them. No I/O.
//!
//! Followed here and not by the client, because the client takes every header along but the few that it knows to be secret.

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use url::Url;

/// One request of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub url: Url,
    pub method: Method,
    /// Whether the body still goes along.
    pub body: bool,
}

impl Hop {
    /// Where an answer leads; `None` when it is no redirect that can be followed.
    pub(super) fn next(&self, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let location = headers.get("location")?.to_str().ok()?;
        let url = self.url.join(location).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let hop = |method: Method, body| Some(Hop { url, method, body });
        match status.as_u16() {
            // What browsers made of these for a POST is what everybody expects.
            301 | 302 if self.method == Method::POST => hop(Method::GET, false),
            303 if self.method != Method::HEAD => hop(Method::GET, false),
            301 | 302 | 303 | 307 | 308 => hop(self.method.clone(), self.body),
            _ => None,
        }
    }

    /// Whether our headers, user and password are for whoever is asked here.
    pub(super) fn is_ours(&self, first: &Url) -> bool {
        self.url.origin() == first.origin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(method: Method, status: u16, location: &str) -> Option<(String, Method, bool)> {
        let url = Url::parse("http://u:p@app:8080/a/b?c").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("location", location.parse().unwrap());
        let hop = Hop { url, method, body: true }.next(StatusCode::from_u16(status).unwrap(), &headers)?;
        Some((hop.url.to_string(), hop.method, hop.body))
    }

    #[test]
    fn where_to_and_how() {
        let to = |url: &str, method, body| Some((url.to_owned(), method, body));
        assert_eq!(next(Method::GET, 302, "/x"), to("http://u:p@app:8080/x", Method::GET, true));
        assert_eq!(next(Method::POST, 302, "x"), to("http://u:p@app:8080/a/x", Method::GET, false));
        assert_eq!(next(Method::POST, 303, "//h/"), to("http://h/", Method::GET, false));
        assert_eq!(next(Method::HEAD, 303, "/x"), to("http://u:p@app:8080/x", Method::HEAD, true));
        assert_eq!(next(Method::POST, 307, "https://h/"), to("https://h/", Method::POST, true));
        assert_eq!(next(Method::PUT, 308, "/x"), to("http://u:p@app:8080/x", Method::PUT, true));
        for (status, location) in [(200, "/x"), (304, "/x"), (302, "file:///etc/passwd"), (302, "http://")] {
            assert_eq!(next(Method::GET, status, location), None, "{status} {location}");
        }
    }

    #[test]
    fn what_is_ours_stays_at_the_origin() {
        let first = Url::parse("http://app:8080/").unwrap();
        let ours = |url: &str| {
            Hop { url: Url::parse(url).unwrap(), method: Method::GET, body: false }.is_ours(&first)
        };
        assert!(ours("http://app:8080/x") && ours("http://u@APP:8080/"));
        assert!(!ours("http://app/") && !ours("https://app:8080/") && !ours("http://app.evil:8080/"));
    }
}
