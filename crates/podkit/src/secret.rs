//! Secrets: given by file or environment variable, read afresh at each use, printed nowhere.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// Bytes read of a secret's file at most; a token or a password is far below.
const LIMIT: u64 = 64 << 10;

/// Where a secret comes from. A mounted file rotates (projected tokens, Secret volumes), so it is read at each use.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Secret {
    /// The content of a file, without the line end that editors leave.
    File(PathBuf),
    /// The value of an environment variable.
    Env(String),
}

/// Why a secret could not be read; names its source, never its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("secret file {path} cannot be read: {source}; mount it, or correct the path")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The variable is not there or not UTF-8.
    #[error("secret environment variable {0} is not set (or not UTF-8); set it with valueFrom.secretKeyRef")]
    Env(String),
    /// Too large to be a secret.
    #[error("secret file {0} is larger than 64 KiB; it is probably the wrong file")]
    TooLarge(PathBuf),
}

impl Secret {
    /// The secret as it is now.
    ///
    /// # Errors
    /// When the file or the variable cannot be read.
    pub fn read(&self) -> Result<String, SecretError> {
        match self {
            Self::Env(name) => std::env::var(name).map_err(|_| SecretError::Env(name.clone())),
            Self::File(path) => {
                let fail = |source| SecretError::File { path: path.clone(), source };
                let mut text = String::new();
                let file = std::fs::File::open(path).map_err(fail)?;
                std::io::Read::read_to_string(&mut std::io::Read::take(file, LIMIT + 1), &mut text)
                    .map_err(fail)?;
                if text.len() as u64 > LIMIT {
                    return Err(SecretError::TooLarge(path.clone()));
                }
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
                Ok(text)
            }
        }
    }

    /// The file to watch for a rotation, if it is one.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Env(_) => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "Secret(file {})", path.display()),
            Self::Env(name) => write!(f, "Secret(env {name})"),
        }
    }
}

/// `--print-config` shows where the secret is, which is no secret.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;

        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::File(path) => map.serialize_entry("file", path)?,
            Self::Env(name) => map.serialize_entry("env", name)?,
        }
        map.end()
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "A secret: {file: PATH} (re-read when it rotates) or {env: NAME}; never the value itself.",
            "properties": {
                "file": { "type": "string", "description": "A mounted file." },
                "env": { "type": "string", "description": "An environment variable." }
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1
        })
    }
}

/// A URL for output: the password of its userinfo replaced by `***`, the user name kept.
///
/// Works on every `scheme://user:password@host` of a text; what is none comes back as it is.
pub fn mask_url(text: &str) -> Cow<'_, str> {
    let (mut out, mut told, mut from) = (String::new(), 0, 0);
    while let Some(start) = text[from..].find("://").map(|i| from + i + 3) {
        from = start;
        let authority_end = text[start..].find(['/', '?', '#']).map_or(text.len(), |i| start + i);
        let Some(at) = text[start..authority_end].rfind('@').map(|i| start + i) else { continue };
        // A lone user name can be a token (https://TOKEN@host).
        let user_end = text[start..at].find(':').map_or(start, |i| start + i + 1);
        out.extend([&text[told..user_end], "***"]);
        (told, from) = (at, at);
    }
    if told == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[told..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_is_masked_and_the_rest_kept() {
        assert_eq!(mask_url("postgres://app:s3cr@et@db:5432/x?a=b@c"), "postgres://app:***@db:5432/x?a=b@c");
        assert_eq!(mask_url("https://TOKEN@host/p"), "https://***@host/p");
        assert_eq!(mask_url("http://host/p@q"), "http://host/p@q");
        assert_eq!(mask_url("not a url"), "not a url");
        assert_eq!(
            mask_url("psql postgres://a:one@x/ http://plain http://TOKEN@y http://b:two@z?"),
            "psql postgres://a:***@x/ http://plain http://***@y http://b:***@z?"
        );
    }

    #[test]
    fn a_secret_is_read_at_each_use_and_never_shown() {
        let path = std::env::temp_dir().join(format!("podkit-secret-{}", std::process::id()));
        std::fs::write(&path, "one\n").unwrap();
        let secret = Secret::File(path.clone());
        assert_eq!(secret.read().unwrap(), "one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(secret.read().unwrap(), "two");
        assert!(!format!("{secret:?}").contains("two"));
        std::fs::remove_file(&path).unwrap();
        assert!(secret.read().unwrap_err().to_string().contains("mount it"));
    }
}
