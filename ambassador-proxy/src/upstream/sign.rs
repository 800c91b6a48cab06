//! Signatures of requests: AWS Signature Version 4, and HTTP Message Signatures (RFC 9421) with a shared key.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// Who signs.
pub enum Signer {
    /// AWS.
    Aws(Box<AwsSigner>),
    /// A shared key: its name, and itself.
    Hmac(String, Box<hmac::Key>),
}

/// AWS credentials, read.
pub struct AwsSigner {
    /// The region.
    pub region: String,
    /// The service's signing name.
    pub service: String,
    /// The access key's id.
    pub id: String,
    /// The secret key.
    pub secret: String,
    /// The session token.
    pub token: Option<HeaderValue>,
}

/// Keys never show, not even in a debugger's log.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws(_) => "Signer(aws)",
            Self::Hmac(..) => "Signer(hmac)",
        })
    }
}

/// What is signed of a request besides its headers.
pub struct Subject<'a> {
    /// The method.
    pub method: &'a Method,
    /// The Host header sent.
    pub host: &'a HeaderValue,
    /// Path and query as sent.
    pub target: &'a str,
    /// The whole body; `None` when it is not known before it is sent.
    pub body: Option<&'a [u8]>,
    /// Now.
    pub at: Timestamp,
}

static DATE: HeaderName = HeaderName::from_static("x-amz-date");
static TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
static CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");

impl Signer {
    /// Whether the body has to be known before the request is sent.
    pub fn needs_body(&self) -> bool {
        matches!(self, Self::Aws(aws) if aws.service != "s3")
    }

    /// Adds the signature.
    ///
    /// # Errors
    /// What cannot be a header.
    pub fn sign(
        &self,
        subject: &Subject<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), http::header::InvalidHeaderValue> {
        match self {
            Self::Aws(aws) => aws.sign(subject, headers),
            Self::Hmac(id, key) => message_signature(id, key, subject, headers),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

/// Unreserved characters stay (RFC 3986, 2.3).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: AsciiSet = UNRESERVED.remove(b'/');

fn escaped_again(text: &str) -> String {
    percent_encode(&percent_decode_str(text).collect::<Vec<u8>>(), &UNRESERVED).to_string()
}

impl AwsSigner {
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    fn sign(
        &self,
        subject: &Subject<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), http::header::InvalidHeaderValue> {
        let stamp = jiff::fmt::strtime::format("%Y%m%dT%H%M%SZ", subject.at).unwrap_or_default();
        headers.insert(DATE.clone(), HeaderValue::try_from(&stamp)?);
        headers.remove(&TOKEN);
        if let Some(token) = &self.token {
            headers.insert(TOKEN.clone(), token.clone());
        }
        let s3 = self.service == "s3";
        let payload = subject.body.map_or_else(|| "UNSIGNED-PAYLOAD".to_owned(), sha256);
        if s3 {
            headers.insert(CONTENT.clone(), HeaderValue::try_from(&payload)?);
        }
        let authorization = self.authorization(subject, headers, &stamp, &payload);
        let mut value = HeaderValue::try_from(authorization)?;
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
        Ok(())
    }

    fn authorization(
        &self,
        subject: &Subject<'_>,
        headers: &HeaderMap,
        stamp: &str,
        payload: &str,
    ) -> String {
        let (path, query) = subject.target.split_once('?').unwrap_or((subject.target, ""));
        let mut canonical = format!("{}\n", subject.method);
        // Every service but S3 signs the path as it is sent, escaped once more.
        let path =
            if self.service == "s3" { percent_decode_str(path).collect() } else { path.as_bytes().to_vec() };
        canonical.extend(percent_encode(&path, &PATH));
        canonical.push('\n');
        let mut pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (escaped_again(name), escaped_again(value))
            })
            .collect();
        pairs.sort();
        let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        canonical.push_str(&pairs.join("&"));
        canonical.push('\n');
        // Only what nobody on the way changes: host and Amazon's own.
        let mut signed: Vec<(&str, String)> = vec![("host", value(subject.host))];
        for name in headers.keys().filter(|name| name.as_str().starts_with("x-amz-")) {
            let all: Vec<_> = headers.get_all(name).iter().map(value).collect();
            signed.push((name.as_str(), all.join(",")));
        }
        signed.sort();
        for (name, value) in &signed {
            canonical.push_str(&format!("{name}:{value}\n"));
        }
        let names: Vec<_> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        canonical.push_str(&format!("\n{names}\n{payload}"));
        let day = &stamp[..8.min(stamp.len())];
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let key = mac(format!("AWS4{}", self.secret).as_bytes(), day);
        let key = mac(key.as_ref(), &self.region);
        let key = mac(key.as_ref(), &self.service);
        let key = mac(key.as_ref(), "aws4_request");
        let signature = hex(mac(key.as_ref(), &text).as_ref());
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.id
        )
    }
}

