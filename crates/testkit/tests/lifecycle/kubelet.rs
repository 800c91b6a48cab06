//! A kubelet of our own, as far as KEP-753 goes: `init containers in order → app → the end in reverse`.
//!
//! A native sidecar is started when its process is up and its startupProbe has passed; a plain init container when it
//! has ended with 0. Who ends unasked is started again, here without the back-off. When the app has ended, the sidecars
//! get SIGTERM one by one in reverse; when the grace is over, who is left gets SIGTERM, 2 s, and SIGKILL.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Exited, Proc, Running, Stream, eventually, http, timeout};

use crate::container::{Container, Image};
use crate::pod;
use crate::volumes::Volumes;
use crate::world::World;
use crate::yaml::{self, list, text};

/// What the kubelet leaves a container after an overrun.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Created(String),
    /// A sidecar or an app container passed its startupProbe.
    Started(String),
    Term(String),
    Killed(String),
    /// With its exit code, or 128 and the signal.
    Ended(String, i32),
}

#[derive(Debug)]
pub(crate) struct Kubelet<'a> {
    pub(crate) world: &'a World,
    pub(crate) volumes: Volumes,
    pub(crate) events: Vec<Event>,
    spec: Value,
    containers: Vec<Managed>,
    env: BTreeMap<&'static str, String>,
}

#[derive(Debug)]
struct Managed {
    name: String,
    spec: Value,
    image: Image,
    /// A plain init container, a sidecar, or an app container.
    kind: Kind,
    now: Option<Running>,
    before: Vec<Exited>,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Init,
    Sidecar,
    App,
}

impl<'a> Kubelet<'a> {
    /// The first pod of a manifest in examples/pods.
    pub(crate) fn new(manifest: &str, world: &'a World) -> Self {
        let documents = yaml::read(&yaml::root().join("examples/pods").join(manifest));
        Self::made_of(&documents, world)
    }

