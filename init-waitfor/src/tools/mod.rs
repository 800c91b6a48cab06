//! The subcommands beside waiting.

use podkit::Exit;

pub mod explain;
pub mod fetch;
pub mod install;
pub mod owner;
pub mod place;
pub mod status;
pub mod unpack;
pub mod write;

/// What a termination message may take; Kubernetes keeps 4 KiB of it and 12 KiB of all containers of a pod.
const LIMIT: usize = 2048;

/// The termination message as one JSON line, as that of a wait.
pub fn last_word(tool: &'static str) -> impl Fn(Exit) -> Exit {
    move |exit| {
        let Some(message) = &exit.message else { return exit };
        // Shorter and shorter until it fits: JSON cut in the middle is no JSON.
        let text = [1500, 700, 300].into_iter().find_map(|words| {
            let error: String = message.chars().take(words).collect();
            let line = serde_json::json!({ "reason": tool, "code": exit.code, "error": error }).to_string();
            (line.len() <= LIMIT).then_some(line)
        });
        exit.clone().termination(text.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_word_is_short_json() {
        for message in ["no", &"é\"\n".repeat(2000)] {
            let text = last_word("fetch")(Exit::failed(message)).termination.unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(text.len() <= LIMIT && json["reason"] == "fetch" && json["code"] == 1);
        }
        assert_eq!(last_word("fetch")(Exit::done()), Exit::done());
    }
}
