//! kubeconfig files, as kubectl merges them. Files in, one choice out; nothing else is read here.
//! <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::{Deserialize, Deserializer};

/// Larger files are none.
const LIMIT: u64 = 4 << 20;

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    current_context: Option<String>,
    #[serde(deserialize_with = "or_nothing")]
    clusters: Vec<Entry>,
    #[serde(deserialize_with = "or_nothing")]
    contexts: Vec<Entry>,
    #[serde(deserialize_with = "or_nothing")]
    users: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    name: String,
    cluster: Option<Cluster>,
    context: Option<Context>,
    user: Option<User>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Cluster {
    pub(super) server: String,
    pub(super) certificate_authority: Option<PathBuf>,
    pub(super) certificate_authority_data: Option<String>,
    pub(super) insecure_skip_tls_verify: bool,
    pub(super) tls_server_name: Option<String>,
    pub(super) proxy_url: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Context {
    cluster: String,
    user: String,
    pub(super) namespace: Option<String>,
}

/// Holds secrets, and is never printed.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct User {
    pub(super) token: Option<String>,
    #[serde(rename = "tokenFile")]
    pub(super) token_file: Option<PathBuf>,
    pub(super) client_certificate: Option<PathBuf>,
    pub(super) client_certificate_data: Option<String>,
    pub(super) client_key: Option<PathBuf>,
    pub(super) client_key_data: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) exec: Option<Exec>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User(***)")
    }
}

/// A program that gives credentials.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Exec {
    pub(super) api_version: String,
    pub(super) command: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) args: Vec<String>,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) env: Vec<Variable>,
    pub(super) install_hint: Option<String>,
    pub(super) interactive_mode: Option<String>,
    pub(super) provide_cluster_info: bool,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

/// `clusters: null` is what kubectl writes for none.
fn or_nothing<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// What a context says.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) cluster: Cluster,
    pub(super) context: Context,
    pub(super) user: User,
}

/// Reads the files and takes the context of this name, or the current one. Where several files speak of the same name, the first
/// counts; files that are not there are passed over when there are several.
pub(super) fn load(paths: &[PathBuf], context: Option<&str>) -> Result<Choice, String> {
    let mut files = Vec::new();
    for path in paths {
        match read(path) {
            Ok(file) => files.push(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && paths.len() > 1 => {}
            Err(error) => return Err(format!("kubeconfig {}: {error}", path.display())),
        }
    }
    choose(&files, context)
}

fn read(path: &Path) -> std::io::Result<File> {
    use std::io::Read as _;

    let mut text = String::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    // The parser's words would quote the file, and there are keys in it.
    let mut file: File = serde_saphyr::from_str(&text).map_err(|error| {
        let place = error.location().map_or(String::new(), |at| format!(" (line {})", at.line()));
        std::io::Error::other(format!("is no kubeconfig{place}"))
    })?;
    // Paths in it are relative to it.
    let absolute = |path: &mut Option<PathBuf>| {
        if let Some(path) = path {
            *path = dir.join(&*path);
        }
    };
    for entry in file.clusters.iter_mut().chain(&mut file.users) {
        if let Some(cluster) = &mut entry.cluster {
            absolute(&mut cluster.certificate_authority);
        }
        if let Some(user) = &mut entry.user {
            absolute(&mut user.token_file);
            absolute(&mut user.client_certificate);
            absolute(&mut user.client_key);
            if let Some(exec) = &mut user.exec
                && exec.command.contains('/')
            {
                exec.command = dir.join(&exec.command).to_string_lossy().into_owned();
            }
        }
    }
    Ok(file)
}

fn choose(files: &[File], wanted: Option<&str>) -> Result<Choice, String> {
    let current =
        files.iter().find_map(|file| file.current_context.as_deref().filter(|name| !name.is_empty()));
    let name = wanted
        .or(current)
        .ok_or("kubeconfig: no current-context; set one, or write context=NAME in the target")?;
    fn find<'a, T>(
        files: &'a [File],
        list: fn(&File) -> &Vec<Entry>,
        of: fn(&Entry) -> &Option<T>,
        name: &str,
    ) -> Option<&'a T> {
        files.iter().flat_map(list).find(|entry| entry.name == name).and_then(|entry| of(entry).as_ref())
    }
    let missing = |what: &str, name: &str| format!("kubeconfig: there is no {what} {name:?} in it");
    let context = find(files, |file| &file.contexts, |entry| &entry.context, name)
        .ok_or_else(|| missing("context", name))?
        .clone();
    let cluster = find(files, |file| &file.clusters, |entry| &entry.cluster, &context.cluster)
        .ok_or_else(|| missing("cluster", &context.cluster))?
        .clone();
    // A context without a user is one for a server that asks for none.
    let user = if context.user.is_empty() {
        User::default()
    } else {
        find(files, |file| &file.users, |entry| &entry.user, &context.user)
            .ok_or_else(|| missing("user", &context.user))?
            .clone()
    };
    if user.auth_provider.is_some() {
        return Err(
            "kubeconfig: auth-provider is gone from Kubernetes since 1.26; use an exec plug-in or a token"
                .to_owned(),
        );
    }
    if cluster.proxy_url.is_some() {
        return Err("kubeconfig: proxy-url is not supported; reach the API server directly".to_owned());
    }
    Ok(Choice { cluster, context, user })
}

