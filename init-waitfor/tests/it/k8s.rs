//! Objects of a cluster, asked from an API server that speaks the real one's JSON.

use serde_json::{Value, json};
use testkit::fake::{FakeHttp, Reply};
use testkit::{PodDir, Proc, TestCa, TlsShim};

use crate::waitfor;

const TOKEN: &str = "eyJhbGciOi.service-account.token";

struct Cluster {
    pod: PodDir,
    api: FakeHttp,
    shim: TlsShim,
}

impl Cluster {
    fn new() -> Self {
        let (pod, ca, api) = (PodDir::new(), TestCa::new(), FakeHttp::start());
        let shim = TlsShim::to(api.addr(), &ca.server(&["127.0.0.1"]));
        pod.write("sa/ca.crt", ca.pem());
        pod.write("sa/namespace", "shop");
        pod.write("sa/token", TOKEN);
        let cluster = Cluster { pod, api, shim };
        cluster.object("/nothing", &json!({}));
        cluster
    }

    /// This object at this path, and nothing else.
    fn object(&self, path: &str, object: &Value) {
        let (path, object) = (path.to_owned(), object.clone());
        self.api.decide(move |request| {
            if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
                return Some(Reply::json(401, &json!({"kind": "Status", "message": "Unauthorized"})).into());
            }
            if request.target == path {
                return Some(Reply::json(200, &object).into());
            }
            Some(
                Reply::json(
                    404,
                    &json!({"kind": "Status", "reason": "NotFound", "message": "jobs.batch \"x\" not found"}),
                )
                .into(),
            )
        });
    }

    fn waitfor(&self) -> Proc {
        waitfor()
            .env("WAITFOR_SERVICE_ACCOUNT", self.pod.join("sa"))
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", self.shim.addr().port().to_string())
    }
}

const JOB: &str = "/apis/batch/v1/namespaces/shop/jobs/migrate";

fn job(kind: &str, reason: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate", "namespace": "shop"},
        "status": {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": "m"}], "succeeded": 1}
    })
}

#[test]
fn a_job_that_completes_fails_or_is_gone() {
    let cluster = Cluster::new();
    cluster.object(JOB, &json!({"status": {"active": 1, "failed": 1}}));
    let wait = cluster.waitfor().args(["--max-interval", "300ms", "k8s:job/migrate"]).spawn();
    wait.wait_log("running", |line| line["reason"] == "1 active, 0 succeeded, 1 failed");
    cluster.object(JOB, &job("Complete", ""));
    wait.wait_exit().expect_code(0);

    cluster.object(JOB, &job("Failed", "BackoffLimitExceeded"));
    let done = cluster.waitfor().args(["--timeout", "0", "k8s:job/migrate"]).run();
    done.expect_code(85).expect_stderr("BackoffLimitExceeded");

    // Removed by ttlSecondsAfterFinished.
    cluster.object("/nothing", &json!({}));
    cluster
        .waitfor()
        .args(["--timeout", "1s", "k8s:job/migrate"])
        .run()
        .expect_code(124)
        .expect_stderr("not found");
    cluster.waitfor().args(["k8s:job/migrate?missing=ok"]).run().expect_code(0);
    cluster.waitfor().args(["--timeout", "0", "k8s:job/migrate?missing=fail"]).run().expect_code(85);
    cluster.waitfor().args(["k8s:job/migrate?for=delete"]).run().expect_code(0);
}

#[test]
fn a_service_by_its_endpoint_slices() {
    let cluster = Cluster::new();
    let path = "/apis/discovery.k8s.io/v1/namespaces/data/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Ddb";
    cluster.object(path, &json!({"kind": "EndpointSliceList", "items": [{"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]}]}));
    cluster.waitfor().args(["status", "k8s:service/db?namespace=data"]).run().expect_code(0);
    cluster
        .waitfor()
        .args(["status", "k8s:svc/db?namespace=data&min=2"])
        .run()
        .expect_code(1)
        .expect_stdout("1 ready endpoints");
}

#[test]
fn other_objects_by_condition_and_path() {
    let cluster = Cluster::new();
    let path = "/apis/cert-manager.io/v1/namespaces/shop/certificates/web";
    cluster.object(
        path,
        &json!({"status": {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Issued"}}),
    );
    for (wanted, code) in [
        ("condition=Ready", 0),
        ("condition=Issuing", 1),
        ("jsonpath={.status.phase}=Issued", 0),
        ("jsonpath={.status.phase}=New", 1),
    ] {
        let target = format!("k8s:certificates.v1.cert-manager.io/web?for={wanted}");
        cluster.waitfor().args(["status", &target]).run().expect_code(code);
    }
}

#[test]
fn a_403_says_which_role_would_allow_it() {
    let cluster = Cluster::new();
    cluster.api.decide(|_| {
        Some(
            Reply::json(403, &json!({"kind": "Status", "message": "jobs.batch \"migrate\" is forbidden"}))
                .into(),
        )
    });
    let done = cluster.waitfor().args(["--timeout", "1s", "k8s:job/migrate"]).run();
    done.expect_code(84).expect_stderr("kind: Role").expect_stderr("resourceNames: [migrate], verbs: [get]");
    assert!(!done.stderr().contains(TOKEN));
}

#[test]
fn a_rotated_token_is_read_again_and_no_cluster_is_said() {
    let cluster = Cluster::new();
    cluster.object(JOB, &job("Complete", ""));
    cluster.pod.write("sa/token", "old-token-value");
    let wait = cluster.waitfor().args(["--max-interval", "300ms", "k8s:job/migrate"]).spawn();
    wait.wait_log("refused", |line| line["reason"].as_str().unwrap_or("").contains("refuses the token"));
    cluster.pod.write("sa/token", TOKEN);
    let done = wait.wait_exit();
    done.expect_code(0);
    assert!(!done.stderr().contains("old-token-value"));
    waitfor()
        .args(["status", "k8s:job/migrate"])
        .run()
        .expect_code(1)
        .expect_stdout("KUBERNETES_SERVICE_HOST");
}
