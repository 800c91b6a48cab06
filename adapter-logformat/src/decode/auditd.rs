//! The Linux audit log: `type=SYSCALL msg=audit(1795263850.123:4711): arch=c000003e syscall=59 … comm="curl" exe="/usr/bin/curl"`.
//!
//! (Red Hat Enterprise Linux, Security Guide, "Understanding Audit Log Files" and "Audit System Reference"; linux-audit's field dictionary.) A text that
//! somebody else chose and that holds a blank, a quote or a control byte stands there in hexadecimal; [`unhex`] makes it readable.

use super::{Context, Decoded, meaning, nginx, refuse};
use crate::{
    record::{Field, Record, Value},
    text::Str,
    time::{epoch, number},
};

const SPACE: &str = "auditd.log";
/// Around texts that were hexadecimal: no text of the kernel's has it.
const QUOTE: u8 = 0x1e;
/// In front of what auditd adds with `log_format = ENRICHED`.
const ENRICHED: u8 = 0x1d;

/// Fields whose text somebody else chose.
const CHOSEN: [&[u8]; 14] = [
    b"acct",
    b"cmd",
    b"comm",
    b"cwd",
    b"data",
    b"exe",
    b"file",
    b"key",
    b"name",
    b"ocomm",
    b"path",
    b"proctitle",
    b"vm",
    b"watch",
];
/// Numbers wherever they stand.
const NUMBERS: [&[u8]; 10] =
    [b"argc", b"inode", b"item", b"items", b"lport", b"old_ses", b"rport", b"ses", b"sig", b"syscall"];
/// Ids of users and groups, below `user`.
const IDS: [(&[u8], &[u8]); 9] = [
    (b"uid", b"id"),
    (b"gid", b"group.id"),
    (b"auid", b"audit.id"),
    (b"euid", b"effective.id"),
    (b"egid", b"effective.group.id"),
    (b"suid", b"saved.id"),
    (b"sgid", b"saved.group.id"),
    (b"fsuid", b"filesystem.id"),
    (b"fsgid", b"filesystem.group.id"),
];

pub fn decode<'a>(line: &'a [u8], _: &mut Context, record: &mut Record<'a>) -> Decoded {
    let Some(head) = head(line) else { return refuse(0, "no type= and msg=audit(TIME:NUMBER):") };
    let Some(time) = epoch(head.time) else { return refuse(0, "no time in msg=audit()") };
    record.time = Some(time);
    if let Some(node) = head.node {
        record.text(Field::Host, node);
    }
    record.push_sub(SPACE, Str::Raw(b"record_type"), text(head.kind));
    record.push_sub(SPACE, Str::Raw(b"sequence"), number(head.serial).map_or(text(head.serial), Value::Int));
    fields(&line[head.body..], 0, record);
    Ok(())
}

struct Head<'a> {
    node: Option<&'a [u8]>,
    kind: &'a [u8],
    time: &'a [u8],
    serial: &'a [u8],
    /// Where the fields begin.
    body: usize,
}

fn head(line: &[u8]) -> Option<Head<'_>> {
    let mut rest = line;
    let mut word = |key: &[u8]| {
        let after = rest.strip_prefix(key)?;
        let (value, behind) = after.split_at(memchr::memchr(b' ', after)?);
        rest = &behind[1..];
        Some(value)
    };
    let node = word(b"node=");
    let kind = word(b"type=").filter(|kind| {
        kind.first().is_some_and(u8::is_ascii_uppercase)
            && kind
                .iter()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'[' | b']'))
    })?;
    let stamp = rest.strip_prefix(b"msg=audit(")?;
    let close = memchr::memchr(b')', stamp).filter(|at| *at < 40)?;
    let colon = memchr::memchr(b':', &stamp[..close])?;
    let behind = stamp[close + 1..].strip_prefix(b":")?;
    let behind = behind.strip_prefix(b" ").unwrap_or(behind);
    Some(Head {
        node,
        kind,
        time: &stamp[..colon],
        serial: &stamp[colon + 1..close],
        body: line.len() - behind.len(),
    })
}

