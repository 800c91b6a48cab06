//! What AWS delivers: ALB, classic ELB, S3 server access, VPC flow. (CloudFront is [`super::w3c`].)
//!
//! (AWS documentation: "Access logs for your Application Load Balancer", "… Classic Load Balancer", "Amazon S3 server access log format",
//! "Flow log records".) Newer fields come behind the known ones: a line may be shorter or longer.

use super::{
    Context, Decoded, refuse,
    template::{Fixed, fixed, run},
};
use crate::{
    record::{Field, Record, Value},
    severity::Severity,
    text::Str,
    time::{Time, number},
};

static ALB: Fixed = Fixed::new(|| {
    fixed(
        "<type> <time> <name> <client_port> <destination> <request_processing_time.sec> <backend_processing_time.sec> \
         <response_processing_time.sec> <status> <backend.http.response.status_code> <request_bytes> <bytes> \"<request>\" \"<agent>\" \
         <ssl_cipher> <ssl_protocol> <target_group.arn> \"<trace_id>\"<.> \"<domain_name>\" \"<chosen_cert.arn>\" \
         <matched_rule_priority> <request_creation_time> \"<action_executed>\" \"<redirect_url>\" \"<error.reason>\" \
         \"<target_port>\" \"<target_status_code>\" \"<classification>\" \"<classification_reason>\" <conn_trace_id>",
        "aws.elb",
    )
});
static ELB: Fixed = Fixed::new(|| {
    fixed(
        "<time> <name> <client_port> <destination> <request_processing_time.sec> <backend_processing_time.sec> \
         <response_processing_time.sec> <status> <backend.http.response.status_code> <request_bytes> <bytes> \"<request>\"<.> \"<agent>\" \
         <ssl_cipher> <ssl_protocol>",
        "aws.elb",
    )
});
static S3: Fixed = Fixed::new(|| {
    fixed(
        "<bucket_owner> <bucket> [<time>] <client> <requester> <request_id> <operation> <key> \"<request>\" <status> <error_code> \
         <bytes> <object_size> <millis> <turn_around_time> \"<referrer>\" \"<agent>\" <version_id><.> <host_id> <signature_version> \
         <cipher_suite> <authentication_type> <host_header> <tls_version> <access_point_arn> <acl_required>",
        "aws.s3access",
    )
});

pub fn alb<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    let kind = &line[..memchr::memchr(b' ', line).unwrap_or(0)];
    if !matches!(kind, b"http" | b"https" | b"h2" | b"grpcs" | b"ws" | b"wss") {
        return refuse(0, "no type of connection (http, https, h2, grpcs, ws, wss)");
    }
    run(&ALB, line, cx, record)
}

pub fn elb<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    run(&ELB, line, cx, record)
}

pub fn s3<'a>(line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    run(&S3, line, cx, record)
}

/// `2 123456789010 eni-1235b8ca 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK`: version 2, the default; of
/// another choice of fields the header line, or the pattern of `csv`, says which.
pub fn vpc_flow<'a>(line: &'a [u8], _cx: &mut Context, record: &mut Record<'a>) -> Decoded {
    const NAMES: [&str; 14] = [
        "version",
        "account_id",
        "interface_id",
        "srcaddr",
        "dstaddr",
        "srcport",
        "dstport",
        "protocol",
        "packets",
        "bytes",
        "start",
        "end",
        "action",
        "log_status",
    ];
    if line.starts_with(b"version account-id ") {
        record.message = Some(Value::Text(Str::Raw(line)));
        return Ok(());
    }
    let mut words = line.split(|b| *b == b' ');
    let mut fields = [&b"-"[..]; 14];
    for (i, field) in fields.iter_mut().enumerate() {
        let Some(word) = words.next() else { return refuse(line.len(), "fewer than 14 fields") };
        if matches!(i, 0 | 5 | 6 | 7 | 8 | 9 | 10 | 11) && word != b"-" && number(word).is_none() {
            return refuse(
                word.as_ptr() as usize - line.as_ptr() as usize,
                "not the number that a flow log has here",
            );
        }
        *field = word;
    }
    let (Some(start), Some(_)) = (number(fields[10]), number(fields[11])) else {
        return refuse(0, "no start and end");
    };
    if words.next().is_some() || !matches!(fields[13], b"OK" | b"NODATA" | b"SKIPDATA") {
        return refuse(line.len(), "the status is neither OK, NODATA nor SKIPDATA");
    }
    record.time = Some(Time { seconds: start, nanos: 0 });
    for (i, (name, text)) in NAMES.iter().zip(fields).enumerate() {
        if text == b"-" {
            continue;
        }
        match i {
            3 => super::nginx::client(text, record),
            5 => record.set(Field::ClientPort, Value::Int(number(text).unwrap_or(0))),
            4 | 6 => {
                let key: &[u8] = if i == 4 { b"ip" } else { b"port" };
                if i == 4 {
                    record.push_sub("destination", Str::Raw(b"address"), Value::Text(Str::Raw(text)));
                }
                record.push_sub("destination", Str::Raw(key), super::meaning::typed(text));
            }
            // An account begins with a zero where it does: no number.
            1 => record.push_sub("aws.vpcflow", Str::Raw(name.as_bytes()), Value::Text(Str::Raw(text))),
            _ => record.push_sub("aws.vpcflow", Str::Raw(name.as_bytes()), super::meaning::typed(text)),
        }
    }
    if fields[12] == b"REJECT" {
        record.severity = Some(Severity::NOTICE);
    }
    Ok(())
}
