//! The orders service: stock and orders, slow or failing when asked.

use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use crate::listen::{Answer, json as answer_json, query};
use crate::stats::{World, count};
use crate::store::{Kind, Seen};

/// An order is a few fields; more is somebody's mistake.
const LARGEST_ORDER: usize = 64 * 1024;
const SLOWEST: u64 = 60_000;

pub(crate) async fn answer(world: Rc<World>, request: Request<Incoming>) -> Option<Answer> {
    if let Some(answer) = world.common(request.method(), request.uri().path(), query(&request, "seconds")) {
        return Some(answer);
    }
    count(&world.orders_requests);
    let id = request.headers().get("x-request-id").cloned();
    if let Some(slow) = query(&request, "slow") {
        let wait = slow.parse().unwrap_or(1000).min(SLOWEST);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    let mut answer = if query(&request, "fail").is_some() {
        count(&world.orders_failed_on_request);
        answer_json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": "failed, as asked by ?fail"}))
    } else {
        route(&world, request, id.as_ref()).await
    };
    if let Some(id) = id {
        answer.headers_mut().insert("x-request-id", id);
    }
    Some(answer)
}

async fn route(world: &World, request: Request<Incoming>, id: Option<&HeaderValue>) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match (&method, path.as_str()) {
        (&Method::GET, "/") => answer_json(StatusCode::OK, &json!({"service": "orders"})),
        (&Method::GET, path) if path.starts_with("/stock/") => {
            let left = path.bytes().fold(7_u64, |sum, byte| (sum * 31 + u64::from(byte)) % 97);
            match remember(world, id) {
                Ok(_) => answer_json(StatusCode::OK, &json!({"left": left})),
                Err(error) => unavailable(&error),
            }
        }
        (&Method::POST, "/orders") => {
            match Limited::new(request.into_body(), LARGEST_ORDER).collect().await {
                Err(_) => answer_json(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    &json!({"error": "an order is at most 64 KiB"}),
                ),
                Ok(_) => match remember(world, id) {
                    Ok(Seen::First) => answer_json(StatusCode::CREATED, &json!({"order": "accepted"})),
                    // The same order again: somebody repeated a request that had arrived. `/stats` shows it.
                    Ok(Seen::Again) => answer_json(StatusCode::OK, &json!({"order": "known"})),
                    Err(error) => unavailable(&error),
                },
            }
        }
        _ => answer_json(StatusCode::NOT_FOUND, &json!({"error": "orders knows /stock/N and POST /orders"})),
    }
}

fn remember(world: &World, id: Option<&HeaderValue>) -> std::io::Result<Seen> {
    let Some(id) = id.and_then(|id| id.to_str().ok()) else { return Ok(Seen::First) };
    let seen = world.store.add(Kind::Order, id);
    world.store.commit()?;
    Ok(seen)
}

fn unavailable(error: &std::io::Error) -> Answer {
    answer_json(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": format!("cannot store: {error}")}))
}
