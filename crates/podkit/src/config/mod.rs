//! `file → tree with places → ${VAR} → compare with the schema → typed → flags over it → check`
//!
//! Two stages: what was written (the typed configuration) and what it means (each tool compiles it). All problems of all stages are
//! reported in one run: what is wrong is taken out of the tree, and the rest is read on.

mod report;
mod shape;
mod tree;

use std::borrow::Cow;
use std::path::Path;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use report::{Place, Problem, Problems, Report};
pub use shape::nearest;
use tree::Node;

/// Bytes read of a configuration file at most: a ConfigMap holds 1 MiB.
const LIMIT: u64 = 4 << 20;
/// Problems reported at most; a file of another kind would give one per line.
const MOST_PROBLEMS: usize = 50;

/// What a configuration file of a tool says. Keys are snake_case; `#[serde(deny_unknown_fields, default)]` on every struct.
pub trait Config: DeserializeOwned + Serialize + JsonSchema + Default {
    /// Reports what no schema can say: addresses that do not parse, names that refer to nothing, patterns that do not compile.
    fn check(&self, _report: &mut Report) {}
}

/// A tool without a configuration file.
impl Config for () {}

/// The JSON Schema (draft-07) of `C`, pretty-printed.
pub fn schema<C: Config>() -> String {
    let mut text = serde_json::to_string_pretty(&schema_value::<C>()).unwrap_or_default();
    text.push('\n');
    text
}

fn schema_value<C: Config>() -> Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<C>().to_value()
}

/// `config` as YAML, as `--print-config` shows it. Secrets show where they come from; a password in a URL's userinfo, and a text under a key that
/// names a secret (such as a header `authorization`), show as `***`.
pub fn to_yaml<C: Config>(config: &C) -> String {
    let masked = serde_json::to_value(config).map(|mut value| {
        mask(&mut value);
        value
    });
    let shown = masked.map_err(|error| error.to_string());
    shown
        .and_then(|value| serde_saphyr::to_string(&value).map_err(|error| error.to_string()))
        .unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

fn mask(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(masked) = crate::secret::mask_url(text) {
                *text = masked;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::String(text) if names_a_secret(key) => "***".clone_into(text),
                    other => mask(other),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    ["authorization", "cookie", "password", "secret", "token", "api_key"]
        .iter()
        .any(|word| key.ends_with(word))
}

/// Reads `path` (nothing: the default configuration), lays `overlay` over it and checks the result. `env` answers `${VAR}`.
///
/// # Errors
/// All problems found.
pub fn load<C: Config>(
    path: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
    overlay: impl Fn(&mut C),
) -> Result<C, Problems> {
    let source = path.map_or_else(|| "command line".to_owned(), |path| path.display().to_string());
    let text = match path {
        None => String::new(),
        Some(path) => {
            read(path).map_err(|problem| Problems { source: source.clone(), problems: vec![problem] })?
        }
    };
    parse(&text, env, overlay).map_err(|problems| Problems { source, problems })
}

fn read(path: &Path) -> Result<String, Problem> {
    use std::io::Read;

    let fail = |error: std::io::Error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "mount it, or correct --config",
            std::io::ErrorKind::PermissionDenied => "let the container's user read it (defaultMode, fsGroup)",
            std::io::ErrorKind::InvalidData => "write it in UTF-8",
            _ => "correct --config",
        };
        Problem::new("", format!("cannot be read: {error}"), remedy)
    };
    let mut text = String::new();
    std::fs::File::open(path).map_err(fail)?.take(LIMIT + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > LIMIT {
        return Err(Problem::new("", "is larger than 4 MiB", "name a configuration file"));
    }
    Ok(text)
}

fn parse<C: Config>(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    overlay: impl Fn(&mut C),
) -> Result<C, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut config = C::default();
    let mut tree = None;
    if text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let mut node = Node::parse(text).map_err(|problem| vec![problem])?;
        node.fill(env, "", &mut problems);
        let whole = node.clone();
        let shape = shape::check(&mut node, &schema_value::<C>());
        // What a text is that could not be filled in, nobody knows yet.
        let known = |path: &str| problems.iter().any(|unfilled| within(path, &unfilled.path));
        let shape: Vec<_> = shape.into_iter().filter(|problem| !known(&problem.path)).collect();
        problems.extend(shape);
        for problem in &problems {
            node.prune(&problem.path);
        }
        config = typed(&mut node, &whole, &mut problems);
        tree = Some((node, whole));
    }
    overlay(&mut config);
    let mut report = Report::default();
    config.check(&mut report);
    for mut problem in report.problems {
        if let Some((node, _)) = &tree {
            problem.path = node.written(&problem.path);
        }
        // A value that was taken out above is not also "missing".
        let known = |other: &str| within(&problem.path, other) || within(other, &problem.path);
        if problems.iter().any(|earlier| !earlier.path.is_empty() && known(&earlier.path)) {
            continue;
        }
        problem.place = tree.as_ref().map(|(_, whole)| whole.locate(&problem.path)).unwrap_or_default();
        problems.push(problem);
    }
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort_by_key(|problem| problem.place);
    problems.dedup();
    if problems.len() > MOST_PROBLEMS {
        let more = problems.len() - MOST_PROBLEMS;
        problems.truncate(MOST_PROBLEMS);
        problems.push(Problem::new("", format!("and {more} more"), "is this the right file?"));
    }
    Err(problems)
}

