//! Outside of a cluster: kubeconfig files.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use testkit::{Proc, TlsShim, eventually};

use crate::cluster::{Cluster, TOKEN};
use crate::waitfor;

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A file with one context, `cluster` and `user` in flow style.
fn file(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: dev\npreferences: {{}}\nclusters:\n- name: c\n  cluster: {{{cluster}}}\ncontexts:\n- name: dev\n  context: {{cluster: c, user: u, namespace: shop}}\nusers:\n- name: u\n  user: {{{user}}}\n"
    )
}

fn outside(cluster: &Cluster, config: &str) -> Proc {
    let path = cluster.pod.write("conf/config", config);
    waitfor().env("KUBECONFIG", path).args(["status", "k8s:job/migrate"])
}

fn server(cluster: &Cluster) -> String {
    format!(
        "server: 'https://{}', certificate-authority-data: {}",
        cluster.shim.addr(),
        base64(cluster.ca.pem())
    )
}

#[test]
fn tokens_token_files_and_passwords() {
    let cluster = Cluster::new();
    cluster.complete();
    let at = server(&cluster);
    outside(&cluster, &file(&at, &format!("token: {TOKEN}"))).run().expect_code(0);
    cluster.pod.write("conf/t", TOKEN);
    // Relative to the file, and before a token, because it is the one that is renewed.
    outside(&cluster, &file(&at, "token: stale, tokenFile: t")).run().expect_code(0);
    cluster.api.authorize(Some("Basic dTpzM2NyZXQtcHc="));
    let done = outside(&cluster, &file(&at, "username: u, password: s3cret-pw")).run();
    done.expect_code(0);
    let done = outside(&cluster, &file(&at, "username: u, password: wrong-s3cret")).run();
    done.expect_code(1).expect_stdout("refuses our credentials");
    assert!(!done.stdout().contains("wrong-s3cret") && !done.stderr().contains("wrong-s3cret"));
    // Without a user at all.
    cluster.api.authorize(None);
    let none = file(&at, "").replace("user: u,", "user: '',");
    outside(&cluster, &none).run().expect_code(0);
}

#[test]
fn trust_by_data_file_name_or_not_at_all() {
    let cluster = Cluster::new();
    cluster.complete();
    let (token, address) = (format!("token: {TOKEN}"), cluster.shim.addr());
    cluster.pod.write("conf/ca.pem", cluster.ca.pem());
    let by_file = format!("server: 'https://{address}', certificate-authority: ca.pem");
    outside(&cluster, &file(&by_file, &token)).run().expect_code(0);
    let nobody = format!("server: 'https://{address}'");
    outside(&cluster, &file(&nobody, &token)).run().expect_code(1).expect_stdout("certificate");
    let anyone = format!("{nobody}, insecure-skip-tls-verify: true");
    outside(&cluster, &file(&anyone, &token)).run().expect_code(0);
    // The server's certificate is for other names than the address.
    let other = TlsShim::to(cluster.api.addr(), &cluster.ca.server(&["kubernetes.example"]));
    let other = format!("server: 'https://{}', certificate-authority: ca.pem", other.addr());
    let keep = TlsShim::to(cluster.api.addr(), &cluster.ca.server(&["kubernetes.example"]));
    let named = format!(
        "server: 'https://{}', certificate-authority: ca.pem, tls-server-name: kubernetes.example",
        keep.addr()
    );
    outside(&cluster, &file(&named, &token)).run().expect_code(0);
    outside(&cluster, &file(&other, &token)).run().expect_code(1);
    // Behind a path, as a gateway has it.
    let path = format!("server: 'http://{}/k8s/clusters/c-1'", cluster.api.addr());
    outside(&cluster, &file(&path, &token)).run().expect_code(1);
    assert!(
        cluster
            .api
            .asked("get")
            .iter()
            .any(|asked| asked.path.starts_with("/k8s/clusters/c-1/apis/batch/v1/"))
    );
}

#[test]
fn client_certificates() {
    let cluster = Cluster::new();
    cluster.complete();
    cluster.api.authorize(None);
    let shim = TlsShim::mutual(cluster.api.addr(), &cluster.ca.server(&["127.0.0.1"]), &cluster.ca);
    let (cert, key) = cluster.ca.client("me").write(&cluster.pod, "conf");
    let at = format!(
        "server: 'https://{}', certificate-authority-data: {}",
        shim.addr(),
        base64(cluster.ca.pem())
    );
    let text = |path: &std::path::Path| base64(&std::fs::read_to_string(path).unwrap());
    let data = format!("client-certificate-data: {}, client-key-data: {}", text(&cert), text(&key));
    outside(&cluster, &file(&at, &data)).run().expect_code(0);
    let files = format!("client-certificate: '{}', client-key: '{}'", cert.display(), key.display());
    outside(&cluster, &file(&at, &files)).run().expect_code(0);
    outside(&cluster, &file(&at, "token: x")).run().expect_code(1);
    let half = format!("client-certificate: '{}'", cert.display());
    outside(&cluster, &file(&at, &half)).run().expect_code(1).expect_stdout("one is missing");
}

