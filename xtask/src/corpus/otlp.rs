//! Expected records as OTLP/JSON, made by other collectors, under the names of the Elastic Common Schema.

use serde_json::{Map, Value, json};

/// The log records of a list of export requests.
pub(crate) fn records(expected: &[Value]) -> Vec<Value> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    expected
        .iter()
        .flat_map(|request| list(request, "resourceLogs"))
        .flat_map(|resource| list(&resource, "scopeLogs"))
        .flat_map(|scope| list(&scope, "logRecords"))
        .map(|record| record_of(&record))
        .collect()
}

fn record_of(record: &Value) -> Value {
    let mut found = Map::new();
    if let Some(nanos) = record["timeUnixNano"].as_str().and_then(|n| n.parse::<i128>().ok())
        && let Ok(time) = jiff::Timestamp::from_nanosecond(nanos)
    {
        found.insert("@timestamp".to_owned(), json!(time.to_string()));
    }
    let body = plain(&record["body"]);
    for (name, value) in body.as_object().into_iter().flatten() {
        // Java loggers' own column, and httpd's.
        let module = if body.get("javaClass").is_some() { "process.thread.name" } else { "apache.module" };
        let ours = match name.as_str() {
            // Kafka's part in brackets, beside its logger.
            "source" if body.get("logger").is_some() => "kafka.log.component",
            "message" => "message",
            "level" => "log.level",
            "javaClass" => "log.origin.file.name",
            "lineNumber" => "log.origin.file.line",
            "module" => module,
            "source" | "logger" | "log_type" => "log.logger",
            "thread" => "process.thread.name",
            "pid" => "process.pid",
            "tid" => "process.thread.id",
            "client" => "source.address",
            "user" => "user.name",
            _ => continue,
        };
        found.insert(ours.to_owned(), value.clone());
    }
    for attribute in record["attributes"].as_array().into_iter().flatten() {
        if attribute["key"] != "gcp.http_request" {
            continue;
        }
        for (name, value) in plain(&attribute["value"]).as_object().into_iter().flatten() {
            let ours = match name.as_str() {
                "requestMethod" => "http.request.method",
                "requestUrl" => "url.original",
                "status" => "http.response.status_code",
                "responseSize" => "http.response.body.bytes",
                "remoteIp" => "source.address",
                "referer" => "http.request.referrer",
                "userAgent" => "user_agent.original",
                _ => continue,
            };
            found.insert(ours.to_owned(), value.clone());
        }
    }
    Value::Object(found)
}

/// An `AnyValue` as the JSON it stands for.
fn plain(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "kvlistValue" => {
            let pairs = inner["values"].as_array().into_iter().flatten();
            let pair = |pair: &Value| Some((pair["key"].as_str()?.to_owned(), plain(&pair["value"])));
            Value::Object(pairs.filter_map(pair).collect())
        }
        "arrayValue" => inner["values"].as_array().into_iter().flatten().map(plain).collect(),
        _ => inner.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gets_the_names_that_ours_have() {
        let request = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{
            "timeUnixNano": "1753204544001000000",
            "body": {"kvlistValue": {"values": [
                {"key": "message", "value": {"stringValue": "started"}},
                {"key": "level", "value": {"stringValue": "INFO"}},
            ]}},
            "attributes": [{"key": "gcp.http_request", "value": {"kvlistValue": {"values": [
                {"key": "status", "value": {"stringValue": "200"}},
            ]}}}],
        }]}]}]});
        assert_eq!(
            records(&[request]),
            [json!({
                "@timestamp": "2025-07-22T17:15:44.001Z",
                "message": "started",
                "log.level": "INFO",
                "http.response.status_code": "200",
            })]
        );
    }
}
