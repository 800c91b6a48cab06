//! The shop: its pages, and its life from the first line to the last.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, REFERER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::ledger::Ledger;
use crate::logs::{Logs, Visit, millis, quote};
use crate::orders::Orders;
use crate::server::{self, Answer};
use crate::{Cli, traffic};

pub(crate) const PRODUCTS: [(&str, u32); 6] = [
    ("Anchor, 12 kg", 8900),
    ("Rope, 40 m", 3150),
    ("Lantern", 2400),
    ("Chart of the shoals", 1890),
    ("Oilskin", 7600),
    ("Ship's biscuit", 320),
];

struct Shop {
    logs: Rc<Logs>,
    orders: Orders,
    ledger: Rc<Ledger>,
}

struct Page {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    let stop = server::stop_signal()?;
    let (logs, ledger) = Logs::open(&cli.logs, cli.rotate_bytes, cli.keep)?;
    let listener = TcpListener::bind(cli.listen)
        .await
        .with_context(|| format!("cannot listen on {}; is another shop running?", cli.listen))?;
    let listen = listener.local_addr()?;
    let shop = Rc::new(Shop {
        logs: Rc::clone(&logs),
        orders: Orders::new(&cli.orders, Rc::clone(&ledger)),
        ledger: Rc::clone(&ledger),
    });
    logs.app("info", "the shop is open", &format!("listen={listen} start={}", ledger.report()["starts"]));
    eprintln!("{}", serde_json::json!({"level": "INFO", "message": "ready", "http": listen.to_string()}));

    let (end, stopping) = watch::channel(false);
    let grace = Duration::from_secs(cli.grace);
    let traffic =
        tokio::task::spawn_local(traffic::run(listen, cli.rate, Rc::clone(&ledger), stopping.clone()));
    let served =
        tokio::task::spawn_local(server::serve(listener, stopping, grace, move |client, request| {
            answer(Rc::clone(&shop), client, request)
        }));
    stop.await?;
    let _ = end.send(true);
    // First the visitors, then the door: what was begun is answered.
    let _ = tokio::time::timeout(grace, traffic).await;
    let _ = tokio::time::timeout(grace, served).await;
    logs.app("info", "the shop is closed", "");
    // The report goes to stdout as the last line; the logs themselves went to their files.
    #[allow(clippy::print_stdout, reason = "stdout is where this program's result goes")]
    {
        println!("{}", serde_json::json!({"report": ledger.report(), "failures": ledger.failures()}));
    }
    Ok(())
}

async fn answer(shop: Rc<Shop>, client: SocketAddr, request: Request<Incoming>) -> Answer {
    // Asked by machines about the shop, not visits to it: neither logged nor counted.
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => return respond(Page::text(StatusCode::OK, "ok\n")),
        (&Method::GET, "/stats") => return respond(Page::json(&shop.ledger.report())),
        (&Method::POST, "/rotate") => {
            return respond(match shop.logs.rotate() {
                Ok(names) => Page::json(&serde_json::json!({ "rotated": names })),
                Err(error) => Page::text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}\n")),
            });
        }
        _ => {}
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let page = match (&method, path.as_str()) {
        (&Method::GET, "/") => shop.front().await,
        (&Method::GET, path) if path.starts_with("/product/") => {
            shop.product(&path["/product/".len()..]).await
        }
        (&Method::GET | &Method::POST, "/checkout") => {
            shop.checkout(request.uri().query().unwrap_or("")).await
        }
        _ => Page::text(StatusCode::NOT_FOUND, "no such page\n"),
    };
    let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-");
    shop.logs.access(&Visit {
        client: client.ip(),
        method: method.as_str(),
        target: request.uri().path_and_query().map_or("/", |target| target.as_str()),
        status: page.status.as_u16(),
        bytes: page.body.len(),
        referer: header(REFERER),
        user_agent: header(USER_AGENT),
    });
    respond(page)
}

impl Shop {
    async fn front(&self) -> Page {
        let stock = self.ask(Method::GET, "/stock/0", "stock asked").await;
        let mut list = String::new();
        for (number, (name, cents)) in PRODUCTS.iter().enumerate() {
            list.push_str(&format!("<li><a href=\"/product/{number}\">{name}</a> {}</li>\n", price(*cents)));
        }
        Page::html(stock, "The Chandlery", &format!("<ul>\n{list}</ul>"))
    }

    async fn product(&self, number: &str) -> Page {
        let Some((name, cents)) = number.parse().ok().and_then(|n: usize| PRODUCTS.get(n)) else {
            return Page::text(StatusCode::NOT_FOUND, "no such product\n");
        };
        let stock = self.ask(Method::GET, &format!("/stock/{number}"), "stock asked").await;
        let form =
            format!("<form method=post action=\"/checkout?product={number}\"><button>Buy</button></form>");
        Page::html(stock, name, &format!("<p>{}</p>{form}", price(*cents)))
    }

    async fn checkout(&self, query: &str) -> Page {
        let product = query.strip_prefix("product=").and_then(|n| n.parse().ok()).unwrap_or(0_usize);
        let order = self.ask(Method::POST, &format!("/orders?product={product}"), "order placed").await;
        Page::html(
            order,
            "Thank you",
            "<p>Your order was taken.</p><p><a href=\"/\">Back to the shop</a></p>",
        )
    }

    /// Calls the orders service and writes what came of it to the shop's own log.
    async fn ask(&self, method: Method, path: &str, what: &str) -> Result<(), String> {
        let body = if method == Method::POST { "{\"quantity\":1}".to_owned() } else { String::new() };
        let outcome = self.orders.call(method, path, body).await;
        let fields = format!("request={} path={path} duration_ms={}", outcome.id, millis(outcome.took));
        match outcome.result {
            Ok(status) => {
                self.logs.app("info", what, &format!("{fields} status={}", status.as_u16()));
                Ok(())
            }
            Err(why) => {
                self.logs.app("error", "orders did not answer", &format!("{fields} error={}", quote(&why)));
                Err(why)
            }
        }
    }
}

impl Page {
    fn html(orders: Result<(), String>, title: &str, body: &str) -> Self {
        let (status, body) = match orders {
            Ok(()) => (StatusCode::OK, body.to_owned()),
            Err(_) => (StatusCode::BAD_GATEWAY, "<p>We cannot reach our warehouse right now.</p>".to_owned()),
        };
        let head = format!("<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>\n");
        Page { status, content_type: "text/html; charset=utf-8", body: head + &body + "\n" }
    }

    fn text(status: StatusCode, body: &str) -> Self {
        Page { status, content_type: "text/plain; charset=utf-8", body: body.to_owned() }
    }

    fn json(body: &serde_json::Value) -> Self {
        Page { status: StatusCode::OK, content_type: "application/json", body: format!("{body}\n") }
    }
}

fn respond(page: Page) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(page.body)));
    *answer.status_mut() = page.status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    answer
}

fn price(cents: u32) -> String {
    format!("{}.{:02} €", cents / 100, cents % 100)
}
