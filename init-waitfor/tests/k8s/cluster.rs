//! A pod of a cluster: an API server behind TLS, and a service account.

use serde_json::{Value, json};
use testkit::{PodDir, Proc, TestCa, TlsShim};

use crate::api::Api;
use crate::waitfor;

pub(crate) const TOKEN: &str = "eyJhbGciOi.service-account.token";
pub(crate) const JOBS: &str = "/apis/batch/v1/namespaces/shop/jobs";
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";

pub(crate) struct Cluster {
    pub(crate) pod: PodDir,
    pub(crate) ca: TestCa,
    pub(crate) api: Api,
    pub(crate) shim: TlsShim,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let (pod, ca, api) = (PodDir::new(), TestCa::new(), Api::start());
        let shim = TlsShim::to(api.addr(), &ca.server(&["127.0.0.1", "kubernetes.example"]));
        pod.write("sa/ca.crt", ca.pem());
        pod.write("sa/namespace", "shop");
        pod.write("sa/token", TOKEN);
        api.authorize(Some(&format!("Bearer {TOKEN}")));
        Cluster { pod, ca, api, shim }
    }

    /// Inside of the cluster.
    pub(crate) fn waitfor(&self) -> Proc {
        waitfor()
            .env("HOME", self.pod.path())
            .env("WAITFOR_SERVICE_ACCOUNT", self.pod.join("sa"))
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", self.shim.addr().port().to_string())
            .env("WAITFOR_MAX_INTERVAL", "300ms")
            .env("WAITFOR_TIMEOUT", "60s")
    }

    pub(crate) fn job(&self, status: Value) {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "shop"}, "status": status});
        self.api.put(JOBS, "migrate", job);
    }

    pub(crate) fn running(&self, failed: u64) {
        self.job(json!({"active": 1, "failed": failed}));
    }

    pub(crate) fn complete(&self) {
        self.job(json!({"succeeded": 1, "conditions": [
            {"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]}));
    }

    pub(crate) fn failed(&self) {
        self.job(json!({"failed": 3, "conditions": [
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]}));
    }
}