/// Trimmed, and runs of spaces made one.
fn value(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Covers method, authority, path and query, with the time of the signature (RFC 9421, 2.2 and 3.1).
fn message_signature(
    id: &str,
    key: &hmac::Key,
    subject: &Subject<'_>,
    headers: &mut HeaderMap,
) -> Result<(), http::header::InvalidHeaderValue> {
    let (path, query) = subject.target.split_once('?').unwrap_or((subject.target, ""));
    let host = String::from_utf8_lossy(subject.host.as_bytes()).to_ascii_lowercase();
    let covered = [
        ("@method", subject.method.as_str()),
        ("@authority", &host),
        ("@path", if path.is_empty() { "/" } else { path }),
        ("@query", &format!("?{query}")),
    ];
    let at = subject.at.as_second();
    let (input, signature) =
        rfc_9421(&covered, &format!("created={at};keyid=\"{id}\";alg=\"hmac-sha256\""), key);
    headers.insert("signature-input", HeaderValue::try_from(format!("proxy={input}"))?);
    let mut value = HeaderValue::try_from(format!("proxy=:{signature}:"))?;
    value.set_sensitive(true);
    headers.insert("signature", value);
    Ok(())
}

/// The parameters as sent, and the signature in base64.
fn rfc_9421(covered: &[(&str, &str)], parameters: &str, key: &hmac::Key) -> (String, String) {
    let names: Vec<_> = covered.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let input = format!("({});{parameters}", names.join(" "));
    let mut base: String = covered.iter().map(|(name, value)| format!("\"{name}\": {value}\n")).collect();
    base.push_str(&format!("\"@signature-params\": {input}"));
    let signature = STANDARD.encode(hmac::sign(key, base.as_bytes()));
    (input, signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The credentials, time and signatures of Amazon's published test suite.
    fn signature(method: &str, target: &str, body: &[u8], service: &str) -> String {
        let signer = AwsSigner {
            region: "us-east-1".into(),
            service: service.into(),
            id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let subject = Subject {
            method: &method.parse().unwrap(),
            host: &HeaderValue::from_static("example.amazonaws.com"),
            target,
            body: Some(body),
            at: "2015-08-30T12:36:00Z".parse().unwrap(),
        };
        let mut headers = HeaderMap::new();
        Signer::Aws(Box::new(signer)).sign(&subject, &mut headers).unwrap();
        assert!(headers["authorization"].is_sensitive());
        let text = headers["authorization"].to_str().unwrap();
        assert!(text.contains("Credential=AKIDEXAMPLE/20150830/us-east-1/"), "{text}");
        text.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn amazons_vectors() {
        for (method, target, want) in [
            ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
        ] {
            assert_eq!(signature(method, target, b"", "service"), want, "{method} {target}");
        }
        assert_ne!(signature("POST", "/", b"a", "service"), signature("POST", "/", b"b", "service"));
        assert_ne!(signature("GET", "/a%20b", b"", "s3"), signature("GET", "/a%20b", b"", "service"));
    }

    #[test]
    fn the_rfcs_example_b_2_5() {
        // The shared key of RFC 9421, appendix B.1.5, as bytes.
        let key = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(key).unwrap());
        let covered = [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
        ];
        let (input, signature) = rfc_9421(&covered, "created=1618884473;keyid=\"test-shared-secret\"", &key);
        assert!(input.starts_with("(\"date\" \"@authority\" \"content-type\");created"));
        assert_eq!(signature, "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=");
    }
}