    /// The first pod among documents.
    pub(crate) fn made_of(documents: &[Value], world: &'a World) -> Self {
        let pods = pod::all(documents);
        let pod = pods.first().expect("a pod");
        let volumes = Volumes::make(pod.spec, documents, world);
        let dir = volumes.dir();
        dir.write("etc/resolv.conf", world.resolv_conf());
        dir.write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
        dir.write("etc/passwd", "app:x:65532:65532::/:/bin/false\n");
        for (name, content) in world.stand_ins() {
            executable(&dir.write(Path::new("stand-in").join(name), content));
        }
        let managed = |container: &pod::Container<'_>| Managed {
            name: container.name.to_owned(),
            spec: container.spec.clone(),
            image: Image::of(container.image()),
            kind: match (container.init, container.spec["restartPolicy"] == "Always") {
                (true, false) => Kind::Init,
                (true, true) => Kind::Sidecar,
                (false, _) => Kind::App,
            },
            now: None,
            before: Vec::new(),
            done: false,
        };
        let containers = pod.containers.iter().map(managed).collect();
        let env = BTreeMap::from([
            ("metadata.name", format!("{}-0", pod.name)),
            ("metadata.namespace", "default".to_owned()),
            ("metadata.uid", "0b6f4f52-0c3f-4f3e-9d0c-5a4f0f6f6d52".to_owned()),
            ("spec.nodeName", "node-1".to_owned()),
            ("status.podIP", "127.0.0.1".to_owned()),
        ]);
        Self { world, volumes, events: Vec::new(), spec: pod.spec.clone(), containers, env }
    }

    /// Starts everything in order and waits until the pod is ready (a Job's app: until it runs).
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.start_with(|_, _| ());
    }

    /// [`Kubelet::start`], calling `created` after each creation of a container: the world may change while an init
    /// container waits for it.
    #[track_caller]
    pub(crate) fn start_with(&mut self, mut created: impl FnMut(&str, &Self)) {
        self.containers.iter_mut().for_each(|container| container.done = false);
        for at in 0..self.containers.len() {
            self.create(at);
            let name = self.containers[at].name.clone();
            created(&name, self);
            match self.containers[at].kind {
                Kind::Init => self.wait_init(at),
                Kind::Sidecar => self.wait_started(at),
                // App containers start side by side.
                Kind::App => {}
            }
        }
        for at in 0..self.containers.len() {
            if self.containers[at].kind == Kind::App && !self.is_job() {
                self.wait_started(at);
            }
        }
        if !self.is_job() {
            self.until("the pod is ready", |pod| pod.is_ready().then_some(()));
        }
    }

    /// Starts containers in order up to `name`, and returns as soon as `reached` says so.
    #[track_caller]
    pub(crate) fn start_until(&mut self, name: &str, reached: impl FnMut() -> Option<()>) {
        for at in 0..=self.position(name) {
            self.create(at);
            match self.containers[at].kind {
                _ if self.containers[at].name == name => {}
                Kind::Init => self.wait_init(at),
                _ => self.wait_started(at),
            }
        }
        eventually(&format!("{name} got that far"), reached);
    }

    fn is_job(&self) -> bool {
        self.spec["restartPolicy"] == "Never" || self.spec["restartPolicy"] == "OnFailure"
    }

    fn create(&mut self, at: usize) {
        let container = self.container(at);
        std::fs::create_dir_all(&container.root).expect("a root");
        std::fs::write(&container.termination_log, "").expect("a termination log");
        writable(&container.termination_log);
        let managed = &mut self.containers[at];
        managed.now = Some(container.proc().spawn());
        self.events.push(Event::Created(managed.name.clone()));
    }

    fn container(&self, at: usize) -> Container {
        let managed = &self.containers[at];
        let (own, of_pod) = (&managed.spec["securityContext"], &self.spec["securityContext"]);
        let id = |key: &str| own[key].as_u64().or(of_pod[key].as_u64()).expect("a user by number");
        let dir = self.volumes.dir();
        let env = self.env(&managed.spec);
        let mut command: Vec<String> =
            list(&managed.spec["command"]).iter().map(|w| expand(text(w), &env)).collect();
        if command.is_empty() {
            command.clone_from(&managed.image.entrypoint);
        }
        command.extend(list(&managed.spec["args"]).iter().map(|word| expand(text(word), &env)));
        Container {
            image: managed.image.clone(),
            command,
            env,
            mounts: self.volumes.mounts(&managed.spec),
            dir: managed.spec["workingDir"].as_str().unwrap_or("/").to_owned(),
            user: (id("runAsUser"), id("runAsGroup")),
            groups: of_pod["fsGroup"].as_u64(),
            etc: dir.join("etc"),
            termination_log: dir.join(format!("{}.termination", managed.name)),
            stand_in: dir.join("stand-in"),
            root: dir.join(format!("{}.root", managed.name)),
        }
    }

    fn env(&self, container: &Value) -> Vec<(String, String)> {
        let value = |variable: &Value| {
            let from = &variable["valueFrom"];
            if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
                return self.env.get(path).unwrap_or_else(|| panic!("no field {path}")).clone();
            }
            if let Some(secret) = from["secretKeyRef"]["name"].as_str() {
                let files = self.world.secret(secret);
                let key = text(&from["secretKeyRef"]["key"]);
                let found = files.into_iter().find(|(name, _)| name == key);
                return found.unwrap_or_else(|| panic!("no secret {secret}/{key}")).1;
            }
            text(&variable["value"]).to_owned()
        };
        list(&container["env"]).iter().map(|v| (text(&v["name"]).to_owned(), value(v))).collect()
    }

    /// A plain init container is run again until it ends with 0.
    #[track_caller]
    fn wait_init(&mut self, at: usize) {
        let deadline = Instant::now() + timeout() * 2;
        loop {
            let code = self.wait_end(at, deadline.saturating_duration_since(Instant::now()));
            if code == 0 {
                self.containers[at].done = true;
                return;
            }
            let said = self.containers[at].before.last().map(Exited::stderr).unwrap_or_default();
            assert!(Instant::now() < deadline, "{}: {code}: {said}", self.containers[at].name);
            self.create(at);
        }
    }

    #[track_caller]
    fn wait_end(&mut self, at: usize, limit: Duration) -> i32 {
        let managed = &mut self.containers[at];
        let running = managed.now.take().unwrap_or_else(|| panic!("{} does not run", managed.name));
        let exited = running.wait_exit_within(limit);
        let code = code(&exited);
        managed.before.push(exited);
        self.events.push(Event::Ended(managed.name.clone(), code));
        code
    }

    #[track_caller]
    fn wait_started(&mut self, at: usize) {
        let name = self.containers[at].name.clone();
        self.until(&format!("{name} is started"), |pod| pod.passes(at, "startupProbe").then_some(()));
        self.events.push(Event::Started(name));
    }

    /// One round: who ended is started again, unless it is done.
    pub(crate) fn sync(&mut self) {
        for at in 0..self.containers.len() {
            let managed = &self.containers[at];
            if managed.now.as_ref().is_none_or(Running::is_running) {
                continue;
            }
            let code = self.wait_end(at, timeout());
            let managed = &mut self.containers[at];
            if managed.kind == Kind::App && self.spec["restartPolicy"].is_string() && code == 0 {
                managed.done = true;
            } else {
                self.create(at);
            }
        }
    }

    /// Waits for something, keeping the pod alive meanwhile.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + timeout() * 2;
        loop {
            self.sync();
            if let Some(found) = probe(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", self.report());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        (0..self.containers.len()).all(|at| {
            let managed = &self.containers[at];
            managed.kind == Kind::Init || managed.done || self.passes(at, "readinessProbe")
        })
    }

    /// Whether a probe passes now; one that is not there does when the process runs.
    fn passes(&self, at: usize, probe: &str) -> bool {
        let managed = &self.containers[at];
        let Some(running) = managed.now.as_ref().filter(|running| running.is_running()) else { return false };
        let probe = &managed.spec[probe];
        if !probe["httpGet"].is_null() {
            let port = port(managed, &probe["httpGet"]["port"]);
            let request = http::Request::new("GET", text(&probe["httpGet"]["path"]));
            let answer = http::try_send(std::net::SocketAddr::from(([127, 0, 0, 1], port)), &request);
            return answer.is_ok_and(|answer| (200..400).contains(&answer.status));
        }
        if !probe["tcpSocket"].is_null() {
            let port = port(managed, &probe["tcpSocket"]["port"]);
            return std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        }
        if !probe["exec"].is_null() {
            let command = list(&probe["exec"]["command"]).iter().map(text);
            return self.exec(running, managed, command).code() == Some(0);
        }
        assert!(probe.is_null(), "a probe this kubelet does not know: {probe}");
        true
    }

    /// Runs a command in a container that runs, as `kubectl exec` does.
    pub(crate) fn exec_in<'b>(&self, name: &str, command: impl IntoIterator<Item = &'b str>) -> Exited {
        let managed = self.managed(name);
        let running = managed.now.as_ref().unwrap_or_else(|| panic!("{name} does not run"));
        self.exec(running, managed, command)
    }

    fn exec<'b>(
        &self,
        running: &Running,
        managed: &Managed,
        command: impl IntoIterator<Item = &'b str>,
    ) -> Exited {
        let pid = running.pid().to_string();
        let env = self.env(&managed.spec).into_iter().map(|(name, value)| format!("{name}={value}"));
        let proc = Proc::new("nsenter").args(["--target", &pid, "--mount", "--root", "--wd=/", "--"]);
        let proc =
            proc.args(["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs"]);
        let proc = proc.args(["env", "-i", "PATH=/stand-in:/usr/bin:/usr/sbin"]).args(env);
        proc.args(command).run()
    }

    /// Runs an ephemeral container to its end, as `kubectl debug --image` brings one: with the pod's network and nothing else of it.
    pub(crate) fn ephemeral(&self, image: &str, args: &[&str]) -> Exited {
        let (dir, image) = (self.volumes.dir(), Image::of(image));
        let termination_log = dir.write("debugger.termination", "");
        writable(&termination_log);
        let args = args.iter().map(|&arg| arg.to_owned());
        let container = Container {
            command: image.entrypoint.iter().cloned().chain(args).collect(),
            image,
            env: Vec::new(),
            mounts: Vec::new(),
            dir: "/".to_owned(),
            user: (65532, 65532),
            groups: None,
            etc: dir.join("etc"),
            termination_log,
            stand_in: dir.join("stand-in"),
            root: dir.mkdir("debugger.root"),
        };
        container.proc().run()
    }

    /// The pod's end, with its own grace period.
    pub(crate) fn stop(&mut self) {
        let grace = self.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        self.stop_within(Duration::from_secs(grace));
    }

    /// App containers first, then the sidecars in reverse; at the end of the grace everybody.
    pub(crate) fn stop_within(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        let apps: Vec<usize> = self.all(Kind::App).collect();
        for at in &apps {
            self.pre_stop(*at);
            self.term(*at);
        }
        for at in apps {
            self.wait_until(at, deadline);
        }
        self.end_sidecars(deadline);
        let left: Vec<usize> =
            (0..self.containers.len()).filter(|at| self.containers[*at].now.is_some()).collect();
        for at in &left {
            self.term(*at);
        }
        let deadline = Instant::now() + LAST_WORDS;
        for at in left {
            if !self.wait_until(at, deadline) {
                self.kill(&self.containers[at].name.clone());
            }
        }
    }

    fn end_sidecars(&mut self, deadline: Instant) {
        let sidecars: Vec<usize> = self.all(Kind::Sidecar).collect();
        for at in sidecars.into_iter().rev() {
            if Instant::now() < deadline {
                self.term(at);
                self.wait_until(at, deadline);
            }
        }
    }

    /// Waits for the end of a Job's app, then ends the sidecars, as the kubelet does.
    #[track_caller]
    pub(crate) fn until_done(&mut self) {
        self.until("the Job's containers are done", |pod| {
            pod.all(Kind::App).all(|at| pod.containers[at].done).then_some(())
        });
        self.end_sidecars(Instant::now() + Duration::from_secs(30));
    }

    /// SIGKILL to everybody at once: the grace was over, or the node died.
    pub(crate) fn kill_all(&mut self) {
        for at in 0..self.containers.len() {
            if self.containers[at].now.is_some() {
                self.kill(&self.containers[at].name.clone());
            }
        }
    }

    /// SIGKILL to one container; [`Kubelet::sync`] starts it again.
    pub(crate) fn crash(&mut self, name: &str) {
        let managed = self.managed(name);
        managed
            .now
            .as_ref()
            .unwrap_or_else(|| panic!("{name} does not run"))
            .signal(rustix::process::Signal::KILL);
        let before = self.starts(name);
        self.until(&format!("{name} is started again"), |pod| (pod.starts(name) > before).then_some(()));
        self.until("the pod is ready again", |pod| pod.is_ready().then_some(()));
    }

    fn kill(&mut self, name: &str) {
        let at = self.position(name);
        self.events.push(Event::Killed(name.to_owned()));
        if let Some(running) = &self.containers[at].now {
            running.signal(rustix::process::Signal::KILL);
            self.wait_end(at, timeout());
        }
    }

    fn pre_stop(&mut self, at: usize) {
        let hook = &self.containers[at].spec["lifecycle"]["preStop"];
        if let Some(seconds) = hook["sleep"]["seconds"].as_u64() {
            std::thread::sleep(Duration::from_secs(seconds));
        } else if !hook["exec"].is_null() {
            let command: Vec<&str> = list(&hook["exec"]["command"]).iter().map(text).collect();
            let name = &self.containers[at].name;
            if self.containers[at].now.is_some() {
                self.exec_in(name, command);
            }
        }
    }

    fn term(&mut self, at: usize) {
        let managed = &self.containers[at];
        if let Some(running) = managed.now.as_ref().filter(|running| running.is_running()) {
            running.signal(managed.image.stop);
            self.events.push(Event::Term(managed.name.clone()));
        }
    }

    /// Waits for an end; `false` when it did not come.
    fn wait_until(&mut self, at: usize, deadline: Instant) -> bool {
        while self.containers[at].now.as_ref().is_some_and(Running::is_running) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.containers[at].now.is_some() {
            self.wait_end(at, timeout());
        }
        true
    }

    fn all(&self, kind: Kind) -> impl DoubleEndedIterator<Item = usize> + '_ {
        (0..self.containers.len()).filter(move |at| self.containers[*at].kind == kind)
    }

    fn position(&self, name: &str) -> usize {
        let found = self.containers.iter().position(|container| container.name == name);
        found.unwrap_or_else(|| panic!("there is no container {name}"))
    }

    fn managed(&self, name: &str) -> &Managed {
        &self.containers[self.position(name)]
    }

    /// How often a container was started.
    pub(crate) fn starts(&self, name: &str) -> usize {
        self.events.iter().filter(|event| **event == Event::Created(name.to_owned())).count()
    }

    /// `kubectl logs`: stdout of all starts of a container, the newest last.
    pub(crate) fn stdout(&self, name: &str) -> Vec<String> {
        let managed = self.managed(name);
        let mut lines: Vec<String> = managed.before.iter().flat_map(Exited::stdout_lines).collect();
        lines.extend(managed.now.iter().flat_map(|running| running.lines(Stream::Stdout)));
        lines
    }

    pub(crate) fn stderr(&self, name: &str) -> Vec<String> {
        let managed = self.managed(name);
        let mut lines: Vec<String> = managed.before.iter().flat_map(Exited::stderr_lines).collect();
        lines.extend(managed.now.iter().flat_map(|running| running.lines(Stream::Stderr)));
        lines
    }

    /// Sends a signal that does not end it.
    pub(crate) fn signal(&self, name: &str, signal: rustix::process::Signal) {
        self.managed(name).now.as_ref().unwrap_or_else(|| panic!("{name} does not run")).signal(signal);
    }

    /// Waits for a line on stderr of a container that runs.
    pub(crate) fn wait_stderr(&self, name: &str, text: &str) {
        eventually(&format!("{name} says {text:?}"), || {
            self.stderr(name).iter().any(|line| line.contains(text)).then_some(())
        });
    }

    fn report(&self) -> String {
        let mut report = format!("{:?}\n", self.events);
        for container in &self.containers {
            let (out, err) = (self.stdout(&container.name), self.stderr(&container.name));
            let tail = |lines: &[String]| lines[lines.len().saturating_sub(15)..].join("\n");
            report.push_str(&format!("--- {}\n{}\n{}\n", container.name, tail(&out), tail(&err)));
        }
        report
    }

    /// The order of KEP-753, from what happened: of the first start, and of the last end.
    #[track_caller]
    pub(crate) fn assert_start_order(&self) {
        let at = |event: Event| self.events.iter().position(|found| *found == event);
        let mut before: Option<usize> = None;
        for container in &self.containers {
            let name = container.name.clone();
            let created = at(Event::Created(name.clone())).unwrap_or_else(|| panic!("{name} never started"));
            assert!(before.is_none_or(|before| before < created), "{name} too early: {:?}", self.events);
            let passed = match container.kind {
                Kind::Init => at(Event::Ended(name.clone(), 0)),
                Kind::Sidecar => at(Event::Started(name.clone())),
                Kind::App => continue,
            };
            before = Some(passed.unwrap_or_else(|| panic!("{name} never passed: {:?}", self.events)));
        }
    }

    /// Everybody ended by itself, ours with 0: the app before the sidecars, those in reverse.
    #[track_caller]
    pub(crate) fn assert_end_order(&self) {
        let last = |wanted: &dyn Fn(&Event) -> bool| self.events.iter().rposition(wanted);
        let mut after = None;
        for container in self.containers.iter().rev().filter(|c| c.kind != Kind::Init) {
            let name = &container.name;
            let ended = last(&|event| matches!(event, Event::Ended(found, _) if found == name));
            let ended = ended.unwrap_or_else(|| panic!("{name} never ended: {:?}", self.events));
            let killed = self.events.iter().any(|event| *event == Event::Killed(name.clone()));
            assert!(!killed, "{name} had to be killed: {:?}\n{}", self.events, self.report());
            if container.kind == Kind::Sidecar {
                assert_eq!(self.events[ended], Event::Ended(name.clone(), 0), "{}", self.report());
                let term = last(&|event| *event == Event::Term(name.clone()));
                assert!(term > after, "{name} ended too early: {:?}", self.events);
            }
            after = after.max(Some(ended));
        }
    }
}

/// A port by number or by name.
fn port(managed: &Managed, wanted: &Value) -> u16 {
    let number = wanted.as_u64().or_else(|| {
        let found = list(&managed.spec["ports"]).iter().find(|port| port["name"] == *wanted)?;
        found["containerPort"].as_u64()
    });
    number
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or_else(|| panic!("{}: no port {wanted}", managed.name))
}

/// `$(NAME)` in command and args.
fn expand(word: &str, env: &[(String, String)]) -> String {
    env.iter().fold(word.to_owned(), |word, (name, value)| word.replace(&format!("$({name})"), value))
}

fn code(exited: &Exited) -> i32 {
    exited.code().or_else(|| exited.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn writable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
}
