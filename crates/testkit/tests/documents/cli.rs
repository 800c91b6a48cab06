//! Command lines of ours in a text, and whether the real binary takes them.

use testkit::{PodDir, Proc};

use crate::yaml::{TOOLS, binary};

/// Each command line of one of the four, in words: after a prompt, `--`, a pipe, or by its path in the image.
pub(crate) fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let line = line.trim().trim_start_matches("$ ");
        let line = line.split("  #").next().unwrap_or(line);
        // `kubectl debug … --image init-waitfor:0.1.0 … -- ARGS`: the image's entrypoint gets ARGS.
        if let Some((before, args)) = line.split_once(" -- ")
            && line.starts_with("kubectl debug")
            && let Some((tool, _)) =
                TOOLS.iter().find(|(tool, _)| before.contains(&format!("--image {tool}:")))
        {
            found.push([vec![(*tool).to_owned()], words(args)].concat());
            continue;
        }
        let words = words(line);
        let name = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
        let starts = |at: usize| {
            at == 0
                || ["--", "|", "&&", ";"].contains(&words[at - 1].as_str())
                    && line.starts_with("kubectl exec")
                || at > 0 && words[at - 1] == "|"
        };
        let at = (0..words.len())
            .find(|at| starts(*at) && TOOLS.iter().any(|(tool, _)| *tool == name(&words[*at])));
        if let Some(at) = at {
            let end =
                words[at..].iter().position(|word| ["|", ">", "<", "&&", ";", "&"].contains(&word.as_str()));
            let mut command = words[at..end.map_or(words.len(), |end| at + end)].to_vec();
            command[0] = name(&command[0]);
            found.push(command);
        }
    }
    found
}

/// What is wrong with a command line; nothing is started.
pub(crate) fn check(command: &[String]) -> Option<String> {
    let (tool, args) = command.split_first()?;
    // Somebody's placeholders.
    let args: Vec<String> =
        args.iter().map(|arg| arg.replace("$DATABASE_URL", "postgres://app@db/app")).collect();
    let help = Proc::new(binary(tool)).arg("--help").run().expect_code(0).stdout();
    let subcommand = args.first().filter(|first| is_subcommand(&help, first));
    if let Some(subcommand) = subcommand {
        return subcommand_problem(tool, subcommand, &args[1..], &help);
    }
    let dir = PodDir::new();
    // The files that a line names need not exist here.
    if args.iter().any(|arg| arg == "--config" || arg.starts_with("--config=")) {
        return unknown_flags(tool, &args, &help);
    }
    let checked = Proc::new(binary(tool)).arg("--check").args(&args).current_dir(dir.path()).run();
    (checked.code() != Some(0)).then(|| format!("{}: {}", command.join(" "), checked.stderr()))
}

fn is_subcommand(help: &str, word: &str) -> bool {
    let commands = help.split("Commands:").nth(1).unwrap_or("");
    let commands = commands.split("\n\n").next().unwrap_or("");
    commands.lines().any(|line| line.split_whitespace().next() == Some(word) && line.starts_with("  "))
}

/// Subcommands act: only their flags are looked at.
fn subcommand_problem(tool: &str, subcommand: &str, args: &[String], help: &str) -> Option<String> {
    let own = Proc::new(binary(tool)).args([subcommand, "--help"]).run();
    if own.code() != Some(0) {
        return Some(format!("{tool} {subcommand}: there is no such subcommand"));
    }
    let flags: Vec<String> = args.iter().take_while(|arg| *arg != "--").cloned().collect();
    unknown_flags(tool, &flags, &format!("{help}\n{}", own.stdout()))
}

fn unknown_flags(tool: &str, args: &[String], help: &str) -> Option<String> {
    let flags =
        args.iter().take_while(|arg| *arg != "--").filter(|arg| arg.starts_with('-') && arg.len() > 1);
    let known = |flag: &str| {
        help.split(|c: char| c.is_whitespace() || c == ',' || c == '[' || c == '=').any(|word| word == flag)
    };
    let unknown: Vec<&str> =
        flags.map(|flag| flag.split('=').next().unwrap_or(flag)).filter(|flag| !known(flag)).collect();
    (!unknown.is_empty()).then(|| format!("{tool} knows no {}", unknown.join(", ")))
}

/// Words as a shell splits them, without expansions.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (None, c) => word.push(c),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    words
}

#[test]
fn commands_are_found_where_they_are() {
    let text = "$ init-waitfor dns://a \\\n   tcp://b:1 -- app\ncat x | adapter-logformat --from json | jq\nkubectl exec p -c x -- /ambassador-proxy tap -n 5\nkubectl debug p --image init-waitfor:0.1.0 -it -- status dns://a\nkubectl get pod   # ambassador-proxy\n";
    let found: Vec<String> = commands(text).iter().map(|words| words.join(" ")).collect();
    let wanted = [
        "init-waitfor dns://a tcp://b:1 -- app",
        "adapter-logformat --from json",
        "ambassador-proxy tap -n 5",
        "init-waitfor status dns://a",
    ];
    assert_eq!(found, wanted);
    assert_eq!(words("a 'b c' \"\" d"), ["a", "b c", "", "d"]);
}
