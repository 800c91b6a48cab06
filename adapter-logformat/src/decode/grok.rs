//! grok: `%{NAME}`, `%{NAME:field}`, `%{NAME:field:int}` → one regular expression. The library is our own, with the names that Logstash made common;
//! it uses no look-around. A table at the end.

use super::regex::Kind;

/// Deepest nesting of patterns within patterns.
const DEEPEST: usize = 16;
/// Longest expanded expression.
const LONGEST: usize = 256 << 10;

/// An expression, and the names of its groups `_g0`, `_g1`, ….
#[derive(Debug, Default)]
pub struct Expanded {
    pub regex: String,
    pub names: Vec<(String, Kind)>,
}

/// # Errors
/// A name that is not in the library, or a type that is none.
pub fn expand(pattern: &str) -> Result<Expanded, String> {
    let mut expanded = Expanded::default();
    into(pattern, 0, &mut expanded)?;
    Ok(expanded)
}

fn into(pattern: &str, depth: usize, to: &mut Expanded) -> Result<(), String> {
    if depth > DEEPEST {
        return Err("patterns within patterns, deeper than 16 levels".to_owned());
    }
    let mut rest = pattern;
    while let Some(at) = rest.find("%{") {
        to.regex.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else { return Err("'%{' without its '}'".to_owned()) };
        let inner = &rest[at + 2..at + end];
        rest = &rest[at + end + 1..];
        let mut parts = inner.splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        let (field, kind) = (parts.next(), parts.next());
        let Some((_, body)) = LIBRARY.iter().find(|(n, _)| *n == name) else {
            return Err(format!("there is no pattern %{{{name}}}; {}", near(name)));
        };
        match field.filter(|f| !f.is_empty()) {
            Some(field) => {
                let kind = match kind {
                    None => Kind::Any,
                    Some("int" | "float" | "long" | "double" | "integer" | "number") => Kind::Number,
                    Some("string" | "keyword" | "text") => Kind::Text,
                    Some(other) => return Err(format!("{other:?} is no type; write int, float or string")),
                };
                to.regex.push_str(&format!("(?P<_g{}>", to.names.len()));
                to.names.push((field_name(field), kind));
            }
            None => to.regex.push_str("(?:"),
        }
        into(body, depth + 1, to)?;
        to.regex.push(')');
        if to.regex.len() > LONGEST {
            return Err("it expands to more than 256 KiB".to_owned());
        }
    }
    // Oniguruma's spelling of a named group.
    to.regex.push_str(rest);
    Ok(())
}

/// Logstash's `[a][b]` is `a.b` here.
fn field_name(field: &str) -> String {
    if field.starts_with('[') && field.ends_with(']') {
        return field[1..field.len() - 1].replace("][", ".");
    }
    field.to_owned()
}

fn near(name: &str) -> String {
    match podkit::config::nearest(name, LIBRARY.iter().map(|(name, _)| *name)) {
        Some(name) => format!("did you mean %{{{name}}}?"),
        None => "write it out as a regular expression".to_owned(),
    }
}

