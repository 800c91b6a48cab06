//! `explain`: how a name is looked up, step by step.

use std::fmt::Write as _;

use podkit::Exit;
use podkit::dns::{Explanation, Resolver};

use crate::check::Check;
use crate::cli::{Cli, Output};
use crate::config::Config;
use crate::target::Targets;

/// # Errors
/// Code 1 when the name does not resolve; code 2 when the target has no host.
pub async fn explain(cli: &Cli, config: &Config, targets: &Targets, resolver: &Resolver) -> Result<(), Exit> {
    let check = targets.list.last().map(|target| &target.check);
    let Some(host) = check.and_then(Check::host) else {
        return Err(Exit::usage(
            "init-waitfor: this target has no host to look up; write explain dns://NAME",
        ));
    };
    let (resolver, kind) = match check {
        Some(Check::Dns(dns)) => (dns.resolver(resolver), dns.kind),
        _ => (resolver.clone(), None),
    };
    let told = resolver.within(config.attempt_timeout.get()).explain(&host, kind).await;
    let text = match cli.wait.output {
        Output::Json => format!("{}\n", serde_json::to_string(&told).unwrap_or_default()),
        Output::Text => as_text(&told),
    };
    podkit::cli::print(&text)?;
    if told.error.is_none() { Ok(()) } else { Err(Exit::code(1)) }
}

fn as_text(told: &Explanation) -> String {
    let mut text = String::new();
    let servers: Vec<String> = told.servers.iter().map(ToString::to_string).collect();
    let dots = told.name.trim_end_matches('.').matches('.').count();
    let _ = writeln!(text, "{} {}", told.name, told.asked);
    let _ = writeln!(text, "  servers   {}", servers.join(" "));
    let _ = writeln!(
        text,
        "  search    {}",
        if told.search.is_empty() { "-".to_owned() } else { told.search.join(" ") }
    );
    let _ = writeln!(
        text,
        "  ndots     {} (the name has {dots}{})",
        told.ndots,
        if told.name.ends_with('.') {
            " and ends with one: tried as it is, no search"
        } else if dots >= told.ndots {
            ": tried as it is first"
        } else {
            ": search list first"
        }
    );
    if !told.without_dns.is_empty() {
        let _ = writeln!(
            text,
            "  hosts     {} (wins; the DNS is asked only for this listing)",
            told.without_dns.join(" ")
        );
    }
    let width = |of: &dyn Fn(&podkit::dns::Step) -> usize, least: usize| {
        told.steps.iter().map(of).max().unwrap_or(0).max(least)
    };
    let name = width(&|step| step.name.len(), 9);
    let server = width(&|step| step.server.to_string().len(), 6);
    let rcode = width(&|step| step.rcode.len(), 5);
    let _ = writeln!(
        text,
        "\n  {:<name$}  {:<5}  {:<server$}  {:<rcode$}  {:>7}  ANSWER",
        "CANDIDATE", "TYPE", "SERVER", "RCODE", "TIME"
    );
    for candidate in &told.candidates {
        for step in told.steps.iter().filter(|step| step.candidate == *candidate) {
            let ttl = step.ttl.map_or_else(String::new, |ttl| format!(" (ttl {ttl}s)"));
            let _ = writeln!(
                text,
                "  {:<name$}  {:<5}  {:<server$}  {:<rcode$}  {:>5}ms  {}{ttl}",
                step.name,
                step.kind,
                step.server.to_string(),
                step.rcode,
                step.took_ms,
                step.answers.join(", "),
            );
        }
    }
    let _ = match (&told.chosen, &told.error) {
        (Some(chosen), _) => writeln!(text, "\n=> {chosen}: {}", told.values.join(", ")),
        (None, error) => {
            writeln!(text, "\n=> does not resolve: {}", error.as_deref().unwrap_or("no candidate answered"))
        }
    };
    text
}
