//! The demo through images and compose: the same script and the same proof, from the outside.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::Options;
use super::http::{self, number};
use super::interrupt::Interrupt;
use super::pod::only_demo;
use super::proof::{self, Away, Proof};
use super::script::{Deed, OUTAGE, script};
use super::view::{Tone, View, thousands};
use crate::docker::{answers, compose_command, composes, docker};
use crate::{images, sh};

const PROJECT: &str = "podmates-demo";
const FILE: &str = "examples/compose/compose.yaml";
const STARTUP: Duration = Duration::from_secs(60);

/// Ports published on this machine: (variable of compose.yaml, documented port).
const PORTS: [(&str, u16); 5] = [
    ("SHOP_PORT", 8000),
    ("BACKEND_PORT", 8090),
    ("PROXY_PORT", 9102),
    ("ADAPTER_PORT", 9103),
    ("SHIPPER_PORT", 9104),
];

struct Compose {
    program: &'static [&'static str],
    env: Vec<(String, String)>,
    ports: Vec<SocketAddr>,
    /// Leaves containers and volumes as they are.
    keep: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    ensure!(answers(), "no Docker engine answers; without Docker the demo is `cargo xtask demo`");
    let program = composes().into_iter().find(|program| !options.old_compose || program.len() == 1);
    let program = program.context(match options.old_compose {
        true => "`docker-compose` is not installed",
        false => "neither `docker compose` nor `docker-compose` is installed",
    })?;
    let _only =
        only_demo("docker").context("another demo runs in Docker; it would be mixed up with this one")?;
    if !options.no_build {
        super::println_note("building the images (static, optimized: the first time takes some minutes)");
        images::build(&images::Options::default())?;
    }
    let interrupt = Interrupt::catch()?;
    let compose = Compose::new(program, options)?;
    // What an earlier demo left behind would be counted with ours.
    compose.down();
    let mut view = View::new();
    let outcome = play(&compose, options, &interrupt, &mut view);
    view.end_status();
    if outcome.is_err() {
        let logs = compose.output(&["logs", "--no-color", "--tail", "15"]).unwrap_or_default();
        view.line(&logs);
    }
    outcome
}

fn play(
    compose: &Compose,
    options: &Options,
    interrupt: &Interrupt,
    view: &mut View,
) -> anyhow::Result<bool> {
    view.headline("One pod as compose sees it: each container waits for the one before it");
    let begun = Instant::now();
    compose.output(&["up", "--detach", "--no-build"]).context("compose up")?;
    while !http::is_ok(compose.shop(), "/healthz") {
        ensure!(begun.elapsed() < STARTUP, "the shop does not answer");
        ensure!(!interrupt.came(), "stopped before the app was up");
        std::thread::sleep(Duration::from_millis(200));
    }
    view.event("app", Tone::Good, &format!("up after {:.1} s", begun.elapsed().as_secs_f64()));
    view.headline("Open while it runs");
    for (name, addr) in
        [("the shop", 0), ("ambassador-proxy", 2), ("sidecar-logshipper", 4), ("adapter-logformat", 3)]
    {
        view.line(&format!("  {name:<20} http://{}/", compose.ports[addr]));
    }
    view.line("");

    let started = Instant::now();
    let mut away: Vec<Away> = Vec::new();
    let mut deeds = script(options.length, options.who_dies()).into_iter().peekable();
    while started.elapsed() < options.length && !interrupt.came() {
        std::thread::sleep(Duration::from_millis(200));
        while let Some((_, deed)) = deeds.next_if(|(when, _)| started.elapsed() >= *when) {
            act(compose, deed, &mut away, view)?;
        }
        status(compose, view);
    }
    let length = started.elapsed();

    view.headline("The end of the pod: the app first, then the sidecars in reverse order");
    view.end_status();
    for service in ["app", "adapter-logformat", "sidecar-logshipper", "ambassador-proxy"] {
        let begun = Instant::now();
        compose.output(&["stop", service])?;
        let took = begun.elapsed().as_secs_f64();
        let code = compose.exit_code(service)?;
        let tone = if code == 0 { Tone::Good } else { Tone::Bad };
        view.event(service, tone, &format!("stopped in {took:.1} s with code {code}"));
    }
    let said = sh::output(docker(&["logs", "--tail", "50", &compose.container("app")?]))?;
    let said = proof::last_report(&said).context("the app ended without its report")?;
    let backend = http::json(compose.backend(), "/stats").context("the backend does not answer")?;
    let mut proof = Proof::from_reports(&said["report"], &backend);
    proof.judge_failures(&said["failures"], &away);
    proof.length = length;
    // 137 is 128 and SIGKILL: its grace was over.
    for service in ["app", "adapter-logformat", "sidecar-logshipper", "ambassador-proxy"] {
        if compose.exit_code(service)? == 137 {
            proof.forced.push(service.to_owned());
        }
    }
    Ok(proof.show(view))
}