#[test]
fn several_files_contexts_and_the_home_directory() {
    let cluster = Cluster::new();
    cluster.complete();
    let good = file(&server(&cluster), &format!("token: {TOKEN}"));
    let one = cluster.pod.write("one", "current-context: dev\nclusters: null\ncontexts:\n- name: other\n  context: {cluster: c, user: u, namespace: elsewhere}\n");
    let two = cluster.pod.write("two", &good);
    let list = format!("{}:{}:{}", one.display(), cluster.pod.join("missing").display(), two.display());
    let status = |target: &str| waitfor().env("KUBECONFIG", &list).args(["status", target]).run();
    status("k8s:job/migrate").expect_code(0);
    status("k8s:job/migrate?context=other").expect_code(1).expect_stdout("not found");
    status("k8s:job/migrate?context=other&namespace=shop").expect_code(0);
    status("k8s:job/migrate?context=none").expect_code(1).expect_stdout("no context");
    cluster.pod.write(".kube/config", &good);
    waitfor().env("HOME", cluster.pod.path()).args(["status", "k8s:job/migrate"]).run().expect_code(0);
    waitfor()
        .env("HOME", "/nonexistent")
        .args(["status", "k8s:job/migrate"])
        .run()
        .expect_code(1)
        .expect_stdout("KUBERNETES_SERVICE_HOST");
    // A file that is none is told by its line, and not quoted: there are keys in it.
    let bad = cluster.pod.write("bad", "users:\n- name: u\n  user: [s3cret-in-file\n");
    let done = waitfor().env("KUBECONFIG", bad).args(["status", "k8s:job/migrate"]).run();
    done.expect_code(1).expect_stdout("is no kubeconfig");
    assert!(!done.stdout().contains("s3cret-in-file") && !done.stderr().contains("s3cret-in-file"));
    for (user, says) in [
        ("auth-provider: {name: gcp}", "auth-provider"),
        ("exec: {apiVersion: v9, command: x}", "apiVersion"),
    ] {
        outside(&cluster, &file(&server(&cluster), user)).run().expect_code(1).expect_stdout(says);
    }
}

#[test]
fn programs_that_give_credentials() {
    let cluster = Cluster::new();
    cluster.running(0);
    let program = |text: &str| {
        let path = cluster.pod.write("conf/login", format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let exec = |more: &str| {
        let user = format!(
            "exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./login, args: [--for, shop], env: [{{name: WHO, value: me}}], provideClusterInfo: true, interactiveMode: IfAvailable{more}}}"
        );
        file(&server(&cluster), &user)
    };
    let answer = |token: &str, until: &str| {
        format!(
            "cat <<X\n{{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{{\"token\":\"{token}\",\"expirationTimestamp\":\"{until}\"}}}}\nX"
        )
    };
    let runs = cluster.pod.join("runs");
    let count = format!("echo \"$@ $WHO $KUBERNETES_EXEC_INFO\" >> {}", runs.display());
    program(&format!("{count}\n{}", answer(TOKEN, "2999-01-01T00:00:00Z")));
    let config = cluster.pod.write("conf/config", exec(""));
    let wait =
        waitfor().env("KUBECONFIG", &config).args(["--max-interval", "200ms", "k8s:job/migrate"]).spawn();
    eventually("a watch", || (cluster.api.watching() == 1).then_some(()));
    cluster.complete();
    wait.wait_exit().expect_code(0);
    // Once for the get and the watch, and told what it asked for.
    let lines = cluster.pod.lines("runs");
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("--for shop me {") && lines[0].contains("\"interactive\":false"),
        "{lines:?}"
    );
    assert!(lines[0].contains(&format!("https://{}", cluster.shim.addr())), "{lines:?}");
    // One that gives an old token is asked again.
    program(&format!("{count}\n{}", answer("stale-s3cret", "2999-01-01T00:00:00Z")));
    let wait =
        waitfor().env("KUBECONFIG", &config).args(["--max-interval", "200ms", "k8s:job/migrate"]).spawn();
    wait.wait_log("refused", |line| {
        line["reason"].as_str().unwrap_or("").contains("refuses our credentials")
    });
    program(&answer(TOKEN, "2999-01-01T00:00:00Z"));
    let done = wait.wait_exit();
    done.expect_code(0);
    assert!(!done.stderr().contains("stale-s3cret"));
    // One that hangs ends with the attempt, with all that it started.
    program("sleep 987654 & sleep 987654");
    let hung = outside(&cluster, &exec("")).args(["--attempt-timeout", "500ms"]).run();
    hung.expect_code(1);
    eventually("no sleeper", || {
        let found = std::process::Command::new("pgrep").args(["-f", "sleep 987654"]).output().unwrap();
        found.stdout.is_empty().then_some(())
    });
    program("exit 3");
    outside(&cluster, &exec("")).run().expect_code(1).expect_stdout("exit status: 3");
    std::fs::remove_file(cluster.pod.join("conf/login")).unwrap();
    let hint = exec(", installHint: 'bring the login program'");
    outside(&cluster, &hint).run().expect_code(1).expect_stdout("bring the login program");
}
