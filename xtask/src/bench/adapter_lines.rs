//! The lines that the adapter is measured with: a number makes each differ from the others.

use std::io::Write;

pub(super) fn nginx(file: &mut dyn Write, number: u64, random: u64) -> std::io::Result<()> {
    let (a, b, size) = (random & 0xff, random >> 8 & 0xff, random >> 16 & 0xffff);
    let status = [200, 200, 200, 204, 304, 404, 502][(random >> 32) as usize % 7];
    writeln!(
        file,
        "10.0.{a}.{b} - - [21/Nov/2026:13:{:02}:{:02} +0000] \"GET /api/v1/items/{number}?page={a} HTTP/1.1\" {status} {size} \"https://shop.example/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"",
        number / 60_000 % 60,
        number / 1000 % 60,
    )
}

pub(super) fn json(file: &mut dyn Write, number: u64, random: u64) -> std::io::Result<()> {
    writeln!(
        file,
        "{{\"level\":\"info\",\"ts\":{}.{:03},\"logger\":\"shop.orders\",\"caller\":\"orders/handler.go:{}\",\"msg\":\"order accepted\",\"order_id\":\"o-{number}\",\"customer\":{},\"amount\":{}.{:02},\"currency\":\"EUR\",\"trace_id\":\"{random:032x}\",\"span_id\":\"{number:016x}\",\"labels\":{{\"zone\":\"a\",\"tier\":{}}},\"retries\":[1,2]}}",
        1_795_263_850 + number / 1000,
        number % 1000,
        random & 0xff,
        random >> 8 & 0xffff,
        random >> 24 & 0xfff,
        random >> 36 & 63,
        random & 3,
    )
}

pub(super) fn logfmt(file: &mut dyn Write, number: u64, random: u64) -> std::io::Result<()> {
    writeln!(
        file,
        "ts=2026-11-21T13:{:02}:{:02}.{:03}Z level=info caller=orders/handler.go:{} msg=\"order accepted\" order_id=o-{number} customer={} amount={}.{:02} currency=EUR trace_id={random:032x} took={}ms",
        number / 60_000 % 60,
        number / 1000 % 60,
        number % 1000,
        random & 0xff,
        random >> 8 & 0xffff,
        random >> 24 & 0xfff,
        random >> 36 & 63,
        random >> 42 & 0xff,
    )
}

pub(super) fn syslog(file: &mut dyn Write, number: u64, random: u64) -> std::io::Result<()> {
    writeln!(
        file,
        "<{}>1 2026-11-21T13:{:02}:{:02}.{:03}Z web{} shop {} ID{} [meta@32473 seq=\"{number}\" zone=\"a\"] order o-{number} accepted for customer {}",
        8 + random % 180,
        number / 60_000 % 60,
        number / 1000 % 60,
        number % 1000,
        random & 7,
        random >> 8 & 0xffff,
        random >> 24 & 0xff,
        random >> 32 & 0xffff,
    )
}