fn text(bytes: &[u8]) -> Value<'_> {
    Value::Text(Str::Raw(bytes))
}

/// The pairs of a line; a word between them, such as `old`, belongs to the name behind it.
fn fields<'a>(body: &'a [u8], depth: u32, record: &mut Record<'a>) {
    let mut old = None;
    each(body, |key, value, quoted| match (key, value) {
        (b"", word) => old = (word == b"old").then_some(()).or(old.filter(|()| word != b"new")),
        // A program's own report, with pairs inside.
        (b"msg", inner) if quoted && depth == 0 => fields(inner, 1, record),
        _ => {
            let before = old.take();
            match (before, key) {
                (Some(()), b"auid") => record.push_sub(SPACE, Str::Raw(b"old_auid"), text(value)),
                (Some(()), b"ses") => meaning::named(SPACE, b"old_ses", value, record),
                _ => field(key, value, record),
            }
        }
    });
}

/// Calls with every pair, and with the words between them that are none; true for a value in quotes.
fn each<'a>(body: &'a [u8], mut each: impl FnMut(&'a [u8], &'a [u8], bool)) {
    let mut rest = body;
    loop {
        let skip = rest.iter().take_while(|b| matches!(**b, b' ' | b',' | ENRICHED)).count();
        rest = &rest[skip..];
        if rest.is_empty() {
            return;
        }
        let key = rest.iter().position(|b| matches!(*b, b'=' | b' ' | ENRICHED)).unwrap_or(rest.len());
        if rest.get(key) != Some(&b'=') {
            each(b"", &rest[..key], false);
            rest = &rest[key..];
            continue;
        }
        let value = &rest[key + 1..];
        let quote = value.first().copied().filter(|b| matches!(*b, b'"' | b'\'' | QUOTE));
        let closed = quote.and_then(|quote| memchr::memchr(quote, &value[1..]));
        let (inner, length) = match closed {
            Some(end) => (&value[1..=end], end + 2),
            None => {
                let end = value.iter().position(|b| matches!(*b, b' ' | ENRICHED)).unwrap_or(value.len());
                (&value[..end], end)
            }
        };
        each(&rest[..key], inner, closed.is_some());
        rest = &value[length..];
    }
}

fn field<'a>(key: &'a [u8], value: &'a [u8], record: &mut Record<'a>) {
    if matches!(value, b"" | b"?" | b"(null)") {
        return;
    }
    if let Some((_, name)) = IDS.iter().find(|(id, _)| *id == key) {
        return record.push_sub("user", Str::Raw(name), text(value));
    }
    match (key, number(value)) {
        (b"pid", Some(pid)) => record.set(Field::Pid, Value::Int(pid)),
        (b"ppid", Some(pid)) => record.push_sub("process", Str::Raw(b"parent.pid"), Value::Int(pid)),
        (b"exit", Some(code)) => record.push_sub("process", Str::Raw(b"exit_code"), Value::Int(code)),
        (b"acct" | b"UID", _) if !record.has(Field::User) => record.text(Field::User, value),
        (b"AUID", _) => record.push_sub("user", Str::Raw(b"audit.name"), text(value)),
        (b"EUID", _) => record.push_sub("user", Str::Raw(b"effective.name"), text(value)),
        (b"old-auid", _) => record.push_sub(SPACE, Str::Raw(b"old_auid"), text(value)),
        (b"old-ses", _) => meaning::named(SPACE, b"old_ses", value, record),
        (b"comm", _) => record.text(Field::Process, value),
        (b"exe", _) => record.push_sub("process", Str::Raw(b"executable"), text(value)),
        (b"cwd", _) => record.push_sub("process", Str::Raw(b"working_directory"), text(value)),
        (b"cmd", _) => record.push_sub("process", Str::Raw(b"command_line"), text(value)),
        (b"proctitle", _) => record.push_sub("process", Str::Raw(b"title"), text(value)),
        (b"addr" | b"src", _) if !record.has(Field::ClientAddress) => nginx::client(value, record),
        (b"dst", _) => meaning::peer("destination", value, record),
        (b"res" | b"success", _) => outcome(value, record),
        (b"arch", _) => record.push_sub("host", Str::Raw(b"architecture"), text(architecture(value))),
        (_, Some(number)) if NUMBERS.contains(&key) => {
            record.push_sub(SPACE, Str::Raw(key), Value::Int(number));
        }
        // Arguments are hexadecimal, and sometimes have no letter: always texts.
        _ => record.push_sub(SPACE, Str::Raw(key), text(value)),
    }
}

