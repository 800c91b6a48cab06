//! The part of Elasticsearch's document API that a log shipper uses.
//!
//! Behaviour follows the reference of the bulk API: `create` with an `_id` that exists answers 409 for that
//! item, `index` overwrites it, a line that is not JSON fails the whole request with 400.

use std::io::Read;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderValue};
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use crate::listen::{Answer, json as answer_json, query};
use crate::stats::{World, count};
use crate::store::{Kind, Seen};

/// Elasticsearch's own default for `http.max_content_length`.
const LARGEST_REQUEST: usize = 100 * 1024 * 1024;
/// What the shop puts into every line; see demo-app's `logs.rs`.
const MARK: &str = "ln-";

pub(crate) async fn answer(world: Rc<World>, request: Request<Incoming>) -> Option<Answer> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if let Some(answer) = world.common(&method, &path, query(&request, "seconds")) {
        return Some(answer);
    }
    if world.is_out() {
        count(&world.bulk_refused);
        // An outage has two faces: connections that break off, and a gateway that answers for nobody.
        if world.bulk_refused.get().is_multiple_of(2) {
            return None;
        }
        return Some(es_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable_shards_exception",
            "the outage switch is on",
        ));
    }
    let mut answer = match (method.as_str(), path.as_str()) {
        ("GET" | "HEAD", "/") => answer_json(
            StatusCode::OK,
            &json!({
                "name": "demo", "cluster_name": "demo-backend",
                "version": {"number": "8.15.0", "build_flavor": "default"}, "tagline": "You Know, for Search",
            }),
        ),
        ("GET", "/_cluster/health") => answer_json(StatusCode::OK, &json!({"status": "green"})),
        ("POST" | "PUT", path) if path.ends_with("/_bulk") => bulk(&world, request).await,
        _ => es_error(
            StatusCode::NOT_FOUND,
            "resource_not_found_exception",
            "only / and _bulk are played here",
        ),
    };
    answer.headers_mut().insert("x-elastic-product", HeaderValue::from_static("Elasticsearch"));
    Some(answer)
}

async fn bulk(world: &World, request: Request<Incoming>) -> Answer {
    count(&world.bulk_requests);
    let index = request.uri().path().trim_start_matches('/').strip_suffix("/_bulk").unwrap_or("").to_owned();
    let gzip = match request.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => {
            return es_error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "illegal_argument_exception",
                "gzip or nothing",
            );
        }
    };
    let body = match Limited::new(request.into_body(), LARGEST_REQUEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            return es_error(StatusCode::PAYLOAD_TOO_LARGE, "content_too_long_exception", &error.to_string());
        }
    };
    world.bulk_bytes.set(world.bulk_bytes.get() + body.len() as u64);
    let body = match if gzip { unpack(&body) } else { Ok(body) } {
        Ok(body) => body,
        Err(error) => return es_error(StatusCode::BAD_REQUEST, "parse_exception", &format!("gzip: {error}")),
    };
    match parse(&body, &index) {
        Ok(actions) => store(world, &actions),
        Err(reason) => es_error(StatusCode::BAD_REQUEST, "illegal_argument_exception", &reason),
    }
}

fn unpack(body: &[u8]) -> std::io::Result<Bytes> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(body).take(LARGEST_REQUEST as u64).read_to_end(&mut plain)?;
    Ok(Bytes::from(plain))
}

/// One action line with the document below it.
#[derive(Debug, PartialEq)]
struct Action<'a> {
    op: String,
    index: String,
    id: Option<String>,
    document: &'a str,
}

fn parse<'a>(body: &'a [u8], default_index: &str) -> Result<Vec<Action<'a>>, String> {
    let text = std::str::from_utf8(body).map_err(|error| format!("not UTF-8: {error}"))?;
    if !text.ends_with('\n') {
        return Err("The bulk request must be terminated by a newline [\\n]".to_owned());
    }
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let mut actions = Vec::new();
    while let Some(line) = lines.next() {
        let action: Value = serde_json::from_str(line).map_err(|e| format!("Malformed action line: {e}"))?;
        let Some((op, meta)) = action.as_object().filter(|o| o.len() == 1).and_then(|o| o.iter().next())
        else {
            return Err("Malformed action/metadata line, expected one of create, index".to_owned());
        };
        if op != "create" && op != "index" {
            return Err(format!("Malformed action/metadata line, {op} is not played here"));
        }
        let document = lines.next().ok_or("an action without its document")?;
        let text_of = |key: &str| meta.get(key).and_then(Value::as_str).map(str::to_owned);
        let index = text_of("_index").unwrap_or_else(|| default_index.to_owned());
        if index.is_empty() {
            return Err("Validation Failed: 1: index is missing;".to_owned());
        }
        actions.push(Action { op: op.clone(), index, id: text_of("_id"), document });
    }
    Ok(actions)
}