/// PEM from `…-data`, which counts, or from a file.
pub(super) fn pem(
    what: &str,
    data: Option<&String>,
    file: Option<&PathBuf>,
) -> Result<Option<Vec<u8>>, String> {
    if let Some(data) = data {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim());
        return bytes.map(Some).map_err(|_| format!("kubeconfig: {what}-data is no base64"));
    }
    file.map(|path| std::fs::read(path).map_err(|error| format!("{what} {}: {error}", path.display())))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "apiVersion: v1\nkind: Config\ncurrent-context: dev\nclusters:\n- name: c\n  cluster: {server: 'https://one:6443', certificate-authority: ca.pem}\ncontexts:\n- name: dev\n  context: {cluster: c, user: u, namespace: shop}\nusers: null\npreferences: {}\n";
    const TWO: &str = "current-context: prod\nclusters:\n- name: c\n  cluster: {server: 'https://two'}\ncontexts:\n- name: prod\n  context: {cluster: c, user: ''}\nusers:\n- name: u\n  user: {token: s3cret, client-certificate-data: eA==}\n";

    fn both() -> Vec<File> {
        [ONE, TWO].into_iter().map(|text| serde_saphyr::from_str(text).unwrap()).collect()
    }

    #[test]
    fn the_first_file_counts_and_the_others_add() {
        let choice = choose(&both(), None).unwrap();
        assert_eq!(choice.cluster.server, "https://one:6443");
        assert_eq!(choice.context.namespace.as_deref(), Some("shop"));
        assert_eq!(choice.user.token.as_deref(), Some("s3cret"));
        assert!(!format!("{choice:?}").contains("s3cret"));
        let prod = choose(&both(), Some("prod")).unwrap();
        assert!(prod.context.namespace.is_none() && prod.user.token.is_none());
        assert!(choose(&both(), Some("none")).unwrap_err().contains("no context \"none\""));
        assert!(choose(&[], None).unwrap_err().contains("current-context"));
    }

    #[test]
    fn inline_data_is_base64() {
        assert_eq!(pem("x", Some(&"eA==".to_owned()), None), Ok(Some(b"x".to_vec())));
        assert!(pem("x", Some(&"?".to_owned()), None).unwrap_err().contains("base64"));
        assert!(pem("x", None, Some(&"/nonexistent".into())).is_err());
        assert_eq!(pem("x", None, None), Ok(None));
    }
}
