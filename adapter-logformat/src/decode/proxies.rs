//! Access logs of other proxies in front of pods, with the formats that they have out of the box: ingress-nginx, Traefik.

use super::{
    Context, Decoded,
    template::{Fixed, fixed, run},
};
use crate::record::Record;

/// ingress-nginx' `log-format-upstream` (its documentation, "Log format").
static INGRESS: Fixed = Fixed::new(|| {
    fixed(
        "<client> - <user> [<time>] \"<request>\" <status> <bytes> \"<referrer>\" \"<agent>\" <request_bytes> <seconds> \
         [<proxy_upstream_name>] [<proxy_alternative_upstream_name>] <upstream_addr|> <upstream_response_length|> \
         <upstream_response_time|> <upstream_status|> <request_id>",
        "nginx",
    )
});
/// Traefik's `common` (its documentation, "Access logs"): CLF, the count of requests, router, server, and the time taken.
static TRAEFIK: Fixed = Fixed::new(|| {
    fixed(
        "<client> - <user> [<time>] \"<request>\" <status> <bytes> \"<referrer>\" \"<agent>\" <request_count> \
         \"<router_name>\" \"<server_url>\" <millis>ms",
        "traefik",
    )
});
/// Without a referrer older versions wrote a dash where the quotes would be.
static TRAEFIK_DASH: Fixed = Fixed::new(|| {
    fixed(
        "<client> - <user> [<time>] \"<request>\" <status> <bytes> - \"<agent>\" <request_count> \
         \"<router_name>\" \"<server_url>\" <millis>ms",
        "traefik",
    )
});

pub fn ingress<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    run(&INGRESS, line, cx, record)
}

pub fn traefik<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'{') {
        return super::json::decode(line, cx, record);
    }
    let read = run(&TRAEFIK, line, cx, record);
    if read.is_err() {
        record.clear();
        return run(&TRAEFIK_DASH, line, cx, record).or(read);
    }
    read
}
