//! HAProxy: `option httplog`, `option tcplog`, the default log and its errors, bare or behind syslog's head.
//!
//! (HAProxy configuration manual, chapter 8.2 "Log formats".)

use super::{
    Context, Decoded, refuse, syslog,
    template::{Fixed, fixed, run},
};
use crate::{
    record::{Record, Value},
    text::Str,
};

static HTTP: Fixed = Fixed::new(|| {
    fixed(
        "<client_port> [<time>] <frontend_name> <backend_name>/<server_name> \
         <http.request.time_wait_ms>/<total_waiting_time_ms>/<connection_wait_time_ms>/<http.request.time_wait_without_data_ms>/<millis> \
         <status> <bytes_read> <http.request.captured_cookie> <http.response.captured_cookie> <termination_state> \
         <connections.active>/<connections.frontend>/<connections.backend>/<connections.server>/<connections.retries> \
         <server_queue>/<backend_queue> <http.request.captured_headers?> <http.response.captured_headers?> \"<request>\"<.> <extra*>",
        "haproxy",
    )
});
static TCP: Fixed = Fixed::new(|| {
    fixed(
        "<client_port> [<time>] <frontend_name> <backend_name>/<server_name> \
         <total_waiting_time_ms>/<connection_wait_time_ms>/<millis> <bytes_read> <termination_state> \
         <connections.active>/<connections.frontend>/<connections.backend>/<connections.server>/<connections.retries> \
         <server_queue>/<backend_queue><.> <extra*>",
        "haproxy",
    )
});
static ERROR: Fixed =
    Fixed::new(|| fixed("<client_port> [<time>] <frontend_name>/<bind_name>: <message>", "haproxy"));
static CONNECT: Fixed =
    Fixed::new(|| fixed("Connect from <client_port> to <destination> (<frontend_name>/<mode>)", "haproxy"));

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'<')
        || line.first().is_some_and(u8::is_ascii_uppercase) && !line.starts_with(b"Connect from ")
    {
        return behind_syslog(line, cx, record);
    }
    let bare = bare(line, cx, record);
    if bare.is_err() && line.first().is_some_and(u8::is_ascii_digit) {
        record.clear();
        return behind_syslog(line, cx, record);
    }
    bare
}

/// What stands behind `haproxy[123]: `; without the process of that name it is another program's line.
fn behind_syslog<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let Some(name) = memchr::memmem::find(&line[..line.len().min(256)], b"haproxy") else {
        return refuse(0, "neither a line of HAProxy nor one of syslog from haproxy");
    };
    syslog::decode(line, cx, record)?;
    let Some(Value::Text(Str::Raw(message))) = record.message else { return refuse(name, "no message") };
    let at = line.len() - message.len();
    let severity = record.severity;
    let read = bare(message, cx, record);
    // Notices of its own (`Proxy web started.`) are messages.
    if let Err(refusal) = read {
        let address =
            message.first().is_some_and(u8::is_ascii_digit) && memchr::memmem::find(message, b" [").is_some();
        if address {
            return refuse(at + refusal.at, refusal.reason);
        }
        record.message = Some(Value::Text(Str::Raw(message)));
    } else if record
        .message
        .is_some_and(|m| matches!(m, Value::Text(Str::Raw(t)) if t.len() == message.len()))
    {
        record.message = None;
    }
    record.severity = severity;
    Ok(())
}

fn bare<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.starts_with(b"Connect from ") {
        return run(&CONNECT, line, cx, record);
    }
    // Which it is can be told without reading it: five timers or three, or a colon behind the frontend.
    let Some(timers) = memchr::memmem::find(line, b"] ").map(|at| &line[at + 2..]) else {
        return refuse(0, "no time in brackets");
    };
    let mut words = timers.splitn(4, |b| *b == b' ');
    let frontend = words.next().unwrap_or_default();
    if frontend.ends_with(b":") {
        return run(&ERROR, line, cx, record);
    }
    match words.nth(1).map(|word| memchr::memchr_iter(b'/', word).count()) {
        Some(4) => run(&HTTP, line, cx, record),
        Some(2) => run(&TCP, line, cx, record),
        _ => refuse(line.len() - timers.len(), "neither the timers of httplog nor those of tcplog"),
    }
}
