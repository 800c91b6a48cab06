//! `k8s:KIND/NAME[?namespace=NS&context=C&for=…&missing=wait|ok|fail&min=N]`: one get of exactly the named object, then a watch on it.
//!
//! The watch is kept from one attempt to the next: an attempt waits for the next event, and says what was known before when none comes
//! in its time. Where watching is not allowed or does not last, the object is got again and again, with the pauses of every other target.

mod access;
mod api;
mod discover;
mod event;
mod exec;
mod judge;
mod kinds;
mod kubeconfig;
mod session;

use super::{Attempt, Verdict};
use crate::target::{Parts, Query, Wrong};
use judge::For;
use kinds::{Kind, Named, Resource, plain};
use session::Session;

/// A Job (or what was asked for by `missing=fail`) has failed.
pub(super) const JOB_FAILED: u8 = 85;

#[derive(Debug)]
pub struct K8s {
    what: What,
    session: tokio::sync::Mutex<Session>,
}

/// What is waited for.
#[derive(Debug)]
struct What {
    resource: Named,
    name: String,
    namespace: Option<String>,
    context: Option<String>,
    wanted: For,
    missing: Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Wait,
    Ok,
    Fail,
}

impl K8s {
    pub(super) fn parse(parts: &Parts<'_>) -> Result<Self, Wrong> {
        let (object, query) = parts.query();
        let query = Query::parse(query, &["namespace", "context", "for", "missing", "min", "scope"])?;
        let example = "write for example k8s:job/migrate, k8s:service/db or k8s:certificates.cert-manager.io/web?for=condition=Ready";
        let (kind, name) = object
            .split_once('/')
            .filter(|(kind, name)| !kind.is_empty() && plain(name))
            .ok_or_else(|| Wrong::new(format!("{object:?} names no object"), example))?;
        let resource = kinds::named(kind, query.get("scope") == Some("cluster"))?;
        let namespace = query.get("namespace").map(str::to_owned);
        if namespace.as_deref().is_some_and(|namespace| !plain(namespace)) {
            return Err(Wrong::new(
                "namespace is no name",
                "write a namespace, or leave it out for the pod's own",
            ));
        }
        let missing = match query.get("missing") {
            None | Some("wait") => Missing::Wait,
            Some("ok") => Missing::Ok,
            Some("fail") => Missing::Fail,
            Some(other) => {
                return Err(Wrong::new(format!("missing={other}"), "write missing=wait, ok or fail"));
            }
        };
        let kind = if let Named::Known(resource) = &resource { resource.kind } else { Kind::Other };
        let min = query.number("min")?;
        if min.is_some() && kind != Kind::Endpoints {
            return Err(Wrong::new("min is only for a Service's endpoints", "take it out"));
        }
        let wanted = For::parse(kind, query.get("for"), min)?;
        // Its slices say whether a Service is ready; everything else is said by itself.
        let resource = match (kind, &wanted) {
            (Kind::Endpoints, For::Default(_)) => resource,
            (Kind::Endpoints, _) => Named::Known(Resource::service()),
            _ => resource,
        };
        let what = What {
            resource,
            name: name.to_owned(),
            namespace,
            context: query.get("context").map(str::to_owned),
            wanted,
            missing,
        };
        Ok(K8s { what, session: tokio::sync::Mutex::default() })
    }

    pub(super) async fn check(&self, attempt: &Attempt<'_>) -> Verdict {
        self.session.lock().await.attempt(&self.what, attempt).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::split;

    fn k8s(text: &str) -> Result<K8s, Wrong> {
        K8s::parse(&split(text).unwrap())
    }

    #[test]
    fn targets() {
        for good in [
            "k8s:job/migrate?missing=ok",
            "k8s:svc/db?min=2&namespace=data",
            "k8s:nodes.v1.x.io/a?scope=cluster&for=create",
            "k8s:certificates.cert-manager.io/web?for=condition=Ready&context=prod",
        ] {
            assert!(k8s(good).is_ok(), "{good}");
        }
        for bad in [
            "k8s:job",
            "k8s:job/",
            "k8s:job/../pods",
            "k8s:jop/x",
            "k8s:job/x?for=condition",
            "k8s:job/x?missing=no",
            "k8s:job/x?min=2",
            "k8s:job/x?namespace=a/b",
            "k8s:job/x?frо=1",
        ] {
            assert!(k8s(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_service_is_its_slices_only_for_its_own_readiness() {
        let resource = |text: &str| match k8s(text).unwrap().what.resource {
            Named::Known(resource) => resource.plural,
            Named::InGroup { .. } => String::new(),
        };
        assert_eq!(resource("k8s:svc/db"), "endpointslices");
        assert_eq!(resource("k8s:svc/db?for=jsonpath={.spec.clusterIP}"), "services");
        assert_eq!(resource("k8s:svc/db?for=delete"), "services");
    }
}
