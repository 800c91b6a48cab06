//! `traces`: where spans go.

use std::sync::Arc;

use http::HeaderName;

use super::Problems;
use crate::config::Traces;
use crate::config::plan::TracesPlan;
use crate::control::Place;

pub(super) fn plan(written: &Traces, problems: &mut Problems) -> Option<Arc<TracesPlan>> {
    let before = problems.count();
    if !cfg!(feature = "otlp") {
        let remedy = "build it with cargo build --package ambassador-proxy --features otlp";
        problems.add("traces", "this binary was built without the cargo feature otlp", remedy);
    }
    let masked = podkit::secret::mask_url(&written.to);
    let parsed = url::Url::parse(&written.to).ok();
    let url = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    if url.is_none() {
        problems.add("traces.to", format!("{masked:?} is no http URL"), "write http://HOST:4318");
    }
    let url = url.map(|mut url| {
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        if !url.username().is_empty() || url.password().is_some() {
            let remedy = "write traces.headers: {authorization: {file: PATH}}";
            problems.add("traces.to", "it holds a login", remedy);
        }
        url
    });
    let ratio = written.ratio.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&ratio) {
        problems.add("traces.ratio", format!("{ratio} is not between 0 and 1"), "write a share such as 0.1");
    }
    let mut headers = Vec::new();
    for (name, secret) in &written.headers {
        match HeaderName::try_from(name.as_str()) {
            Ok(name) => headers.push((name, secret.clone())),
            Err(_) => {
                let key = format!("traces.headers.{name}");
                problems.add(key, "it is no header name", "write a name such as authorization");
            }
        }
    }
    let service = written.service.clone().unwrap_or_else(|| crate::APP.name.to_owned());
    let place = Place { url: url?, ca: written.ca.as_ref().map(Into::into) };
    (problems.count() == before).then(|| Arc::new(TracesPlan { place, ratio, service, headers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(written: &Traces) -> (Option<Arc<TracesPlan>>, Vec<String>) {
        let mut problems = Problems::default();
        let plan = plan(written, &mut problems);
        (plan, problems.0.into_iter().map(|problem| problem.path).collect())
    }

    #[test]
    #[cfg(feature = "otlp")]
    fn the_path_is_filled_in_where_none_is_written() {
        for (to, url) in [
            ("http://jaeger:4318", "http://jaeger:4318/v1/traces"),
            ("https://otlp.example.com/otlp/v1/traces", "https://otlp.example.com/otlp/v1/traces"),
        ] {
            let (plan, problems) = checked(&Traces { to: to.into(), ..Traces::default() });
            let plan = plan.unwrap();
            assert_eq!((plan.place.url.as_str(), plan.ratio, problems.len()), (url, 1.0, 0));
        }
    }

    #[test]
    fn every_problem_is_told() {
        let secret = podkit::secret::Secret::Env("X".into());
        let written = Traces {
            to: "http://user:pass@jaeger:4318".into(),
            ratio: Some(1.5),
            headers: [("no name".to_owned(), secret)].into(),
            ..Traces::default()
        };
        let (plan, problems) = checked(&written);
        assert!(plan.is_none());
        for path in ["traces.to", "traces.ratio", "traces.headers.no name"] {
            assert!(problems.iter().any(|problem| problem == path), "{path}: {problems:?}");
        }
        assert!(
            checked(&Traces { to: "jaeger:4318".into(), ..Traces::default() })
                .1
                .contains(&"traces.to".into())
        );
    }
}
