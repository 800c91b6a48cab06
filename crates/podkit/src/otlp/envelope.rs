//! What stands around the records of an export.

use bytes::Bytes;

use super::{bytes, head, key_value, size};
use crate::cli::App;

/// One resource and one scope: `Export…ServiceRequest`, which has the same fields for logs, spans and metrics
/// (collector/{logs,trace,metrics}/v1).
#[derive(Debug)]
pub struct Envelope {
    /// `Resource` as field 1 of `ResourceLogs` or `ResourceSpans`.
    resource: Vec<u8>,
    /// `InstrumentationScope` as field 1 of `ScopeLogs` or `ScopeSpans`.
    scope: Vec<u8>,
}

impl Envelope {
    /// The version of the scope, which is `app`'s name.
    pub const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// With these attributes of the resource.
    pub fn new<'a>(app: &App, attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut all, mut about) = (Vec::new(), Vec::new());
        for (name, value) in attributes {
            key_value(1, name, value, &mut all);
        }
        bytes(1, app.name.as_bytes(), &mut about);
        bytes(2, Self::VERSION.as_bytes(), &mut about);
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        bytes(1, &all, &mut resource);
        bytes(1, &about, &mut scope);
        Self { resource, scope }
    }

    /// A request with `records`, which are fields of `ScopeLogs` or `ScopeSpans` already.
    pub fn around(&self, records: &[u8]) -> Bytes {
        let scoped = self.scope.len() + records.len();
        let all = self.resource.len() + size(2, scoped);
        let mut body = Vec::with_capacity(size(1, all));
        head(1, all, &mut body);
        body.extend_from_slice(&self.resource);
        head(2, scoped, &mut body);
        body.extend_from_slice(&self.scope);
        body.extend_from_slice(records);
        body.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::field;
    use super::*;

    #[test]
    fn a_request_holds_a_resource_a_scope_and_the_records() {
        let mut records = Vec::new();
        bytes(2, b"one", &mut records);
        let app = App { name: "some-tool", env_prefix: "" };
        let body =
            Envelope::new(&app, [("service.name", "shop"), ("k8s.pod.name", "shop-1")]).around(&records);
        let all = field(&body, 1).unwrap();
        let resource = field(all, 1).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        key_value(1, "service.name", "shop", &mut first);
        key_value(1, "k8s.pod.name", "shop-1", &mut second);
        assert_eq!(resource, [first, second].concat());
        let scoped = field(all, 2).unwrap();
        let scope = field(scoped, 1).unwrap();
        assert_eq!(
            (field(scope, 1), field(scope, 2)),
            (Some(&b"some-tool"[..]), Some(Envelope::VERSION.as_bytes()))
        );
        assert_eq!(field(scoped, 2), Some(&b"one"[..]));
    }
}
