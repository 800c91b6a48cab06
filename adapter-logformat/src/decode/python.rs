//! What Python's programs write out of the box: `basicConfig`, the notation of its documentation, gunicorn, uvicorn.

use super::{
    Context, Decoded,
    template::{Fixed, fixed, run},
};
use crate::record::Record;

/// `%(levelname)s:%(name)s:%(message)s` (`logging.BASIC_FORMAT`).
static BASIC: Fixed = Fixed::new(|| fixed("<level>:<logger>:<message>", "python"));
/// `%(asctime)s - %(name)s - %(levelname)s - %(message)s`, of the tutorial.
static TUTORIAL: Fixed = Fixed::new(|| fixed("<time> - <logger> - <level> - <message>", "python"));
/// gunicorn's error log: `[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s`.
static GUNICORN: Fixed = Fixed::new(|| fixed("[<time>] [<pid>] [<level>] <message>", "python"));
/// uvicorn: `INFO:     192.0.2.7:5000 - "GET / HTTP/1.1" 200 OK`.
static UVICORN_ACCESS: Fixed =
    Fixed::new(|| fixed("<level>:<client_port~> - \"<request>\" <status><.> <uvicorn.reason*>", "python"));

pub fn decode<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    if line.first() == Some(&b'[') {
        return run(&GUNICORN, line, cx, record);
    }
    if line.first().is_some_and(u8::is_ascii_digit) {
        return run(&TUTORIAL, line, cx, record);
    }
    let capitals = line.iter().take_while(|b| b.is_ascii_uppercase()).count();
    if capitals < 4 || line.get(capitals) != Some(&b':') {
        return super::refuse(0, "no level in capitals before a colon");
    }
    // uvicorn fills the level up to ten columns.
    let blanks = line[capitals + 1..].iter().take_while(|b| **b == b' ').count();
    if blanks > 0 && capitals + 1 + blanks == 10 {
        if run(&UVICORN_ACCESS, line, cx, record).is_ok() && super::program::has_request(record) {
            return Ok(());
        }
        record.clear();
        let Some(level) = super::program::level(&line[..capitals]) else {
            return super::refuse(0, "no level");
        };
        record.severity = Some(level);
        let message = line[capitals + 1..].trim_ascii_start();
        record.message = Some(crate::record::Value::Text(crate::text::Str::Raw(message)));
        return Ok(());
    }
    run(&BASIC, line, cx, record)
}