fn store(world: &World, actions: &[Action<'_>]) -> Answer {
    let mut items = Vec::with_capacity(actions.len());
    let mut errors = false;
    for action in actions {
        let (status, error) = match serde_json::from_str::<Value>(action.document) {
            Ok(Value::Object(_)) => store_one(world, action),
            _ => (400, Some(("document_parsing_exception", "failed to parse: not a JSON object"))),
        };
        errors |= error.is_some();
        let mut item = json!({"_index": action.index, "_id": action.id, "status": status});
        if let Some((kind, reason)) = error {
            item["error"] = json!({"type": kind, "reason": reason});
        }
        items.push(json!({ action.op.clone(): item }));
    }
    // Acknowledged means written: the answer goes out after the store took it.
    match world.store.commit() {
        Ok(()) => answer_json(StatusCode::OK, &json!({"took": 1, "errors": errors, "items": items})),
        Err(error) => es_error(StatusCode::SERVICE_UNAVAILABLE, "storage_exception", &error.to_string()),
    }
}

fn store_one(world: &World, action: &Action<'_>) -> (u16, Option<(&'static str, &'static str)>) {
    if let Some(id) = &action.id
        && world.store.add(Kind::Document, &format!("{}/{id}", action.index)) == Seen::Again
    {
        count(&world.conflicts);
        return match action.op.as_str() {
            "create" => (409, Some(("version_conflict_engine_exception", "document already exists"))),
            _ => (200, None),
        };
    }
    count(&world.records);
    world.keep(action.document);
    match line_id(action.document) {
        Some(id) => drop(world.store.add(Kind::Line, id)),
        None => count(&world.without_id),
    }
    (201, None)
}

/// The first `ln-RUN-KIND-NUMBER` in a record, wherever its schema put it.
fn line_id(record: &str) -> Option<&str> {
    let mut rest = record;
    while let Some(at) = rest.find(MARK) {
        rest = &rest[at..];
        let end = rest.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'-')).unwrap_or(rest.len());
        if rest[..end].split('-').count() == 4 {
            return Some(&rest[..end]);
        }
        rest = &rest[MARK.len()..];
    }
    None
}

fn es_error(status: StatusCode, kind: &str, reason: &str) -> Answer {
    answer_json(status, &json!({"error": {"type": kind, "reason": reason}, "status": status.as_u16()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_in_any_schema() {
        assert_eq!(line_id(r#"{"message":"GET / line/ln-0a-a-17\" x"}"#), Some("ln-0a-a-17"));
        assert_eq!(line_id(r#"{"a":"ln-","line":"ln-0a-e-2"}"#), Some("ln-0a-e-2"));
        assert_eq!(line_id(r#"{"a":"nothing here"}"#), None);
    }

    #[test]
    fn bulk_lines_become_actions() {
        let body = b"{\"create\":{\"_id\":\"1\"}}\n{\"a\":1}\n{\"index\":{\"_index\":\"x\"}}\n{}\n";
        let actions = parse(body, "logs-app-default").unwrap();
        assert_eq!(actions[0].index, "logs-app-default");
        assert_eq!(actions[0].id.as_deref(), Some("1"));
        assert_eq!(actions[1].index, "x");
        assert_eq!(actions[1].document, "{}");
    }

    #[test]
    fn a_malformed_bulk_names_its_fault() {
        for (body, part) in [
            (&b"{}\n{}\n"[..], "expected one of"),
            (b"{\"create\":{}}\n{}\n", "index is missing"),
            (b"{\"create\":{}}\n", "without its document"),
            (b"{\"delete\":{}}\n", "delete is not played"),
            (b"{\"create\":{}}", "terminated by a newline"),
            (b"\xff\n", "not UTF-8"),
        ] {
            let reason = parse(body, "").unwrap_err();
            assert!(reason.contains(part), "{reason:?} should contain {part:?}");
        }
    }

    #[test]
    fn a_known_id_is_a_conflict_and_no_duplicate() {
        let world = World::new(Rc::new(crate::store::Store::default()));
        let line = r#"{"message":"ln-0a-a-1"}"#;
        let action = |id: Option<&str>| Action {
            op: "create".to_owned(),
            index: "logs".to_owned(),
            id: id.map(str::to_owned),
            document: line,
        };
        assert_eq!(store_one(&world, &action(Some("x"))).0, 201);
        assert_eq!(store_one(&world, &action(Some("x"))).0, 409);
        assert_eq!(world.store.repeated(Kind::Line), 0);
        assert_eq!(store_one(&world, &action(None)).0, 201);
        assert_eq!((world.store.distinct(Kind::Line), world.store.repeated(Kind::Line)), (1, 1));
    }
}
