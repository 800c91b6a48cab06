//! What a program does to a record, and which programs are refused. Only with the cargo feature `vrl`.

use adapter_logformat::rules::program::{Outcome, Program, Runner};

const RECORD: &str = "{\"time\":\"2026-11-21T12:24:10Z\",\"message\":\"caf\\u00e9 \\\"x\\\"\",\"id\":123456789012345678901234,\"n\":1.50,\"user\":{\"id\":7,\"b\":[1,{}]}}\n";

fn run(source: &str) -> (Outcome, String) {
    let program = Program::compile(source).expect("compiles");
    let mut out = b"{\"before\":1}\n".to_vec();
    let start = out.len();
    out.extend_from_slice(RECORD.as_bytes());
    let outcome = Runner::default().run(&program, &mut out, start);
    (outcome, String::from_utf8(out[start..].to_vec()).expect("text"))
}

#[test]
fn what_a_program_leaves_alone_is_copied() {
    assert_eq!(run(".n = .n"), (Outcome::Kept, RECORD.to_owned()));
    let (outcome, text) = run(".n = 2\ndel(.time)\n.new = upcase(string!(.message))\n");
    assert_eq!(outcome, Outcome::Kept);
    let message = "\"message\":\"caf\\u00e9 \\\"x\\\"\"";
    assert_eq!(
        text,
        format!(
            "{{{message},\"id\":123456789012345678901234,\"n\":2,\"user\":{{\"id\":7,\"b\":[1,{{}}]}},\"new\":\"CAF\u{c9} \\\"X\\\"\"}}\n"
        )
    );
}

#[test]
fn abort_drops_and_errors_keep() {
    assert_eq!(run("if .n == 1.5 { abort }").0, Outcome::Dropped);
    for source in [
        ".x = parse_json!(.message)",
        ". = []",
        "for_each(range!(0, 100000)) -> |_i, _v| { .n = 1 }",
        ".x = string!(.n)",
    ] {
        assert_eq!(run(source), (Outcome::Failed, RECORD.to_owned()), "{source}");
    }
    // There is metadata to write to, and nobody reads it.
    assert_eq!(run("%x = 1").0, Outcome::Kept);
}

#[test]
fn problems_name_the_line_and_the_remedy() {
    for (source, said) in [
        (".a = 1\n.b = now()", "line 2: "),
        (".b = now()", "now is left out: its result differs"),
        (".b = parse_grok!(.message, \"%{WORD:x}\")", "use from: grok"),
        (".a = parse_json(.message)", "line 1: unhandled fallible assignment"),
        (".a = (", "line 1: syntax error"),
    ] {
        let problem = Program::compile(source).expect_err(source);
        assert!(problem.contains(said), "{source}: {problem}");
    }
}

#[test]
fn no_function_reaches_out_of_the_process() {
    for call in [
        "get_env_var!(\"HOME\")",
        "get_hostname!()",
        "dns_lookup!(\"example.com\")",
        "reverse_dns!(\"127.0.0.1\")",
        "http_request!(\"http://example.com\")",
        "validate_json_schema!(.message, \"/etc/passwd\")",
        "parse_proto!(.message, \"/etc/passwd\", \"x\")",
    ] {
        let problem = Program::compile(&format!(".x = {call}")).expect_err(call);
        assert!(problem.contains("undefined function"), "{call}: {problem}");
    }
}