/// Name and expression. Written for engines without look-around: edges are those of words.
const LIBRARY: &[(&str, &str)] = &[
    // Words and numbers.
    ("WORD", r"\b\w+\b"),
    ("NOTSPACE", r"\S+"),
    ("SPACE", r"\s*"),
    ("DATA", r".*?"),
    ("GREEDYDATA", r".*"),
    ("GREEDYMULTILINE", r"(?s:.*)"),
    ("QUOTEDSTRING", r#"(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`)"#),
    ("QS", r"%{QUOTEDSTRING}"),
    ("INT", r"[+-]?[0-9]+"),
    ("BASE10NUM", r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"),
    ("NUMBER", r"%{BASE10NUM}"),
    ("BASE16NUM", r"[+-]?(?:0x)?[0-9A-Fa-f]+"),
    ("BASE16FLOAT", r"[+-]?(?:0x)?(?:[0-9A-Fa-f]+(?:\.[0-9A-Fa-f]*)?|\.[0-9A-Fa-f]+)"),
    ("POSINT", r"\b[1-9][0-9]*\b"),
    ("NONNEGINT", r"\b[0-9]+\b"),
    ("BOOL", r"(?i:true|false|yes|no|on|off)"),
    ("UUID", r"[A-Fa-f0-9]{8}-(?:[A-Fa-f0-9]{4}-){3}[A-Fa-f0-9]{12}"),
    ("USERNAME", r"[a-zA-Z0-9._-]+"),
    ("USER", r"%{USERNAME}"),
    ("EMAILLOCALPART", r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}"),
    ("EMAILADDRESS", r"%{EMAILLOCALPART}@%{HOSTNAME}"),
    ("URN", r"urn:[0-9A-Za-z][0-9A-Za-z-]{0,31}:[^\s]+"),
    // Networks.
    ("CISCOMAC", r"(?:[A-Fa-f0-9]{4}\.){2}[A-Fa-f0-9]{4}"),
    ("WINDOWSMAC", r"(?:[A-Fa-f0-9]{2}-){5}[A-Fa-f0-9]{2}"),
    ("COMMONMAC", r"(?:[A-Fa-f0-9]{2}:){5}[A-Fa-f0-9]{2}"),
    ("MAC", r"%{CISCOMAC}|%{WINDOWSMAC}|%{COMMONMAC}"),
    ("IPV4", r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"),
    (
        "IPV6",
        r"(?:(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*)?::(?:(?:[0-9A-Fa-f]{1,4}:)*%{IPV4}|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*)?)(?:%\w+)?",
    ),
    ("IP", r"%{IPV6}|%{IPV4}"),
    ("HOSTNAME", r"\b[0-9A-Za-z](?:[0-9A-Za-z_-]{0,62})(?:\.[0-9A-Za-z](?:[0-9A-Za-z_-]{0,62}))*\.?"),
    ("HOST", r"%{HOSTNAME}"),
    ("IPORHOST", r"%{IP}|%{HOSTNAME}"),
    ("HOSTPORT", r"%{IPORHOST}:%{POSINT}"),
    // Paths and addresses.
    ("UNIXPATH", r"(?:/[\w_%!$@:.,+~-]*)+"),
    ("WINPATH", r"(?:[A-Za-z]+:|\\)(?:\\[^\\?*]*)+"),
    ("PATH", r"%{UNIXPATH}|%{WINPATH}"),
    ("TTY", r"/dev/(?:pts|tty(?:[pq])?)(?:\w+)?/?(?:[0-9]+)"),
    ("URIPROTO", r"[A-Za-z][A-Za-z0-9+.-]*"),
    ("URIHOST", r"%{IPORHOST}(?::%{POSINT})?"),
    ("URIPATH", r"(?:/[A-Za-z0-9$.+!*'(){},~:;=@#%&_-]*)+"),
    ("URIQUERY", r"[A-Za-z0-9$.+!*'|(){},~@#%&/=:;_?\[\]<>-]*"),
    ("URIPARAM", r"\?%{URIQUERY}"),
    ("URIPATHPARAM", r"%{URIPATH}(?:%{URIPARAM})?"),
    ("URI", r"%{URIPROTO}://(?:%{USER}(?::[^@]*)?@)?(?:%{URIHOST})?(?:%{URIPATHPARAM})?"),
    // Times.
    (
        "MONTH",
        r"\b(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b",
    ),
    ("MONTHNUM", r"0?[1-9]|1[0-2]"),
    ("MONTHNUM2", r"0[1-9]|1[0-2]"),
    ("MONTHDAY", r"0[1-9]|[12][0-9]|3[01]|[1-9]"),
    (
        "DAY",
        r"\b(?i:mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:rs(?:day)?)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)\b",
    ),
    ("YEAR", r"(?:\d\d){1,2}"),
    ("HOUR", r"2[0-3]|[01]?[0-9]"),
    ("MINUTE", r"[0-5][0-9]"),
    ("SECOND", r"(?:[0-5]?[0-9]|60)(?:[:.,][0-9]+)?"),
    ("TIME", r"(?:%{HOUR}):(?:%{MINUTE})(?::(?:%{SECOND}))?"),
    ("DATE_US", r"(?:%{MONTHNUM})[/-](?:%{MONTHDAY})[/-]%{YEAR}"),
    ("DATE_EU", r"(?:%{MONTHDAY})[./-](?:%{MONTHNUM})[./-]%{YEAR}"),
    ("DATE", r"%{DATE_US}|%{DATE_EU}"),
    ("DATESTAMP", r"(?:%{DATE})[- ]%{TIME}"),
    ("TZ", r"(?:[APMCEHW][ESD]?[SD]?T|UTC|GMT)"),
    ("ISO8601_TIMEZONE", r"(?:Z|[+-](?:%{HOUR})(?::?(?:%{MINUTE}))?)"),
    ("ISO8601_SECOND", r"%{SECOND}"),
    (
        "TIMESTAMP_ISO8601",
        r"%{YEAR}-(?:%{MONTHNUM})-(?:%{MONTHDAY})[T ](?:%{HOUR}):?(?:%{MINUTE})(?::?(?:%{SECOND}))?(?:%{ISO8601_TIMEZONE})?",
    ),
    ("HTTPDATE", r"(?:%{MONTHDAY})/%{MONTH}/%{YEAR}:%{TIME} %{INT}"),
    ("HTTPDERROR_DATE", r"%{DAY} %{MONTH} (?:%{MONTHDAY}) %{TIME} %{YEAR}"),
    ("DATESTAMP_RFC822", r"%{DAY} %{MONTH} (?:%{MONTHDAY}) %{YEAR} %{TIME} %{TZ}"),
    ("DATESTAMP_RFC2822", r"%{DAY}, (?:%{MONTHDAY}) %{MONTH} %{YEAR} %{TIME} %{ISO8601_TIMEZONE}"),
    ("DATESTAMP_OTHER", r"%{DAY} %{MONTH} (?:%{MONTHDAY}) %{TIME} %{TZ} %{YEAR}"),
    ("DATESTAMP_EVENTLOG", r"%{YEAR}(?:%{MONTHNUM2})(?:%{MONTHDAY})(?:%{HOUR})(?:%{MINUTE})(?:%{SECOND})"),
    ("SYSLOGTIMESTAMP", r"%{MONTH} +(?:%{MONTHDAY}) %{TIME}"),
    ("UNIXTIME", r"\d{10}(?:\.\d+)?"),
    // Logs.
    (
        "LOGLEVEL",
        r"(?i:alert|trace|debug|notice|info(?:rmation)?|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|severe|emerg(?:ency)?|panic)",
    ),
    ("PROG", r"[\x21-\x5a\x5c\x5e-\x7e]+"),
    ("SYSLOGPROG", r"%{PROG:process.name}(?:\[%{POSINT:process.pid:int}\])?"),
    ("SYSLOGHOST", r"%{IPORHOST}"),
    ("SYSLOGFACILITY", r"<%{NONNEGINT}\.%{NONNEGINT}>"),
    (
        "SYSLOGBASE",
        r"%{SYSLOGTIMESTAMP:timestamp} (?:%{SYSLOGFACILITY} )?%{SYSLOGHOST:host.name} %{SYSLOGPROG}:",
    ),
    ("SYSLOGLINE", r"%{SYSLOGBASE} %{GREEDYDATA:message}"),
    ("HTTPDUSER", r"%{EMAILADDRESS}|%{USER}"),
    (
        "COMMONAPACHELOG",
        r#"%{IPORHOST:client_ip} (?:-|%{HTTPDUSER:ident}) (?:-|%{HTTPDUSER:user}) \[%{HTTPDATE:timestamp}\] "(?:%{WORD:method} %{NOTSPACE:url}(?: HTTP/%{NUMBER:http_version:string})?|%{DATA:request})" (?:-|%{INT:status:int}) (?:-|%{INT:bytes:int})"#,
    ),
    ("COMBINEDAPACHELOG", r#"%{COMMONAPACHELOG} "(?:-|%{DATA:referrer})" "(?:-|%{DATA:user_agent})""#),
    ("JAVACLASS", r"(?:[a-zA-Z$_][a-zA-Z$_0-9]*\.)*[a-zA-Z$_][a-zA-Z$_0-9]*"),
    ("JAVAFILE", r"[a-zA-Z$_0-9. -]+"),
    ("JAVAMETHOD", r"<(?:cl)?init>|[a-zA-Z$_][a-zA-Z$_0-9]*"),
    ("JAVALOGMESSAGE", r".*"),
    ("JAVATHREAD", r"[A-Z]{2}-Processor\d+"),
    (
        "TOMCAT_DATESTAMP",
        r"20%{YEAR}-(?:%{MONTHNUM})-(?:%{MONTHDAY}) (?:%{HOUR}):?(?:%{MINUTE})(?::?(?:%{SECOND})) %{ISO8601_TIMEZONE}",
    ),
    ("RUBY_LOGLEVEL", r"DEBUG|FATAL|ERROR|WARN|INFO"),
    (
        "RUBY_LOGGER",
        r"[DFEWI], \[%{TIMESTAMP_ISO8601:timestamp} #%{POSINT:process.pid:int}\] *%{RUBY_LOGLEVEL:level} -- +%{DATA:process.name}: %{GREEDYDATA:message}",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::regex::Pattern;

    #[test]
    fn every_pattern_of_the_library_compiles() {
        for (name, _) in LIBRARY {
            assert!(
                Pattern::grok(&format!("%{{{name}:x}}")).is_ok(),
                "{name}: {:?}",
                Pattern::grok(&format!("%{{{name}:x}}"))
            );
            assert_eq!(LIBRARY.iter().filter(|(n, _)| n == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (pattern, part) in [
            ("%{IPORHSOT:x}", "did you mean %{IPORHOST}?"),
            ("%{NUMBER:x:complex}", "is no type"),
            ("%{NUMBER:x", "without its"),
            ("plain", "takes nothing over"),
            ("(?=x)%{WORD:w}", "look-around"),
        ] {
            let error = Pattern::grok(pattern).err().unwrap_or_default();
            assert!(error.contains(part), "{pattern}: {error}");
        }
    }
}