fn outcome<'a>(value: &[u8], record: &mut Record<'a>) {
    let outcome: &'static [u8] = match value {
        b"success" | b"yes" | b"1" => b"success",
        b"failed" | b"no" | b"0" => b"failure",
        _ => b"unknown",
    };
    record.push_sub("event", Str::Raw(b"outcome"), text(outcome));
}

/// The numbers of <linux/audit.h>, as far as pods run on them.
fn architecture(value: &[u8]) -> &[u8] {
    match value {
        b"c000003e" => b"x86_64",
        b"c00000b7" => b"aarch64",
        b"40000003" => b"i386",
        b"40000028" => b"arm",
        b"c0000015" => b"ppc64le",
        b"80000016" => b"s390x",
        b"c00000f3" => b"riscv64",
        other => other,
    }
}

/// Fills `to` with the line, its hexadecimal texts readable; false when there are none.
pub fn unhex(line: &[u8], to: &mut Vec<u8>) -> bool {
    let Some(head) = head(line) else { return false };
    to.clear();
    let mut copied = 0;
    let mut inside = |body: &[u8]| {
        each(body, |key, value, quoted| {
            // Of a call's arguments only those of execve are texts; a0 of a system call is a number.
            let argument = head.kind == b"EXECVE"
                && matches!(key, [b'a', place @ ..] if !place.is_empty() && place.iter().all(u8::is_ascii_digit));
            if quoted || !(argument || CHOSEN.contains(&key)) || !is_hex(value) {
                return;
            }
            let start = (value.as_ptr() as usize) - (line.as_ptr() as usize);
            to.extend_from_slice(&line[copied..start]);
            copied = start + value.len();
            to.push(QUOTE);
            let digit = |d: u8| char::from(d).to_digit(16).unwrap_or(0) as u8;
            to.extend(value.chunks_exact(2).map(|pair| match digit(pair[0]) << 4 | digit(pair[1]) {
                // Arguments end with NUL bytes.
                0 | QUOTE => b' ',
                byte => byte,
            }));
            to.push(QUOTE);
        });
    };
    let body = &line[head.body..];
    let report = memchr::memmem::find(body, b"msg='");
    let end = report.unwrap_or(body.len());
    inside(&body[..end]);
    if let Some(report) = report {
        inside(&body[report + 5..]);
    }
    if copied > 0 {
        to.extend_from_slice(&line[copied..]);
    }
    copied > 0
}

fn is_hex(value: &[u8]) -> bool {
    value.len() >= 2
        && value.len().is_multiple_of(2)
        && value.iter().all(|b| b.is_ascii_digit() || matches!(b, b'A'..=b'F'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_texts_become_readable() {
        let mut to = Vec::new();
        let line = b"type=USER_CMD msg=audit(1795263850.123:7): pid=9 uid=0 msg='cwd=\"/\" cmd=6C73202D6C terminal=? res=success'";
        assert!(unhex(line, &mut to));
        assert!(memchr::memmem::find(&to, b"cmd=\x1els -l\x1e terminal=?").is_some());
        let line = b"type=EXECVE msg=audit(1795263850.123:7): argc=10 a0=\"sh\" a1=612062";
        assert!(unhex(line, &mut to));
        assert!(to.ends_with(b"argc=10 a0=\"sh\" a1=\x1ea b\x1e"));
        // A number, a quoted text and a field that nobody chose are what they are.
        let line = b"type=SYSCALL msg=audit(1795263850.123:7): a0=10 comm=\"AB\" exe=\"/bin/AB\" key=(null)";
        assert!(!unhex(line, &mut to));
        assert!(!unhex(b"type=x msg=1", &mut to));
    }
}
