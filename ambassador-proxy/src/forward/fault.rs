//! Errors that the proxy answers itself: whose fault it was, in the status, in `proxy-status` (RFC 9209) and in a short body.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::stats::Reason;
use crate::upstream::connect::ConnectError;

static PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Who has to look into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The service outside, or the way there.
    Upstream,
    /// The app that sent the request.
    Client,
    /// This proxy's configuration or limits.
    Proxy,
}

/// Why a request got no answer from the upstream.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The status sent.
    pub status: StatusCode,
    /// Who has to look into it.
    pub whose: Whose,
    /// The error type of RFC 9209.
    pub error: &'static str,
    /// For metrics, when it was the upstream's.
    pub reason: Option<Reason>,
    /// For people.
    pub detail: String,
    /// The endpoint, when one was chosen.
    pub endpoint: Option<String>,
    /// When it may be tried again, in seconds.
    pub retry_after: Option<u64>,
    /// The connection cannot be used any further.
    pub close: bool,
}

impl Fault {
    /// The client's fault.
    pub fn client(status: StatusCode, error: &'static str, detail: impl Into<String>) -> Self {
        Self::new(status, Whose::Client, error, None, detail)
    }

    /// The configuration's or a limit's fault.
    pub fn proxy(status: StatusCode, error: &'static str, detail: impl Into<String>) -> Self {
        Self::new(status, Whose::Proxy, error, None, detail)
    }

    /// The upstream's fault.
    pub fn upstream(
        status: StatusCode,
        error: &'static str,
        reason: Reason,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(status, Whose::Upstream, error, Some(reason), detail)
    }

    fn new(
        status: StatusCode,
        whose: Whose,
        error: &'static str,
        reason: Option<Reason>,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        Self { status, whose, error, reason, detail, endpoint: None, retry_after: None, close: false }
    }

    /// No connection could be made.
    pub fn connect(error: &ConnectError) -> Self {
        let status = match error.reason {
            Reason::ConnectTimeout => StatusCode::GATEWAY_TIMEOUT,
            Reason::Protocol => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::upstream(status, error.proxy_status, error.reason, error.detail.clone())
    }

    /// The request's body is longer than it may be.
    pub fn too_long(most: u64) -> Self {
        let detail = format!("the request body has more than {most} bytes (limits.body)");
        let mut fault = Self::client(StatusCode::PAYLOAD_TOO_LARGE, "http_request_denied", detail);
        // The rest of it is not read.
        fault.close = true;
        fault
    }

    /// The answer for the client. gRPC clients get a trailers-only answer with a gRPC status.
    pub fn response(&self, request: &Head<'_>) -> Response<Option<Bytes>> {
        let (content_type, body) = if request.grpc {
            ("application/grpc", None)
        } else if wants_text(request.accept) {
            ("text/plain; charset=utf-8", Some(self.text(request)))
        } else {
            ("application/json", Some(self.json(request)))
        };
        let mut response = Response::new(None);
        *response.status_mut() = if request.grpc { StatusCode::OK } else { self.status };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(PROXY_STATUS.clone(), self.proxy_status());
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.close && !request.h2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if request.grpc {
            headers.insert("grpc-status", self.grpc_code().into());
            headers.insert("grpc-message", header_text(&self.detail));
        }
        if let Some(body) = body {
            headers.insert(CONTENT_LENGTH, body.len().into());
            *response.body_mut() = Some(body.into());
        }
        response
    }

    fn proxy_status(&self) -> HeaderValue {
        let mut text = format!("ambassador-proxy; error={}", self.error);
        if let Some(endpoint) = &self.endpoint {
            text.push_str(&format!("; next-hop=\"{}\"", clean(endpoint)));
        }
        text.push_str(&format!("; details=\"{}\"", clean(&self.detail)));
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("ambassador-proxy"))
    }

    fn whose(&self) -> &'static str {
        match self.whose {
            Whose::Upstream => "upstream",
            Whose::Client => "client",
            Whose::Proxy => "proxy",
        }
    }

    fn json(&self, request: &Head<'_>) -> String {
        let mut text = serde_json::json!({
            "error": self.error,
            "status": self.status.as_u16(),
            "fault": self.whose(),
            "message": self.detail,
            "upstream": request.upstream,
            "request_id": request.id,
        })
        .to_string();
        text.push('\n');
        text
    }

    fn text(&self, request: &Head<'_>) -> String {
        let upstream = request.upstream.map_or_else(String::new, |name| format!(", upstream {name}"));
        format!(
            "{} {}: {} (at fault: {}{upstream}, error: {}, request id: {})\n",
            self.status.as_u16(),
            self.status.canonical_reason().unwrap_or_default(),
            self.detail,
            self.whose(),
            self.error,
            request.id,
        )
    }

    fn grpc_code(&self) -> u16 {
        match self.status.as_u16() {
            400 => 13,
            401 => 16,
            403 => 7,
            404 | 405 | 501 => 12,
            413 | 429 => 8,
            504 if self.error == "http_response_timeout" => 4,
            _ => 14,
        }
    }
}

/// What the answer has to know about the request.
pub struct Head<'a> {
    /// A gRPC request.
    pub grpc: bool,
    /// Over HTTP/2.
    pub h2: bool,
    /// Its Accept header.
    pub accept: Option<&'a str>,
    /// Its id.
    pub id: &'a str,
    /// The upstream it was for.
    pub upstream: Option<&'a str>,
}

fn wants_text(accept: Option<&str>) -> bool {
    accept.is_some_and(|accept| accept.contains("text/") && !accept.contains("json"))
}

/// Printable ASCII without what would end a quoted string.
fn clean(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(300).map(keep).map(|c| if c == '"' || c == '\\' { '\'' } else { c }).collect()
}

/// gRPC's percent-encoding of a message, with everything unusual replaced.
fn header_text(text: &str) -> HeaderValue {
    HeaderValue::try_from(clean(text).replace('%', "%25")).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(accept: Option<&str>, grpc: bool) -> Head<'_> {
        Head { grpc, h2: false, accept, id: "id-1", upstream: Some("orders") }
    }

    fn fault() -> Fault {
        let mut fault = Fault::upstream(
            StatusCode::BAD_GATEWAY,
            "connection_terminated",
            Reason::Reset,
            "10.0.0.1:80 broke off \"so\"\n",
        );
        fault.endpoint = Some("10.0.0.1:80".into());
        fault
    }

    #[test]
    fn the_answer_says_whose_fault_it_was() {
        let response = fault().response(&head(None, false));
        assert_eq!(
            response.headers()["proxy-status"],
            "ambassador-proxy; error=connection_terminated; next-hop=\"10.0.0.1:80\"; details=\"10.0.0.1:80 broke off 'so'?\""
        );
        let json: serde_json::Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
        assert_eq!(
            (&json["fault"], &json["upstream"], &json["request_id"]),
            (&"upstream".into(), &"orders".into(), &"id-1".into())
        );
    }

    #[test]
    fn browsers_get_text_and_grpc_gets_grpc() {
        let response = fault().response(&head(Some("text/html,*/*"), false));
        assert!(response.body().as_ref().unwrap().starts_with(b"502 Bad Gateway: "));
        let response = fault().response(&head(None, true));
        assert_eq!(
            (response.status().as_u16(), response.headers()["grpc-status"].as_bytes()),
            (200, &b"14"[..])
        );
        assert!(response.body().is_none());
    }
}