/// Reads the typed configuration; each value that does not fit is reported and taken out, then the rest is read again.
fn typed<C: Config>(node: &mut Node, whole: &Node, problems: &mut Vec<Problem>) -> C {
    for _ in 0..MOST_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, C>(node.to_json()) {
            Ok(config) => return config,
            Err(error) => error,
        };
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { node.written(&path) };
        let what = error.inner().to_string();
        // After something has been taken out, what then is missing or does not fit around it is its consequence.
        let consequence = !problems.is_empty()
            && (what.starts_with("missing field") || problems.iter().any(|known| within(&known.path, &path)));
        if !consequence {
            let (what, remedy) = what.split_once("; ").unwrap_or((&what, ""));
            problems.push(Problem::new(&path, what, remedy).at(whole.locate(&path)));
        }
        if !node.prune(&path) {
            break;
        }
    }
    C::default()
}

/// True when `path` is `parent` or lies in it.
fn within(path: &str, parent: &str) -> bool {
    parent.is_empty()
        || path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::secret::Secret;
    use crate::units::{Dur, Size};

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        /// Where to
        sinks: Vec<Sink>,
        grace: Dur,
        buffer: Option<Size>,
        mode: Mode,
        workers: u8,
    }

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        /// Say it
        #[default]
        Loud,
        /// Do not
        Quiet,
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Sink {
        to: String,
        token: Option<Secret>,
    }

    /// What a sink may say of how it sends, beside what all of them say.
    #[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
    #[serde(default)]
    struct Flat {
        age: Option<Dur>,
        size: Option<Size>,
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
    #[serde(rename_all = "snake_case", deny_unknown_fields)]
    enum Login {
        Basic { user: String, password: Secret },
        Bearer(Secret),
    }

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Flattened {
        to: String,
        login: Option<Login>,
        #[serde(flatten)]
        flat: Flat,
    }

    impl Config for Flattened {
        fn check(&self, report: &mut Report) {
            if self.to.is_empty() {
                report.problem("to", "is missing", "");
            }
        }
    }

    #[test]
    fn a_flattened_value_is_named_and_makes_nothing_else_wrong() {
        let problems = |text: &str| -> Vec<String> {
            parse::<Flattened>(text, &env, |_| {}).unwrap_err().iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            problems("to: x\nage: 3\nsize: much\n"),
            [
                "2:6: age: 3 has no unit; write 3s or 3ms",
                "3:7: size: \"much\" is not a size; write for example 64KiB, 8MiB or 1024"
            ]
        );
        for (login, problem) in [
            ("bearer: abc", "2:17: login.bearer: is a text; write {file: …} or {env: …}"),
            ("token: {env: X}", "2:9: login.token: unknown key; known here: basic, bearer"),
            ("baerer: {env: X}", "2:9: login.baerer: unknown key; did you mean \"bearer\"?"),
            ("", "2:8: login: needs exactly one key; write one of: basic, bearer"),
            (
                "bearer: {env: X}, basic: {user: a, password: {env: X}}",
                "2:8: login: needs exactly one key; write one of: basic, bearer",
            ),
            ("basic: {password: {env: X}}", "2:16: login.basic.user: is missing; write user: …"),
        ] {
            assert_eq!(problems(&format!("to: x\nlogin: {{{login}}}\n")), [problem], "{login}");
        }
        assert_eq!(
            problems("to: x\nlogin: abc\n"),
            ["2:8: login: is a text; write a mapping with one of: basic, bearer"]
        );
        let good = "to: x\nlogin: {bearer: {env: X}}\nage: 3s\n";
        assert!(parse::<Flattened>(good, &env, |_| {}).is_ok());
    }

    impl Config for Sample {
        fn check(&self, report: &mut Report) {
            for (index, sink) in self.sinks.iter().enumerate() {
                if !sink.to.contains("://") {
                    report.problem(
                        format!("sinks[{index}].to"),
                        format!("{:?} is no URL", sink.to),
                        "write scheme://host",
                    );
                }
            }
        }
    }

    fn env(name: &str) -> Option<String> {
        (name == "WORKERS").then(|| "3".to_owned())
    }

    fn problems(text: &str) -> Vec<String> {
        parse::<Sample>(text, &env, |_| {}).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_is_read_with_variables_and_flags() {
        let text = "sinks:\n  - to: http://x\n    token: {file: /t}\ngrace: 3s\nworkers: ${WORKERS}\nbuffer: 8MiB\nmode: quiet\n";
        let config = parse::<Sample>(text, &env, |config| config.grace = Dur::secs(9)).unwrap();
        assert_eq!(config.workers, 3);
        assert_eq!(config.grace, Dur::secs(9));
        assert_eq!(config.buffer, Some(Size::mib(8)));
        assert_eq!(config.mode, Mode::Quiet);
        let again = parse::<Sample>(&to_yaml(&config), &env, |_| {}).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn what_is_shown_holds_no_password() {
        let text = "sinks:\n  - to: http://app:s3cret@x/\n    token: {file: /run/t}\n";
        let shown = to_yaml(&parse::<Sample>(text, &env, |_| {}).unwrap());
        assert!(shown.contains("http://app:***@x/") && shown.contains("/run/t"), "{shown}");
        let mut header = serde_json::json!({"headers": {"Authorization": "Bearer s3cret", "x-team": "shop"}});
        mask(&mut header);
        assert_eq!(header, serde_json::json!({"headers": {"Authorization": "***", "x-team": "shop"}}));
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse::<Sample>("# nothing yet\n", &env, |_| {}).unwrap(), Sample::default());
    }

    #[test]
    fn all_problems_come_in_one_run_in_the_order_of_the_file() {
        let text = "sink: []\nsinks:\n  - to: nowhere\n  - token: {fil: /t}\n    to: 5\ngrace: 3\nmode: quit\nworkers: 300\nbuffer: much\n";
        let found = problems(text);
        let expected = [
            "1:1: sink: unknown key; did you mean \"sinks\"?",
            "3:5: sinks[0].to: \"nowhere\" is no URL; write scheme://host",
            "sinks[1].token.fil: unknown key; did you mean \"file\"?",
            "5:9: sinks[1].to: is a number; write it in quotes",
            "6:8: grace: 3 has no unit; write 3s or 3ms",
            "7:7: mode: \"quit\" is not known; did you mean \"quiet\"?",
            "8:10: workers: 300 is too large; write 255 or less",
            "9:9: buffer: \"much\" is not a size; write for example 64KiB, 8MiB or 1024",
        ];
        for wanted in expected {
            assert!(found.iter().any(|line| line.contains(wanted)), "{wanted}\nnot in {found:#?}");
        }
    }

    #[test]
    fn a_missing_key_and_a_wrong_type_are_named() {
        assert_eq!(problems("sinks:\n  - {}\n"), ["2:5: sinks[0].to: is missing; write to: …"]);
        assert_eq!(problems("sinks: http://x\n"), ["1:8: sinks: is a text; write a list"]);
        assert_eq!(
            problems("workers: ${NOPE}\n"),
            ["1:10: workers: environment variable NOPE is not set; set it, or give a default: ${NOPE:-…}"]
        );
        assert_eq!(problems("just text\n"), ["1:1: is a text; write a mapping"]);
    }

    #[test]
    fn what_is_wrong_in_a_list_moves_nothing_else_of_it() {
        let text = "sinks:\n  - {to: '${A}${B}'}\n  - '${C}'\n  - to: 5\n  - {to: nowhere}\n  - {to: 'http://x'}\n  - {to: '-'}\n";
        let found = problems(text);
        let expected = [
            "2:10: sinks[0].to: environment variable A is not set; ",
            "2:10: sinks[0].to: environment variable B is not set; ",
            "3:5: sinks[1]: environment variable C is not set; ",
            "4:9: sinks[2].to: is a number; ",
            "5:6: sinks[3].to: \"nowhere\" is no URL; ",
            "7:6: sinks[5].to: \"-\" is no URL; ",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn near_words_are_suggested() {
        let known = ["orders", "tcp", "http", "explain", "min-days", "status"];
        for (word, meant) in [
            ("ordres", "orders"),
            ("order", "orders"),
            ("Orders", "orders"),
            ("tpc", "tcp"),
            ("htt", "http"),
            ("expalin", "explain"),
            ("min_dyas", "min-days"),
            ("statsu", "status"),
        ] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
        for far in ["billing", "x", ""] {
            assert_eq!(nearest(far, known), None, "{far}");
        }
    }

    #[test]
    fn an_unreadable_file_says_what_to_do() {
        let error = load::<Sample>(Some(Path::new("/nonexistent/x.yaml")), &env, |_| {}).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("/nonexistent/x.yaml: cannot be read"), "{text}");
        assert!(text.ends_with("mount it, or correct --config"), "{text}");
    }

    #[test]
    fn the_schema_is_draft_07_and_closed() {
        let schema: Value = serde_json::from_str(&schema::<Sample>()).unwrap();
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        assert_eq!(schema["additionalProperties"], false);
    }
}