fn act(compose: &Compose, deed: Deed, away: &mut Vec<Away>, view: &mut View) -> anyhow::Result<()> {
    match deed {
        Deed::Rotate => {
            http::post(compose.shop(), "/rotate").context("cannot rotate")?;
            view.event("app", Tone::Loud, "rotates its logs");
        }
        Deed::Outage => {
            let path = format!("/outage?seconds={}", OUTAGE.as_secs());
            http::post(compose.backend(), &path).context("cannot order the outage")?;
            view.event("backend", Tone::Loud, &format!("the log store is out for {} s", OUTAGE.as_secs()));
        }
        Deed::Kill(service) => {
            let from = SystemTime::now();
            compose.kill(service)?;
            view.event(service, Tone::Loud, "kill -9");
            let admin = compose.admin(service);
            let begun = Instant::now();
            while !http::is_ok(admin, "/readyz") {
                ensure!(begun.elapsed() < STARTUP, "{service} does not come back after kill -9");
                std::thread::sleep(Duration::from_millis(50));
            }
            away.push((from, Some(SystemTime::now())));
            view.event(service, Tone::Good, &format!("back after {:.1} s", begun.elapsed().as_secs_f64()));
        }
    }
    Ok(())
}

fn status(compose: &Compose, view: &mut View) {
    let (Ok(app), Ok(backend)) =
        (http::json(compose.shop(), "/stats"), http::json(compose.backend(), "/stats"))
    else {
        return;
    };
    view.status(format!(
        "requests {} ({} failed)   lines {} written, {} received   log store {}",
        thousands(number(&app, "/requests_sent")),
        number(&app, "/requests_failed"),
        thousands(number(&app, "/lines_written")),
        thousands(number(&backend, "/lines_distinct")),
        if backend["outage"] == true { "OUT" } else { "up" },
    ));
}

impl Compose {
    fn new(program: &'static [&'static str], options: &Options) -> anyhow::Result<Self> {
        let mut env = vec![("SHOP_RATE".to_owned(), options.rate.to_string())];
        let mut ports = Vec::new();
        let mut held = Vec::new();
        for (name, wanted) in PORTS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
                .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
                .context("no free port on 127.0.0.1")?;
            let addr = listener.local_addr()?;
            env.push((name.to_owned(), addr.port().to_string()));
            ports.push(addr);
            held.push(listener);
        }
        Ok(Compose { program, env, ports, keep: options.keep })
    }

    fn shop(&self) -> SocketAddr {
        self.ports[0]
    }

    fn backend(&self) -> SocketAddr {
        self.ports[1]
    }

    fn admin(&self, service: &str) -> SocketAddr {
        match service {
            "ambassador-proxy" => self.ports[2],
            "adapter-logformat" => self.ports[3],
            _ => self.ports[4],
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = compose_command(self.program);
        command.args(["--project-name", PROJECT, "--file", FILE]).args(args);
        command.envs(self.env.iter().cloned());
        command
    }

    fn output(&self, args: &[&str]) -> anyhow::Result<String> {
        sh::output(self.command(args))
    }

    fn down(&self) {
        // Best effort: there may be nothing.
        let _ = self.output(&["down", "--volumes", "--timeout", "1", "--remove-orphans"]);
    }

    fn container(&self, service: &str) -> anyhow::Result<String> {
        // `--all` is unknown to old compose, whose `ps -q` shows ended containers anyway.
        let label = format!("label=com.docker.compose.service={service}");
        let project = format!("label=com.docker.compose.project={PROJECT}");
        let id = sh::output(docker(&["ps", "--all", "--quiet", "--filter", &label, "--filter", &project]))?;
        let id = id.lines().next().with_context(|| format!("there is no container of {service}"))?;
        Ok(id.to_owned())
    }

    fn inspect(&self, service: &str) -> anyhow::Result<Value> {
        let text = sh::output(docker(&["inspect", &self.container(service)?]))?;
        let mut all: Value = serde_json::from_str(&text).context("docker inspect")?;
        Ok(all[0]["State"].take())
    }

    fn exit_code(&self, service: &str) -> anyhow::Result<i64> {
        self.inspect(service)?["ExitCode"].as_i64().context("a stopped container has an exit code")
    }

    /// SIGKILL as the kernel would send it: `docker kill` counts as an order to stay down.
    fn kill(&self, service: &str) -> anyhow::Result<()> {
        let state = self.inspect(service)?;
        let pid = state["Pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else {
            bail!("{service} is not running");
        };
        if rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok() {
            return Ok(());
        }
        // Not root, or the engine is on another machine: then it has to be started again by hand.
        let container = self.container(service)?;
        sh::output(docker(&["kill", "--signal", "KILL", &container]))?;
        sh::output(docker(&["start", &container])).map(drop)
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        if self.keep {
            eprintln!(
                "xtask: the containers are left; `{}` removes them",
                sh::shown(&self.command(&["down", "-v"]))
            );
        } else {
            self.down();
        }
    }
}
