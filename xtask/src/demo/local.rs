//! The demo as plain processes on this machine.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::Options;
use super::http::{self, number};
use super::interrupt::Interrupt;
use super::kubelet::{Drained, Kubelet};
use super::pod::{self, Places};
use super::process::State;
use super::proof::{self, Away, Proof};
use super::script::{Deed, OUTAGE, script};
use super::view::{Tone, View, thousands};

/// The backend comes up this much after the gate began to wait, so that there is something to wait for.
const BACKEND_AFTER: Duration = Duration::from_millis(1500);
const LOOK: Duration = Duration::from_millis(25);
const ASK: Duration = Duration::from_millis(500);
const SAMPLE: Duration = Duration::from_secs(4);

struct Demo<'a> {
    options: &'a Options,
    places: Places,
    kubelet: Kubelet,
    view: View,
    interrupt: Interrupt,
    asked: Instant,
    sampled: Instant,
    /// Requests and lines at the last look, for the rates.
    before: (Instant, u64),
    rate: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let dir = tempfile::Builder::new().prefix("podmates-demo-").tempdir().context("cannot make a folder")?;
    let places = Places::find(dir.path())?;
    places.create()?;
    let interrupt = Interrupt::catch()?;
    let mut specs = pod::containers(&places, options);
    specs.push(pod::backend(&places, options));
    let kubelet = Kubelet::new(specs, places.dir.join("output"));
    let now = Instant::now();
    let mut demo = Demo {
        options,
        places,
        kubelet,
        view: View::new(),
        interrupt,
        asked: now,
        sampled: now,
        before: (now, 0),
        rate: 0.0,
    };
    let outcome = demo.play();
    drop(demo);
    if options.keep {
        eprintln!("\n  Everything is in {}", dir.keep().display());
    }
    outcome
}

impl Demo<'_> {
    fn play(&mut self) -> anyhow::Result<bool> {
        self.view.headline("One pod, in the order of its manifest");
        self.start_up()?;
        if self.stopped() {
            bail!("stopped before the app was up");
        }
        self.show_pages();
        let started = Instant::now();
        self.traffic(started)?;
        let length = started.elapsed();

        let why = if self.stopped() { "Ctrl-C" } else { "time is up" };
        self.view.headline(&format!(
            "The end of the pod ({why}): the app first, then the sidecars in reverse order"
        ));
        let drained = self.drain()?;
        let proof = self.prove(&drained, length)?;
        self.view.end_status();
        Ok(proof.show(&mut self.view))
    }

    fn stopped(&self) -> bool {
        self.interrupt.came()
    }

    fn start_up(&mut self) -> anyhow::Result<()> {
        for name in ["ambassador-proxy", "sidecar-logshipper", "adapter-logformat"] {
            self.view.event(name, Tone::Plain, "starting");
            self.kubelet.start(name)?;
            self.until_ready(name)?;
        }
        self.view.event(
            "init-waitfor",
            Tone::Plain,
            "waiting for what the app needs (the backend is not there yet)",
        );
        self.kubelet.start("init-waitfor")?;
        let begun = Instant::now();
        while begun.elapsed() < BACKEND_AFTER && !self.stopped() {
            self.round()?;
        }
        self.view.event("demo-backend", Tone::Plain, "starting, outside the pod");
        self.kubelet.start("demo-backend")?;
        self.until_ready("demo-backend")?;
        self.until_ready("init-waitfor")?;
        self.view.event(
            "demo-app",
            Tone::Plain,
            &format!("starting, {} visits per second", self.options.rate),
        );
        self.kubelet.start("demo-app")?;
        self.until_ready("demo-app")
    }

    fn until_ready(&mut self, name: &str) -> anyhow::Result<()> {
        while !self.stopped() && !self.kubelet.get(name).is_some_and(|process| process.is_ready()) {
            self.round()?;
            self.kubelet.check_startup(name)?;
        }
        Ok(())
    }

    /// One look at everything, then a short sleep.
    fn round(&mut self) -> anyhow::Result<()> {
        self.kubelet.look(&mut self.view)?;
        std::thread::sleep(LOOK);
        Ok(())
    }

    fn show_pages(&mut self) {
        self.view.headline("Open while it runs");
        let places = &self.places;
        let pages = [
            ("the shop", places.shop),
            ("ambassador-proxy", places.proxy_admin),
            ("sidecar-logshipper", places.shipper_admin),
            ("adapter-logformat", places.adapter_admin),
        ];
        for (name, addr) in pages {
            self.view.line(&format!("  {name:<20} http://{addr}/"));
        }
        let pids: Vec<String> = ["ambassador-proxy", "sidecar-logshipper", "adapter-logformat"]
            .iter()
            .filter_map(|name| Some(format!("{name} {}", self.kubelet.get(name)?.pid()?)))
            .collect();
        self.view.line(&format!("  kill -9 any of them: {}", pids.join(", ")));
        self.view.line("");
    }

    fn traffic(&mut self, started: Instant) -> anyhow::Result<()> {
        let mut deeds = script(self.options.length, self.options.who_dies()).into_iter().peekable();
        while started.elapsed() < self.options.length && !self.stopped() {
            self.round()?;
            while let Some((_, deed)) = deeds.next_if(|(when, _)| started.elapsed() >= *when) {
                self.act(deed);
            }
            self.ask();
        }
        Ok(())
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Rotate => match http::post(self.places.shop, "/rotate") {
                Ok(body) => {
                    let names = body.trim().replace(['"', '{', '}', '[', ']'], "");
                    self.view.event("demo-app", Tone::Loud, &format!("rotates its logs: {names}"));
                }
                Err(error) => self.view.event("demo-app", Tone::Bad, &format!("could not rotate: {error:#}")),
            },
            Deed::Outage => {
                let path = format!("/outage?seconds={}", OUTAGE.as_secs());
                let text = match http::post(self.places.backend_logs, &path) {
                    Ok(_) => format!("the log store is out for {} s", OUTAGE.as_secs()),
                    Err(error) => format!("could not order the outage: {error:#}"),
                };
                self.view.event("demo-backend", Tone::Loud, &text);
            }
            Deed::Kill(name) => {
                self.view.event(name, Tone::Loud, "kill -9");
                self.kubelet.kill(name);
            }
        }
    }

    /// Asks app and backend for their counts, for the status line and a sample of what arrives.
    fn ask(&mut self) {
        if self.asked.elapsed() < ASK {
            return;
        }
        self.asked = Instant::now();
        let (Ok(app), Ok(backend)) =
            (http::json(self.places.shop, "/stats"), http::json(self.places.backend_orders, "/stats"))
        else {
            return;
        };
        let sent = number(&app, "/requests_sent");
        let (at, before) = std::mem::replace(&mut self.before, (Instant::now(), sent));
        let rate = sent.saturating_sub(before) as f64 / at.elapsed().as_secs_f64().max(0.001);
        self.rate = if before == 0 { 0.0 } else { rate };
        let (written, received) = (number(&app, "/lines_written"), number(&backend, "/lines_distinct"));
        let store = if backend["outage"] == true { "OUT" } else { "up" };
        self.view.status(format!(
            "requests {:>6} ({:>3.0}/s, {} failed)   lines {:>7} written {:>7} received ({} on the way)   log store {store}",
            thousands(sent),
            self.rate,
            number(&app, "/requests_failed"),
            thousands(written),
            thousands(received),
            thousands(written.saturating_sub(received)),
        ));
        if self.sampled.elapsed() >= SAMPLE {
            self.sampled = Instant::now();
            if let Ok((200, recent)) = http::request(self.places.backend_orders, "GET", "/recent")
                && let Some(record) = recent.lines().last()
            {
                self.view.event("demo-backend", Tone::Faint, &format!("received {record}"));
            }
        }
    }

    /// The app, then the sidecars in the reverse order of their start; the backend stays to be asked.
    fn drain(&mut self) -> anyhow::Result<Vec<Drained>> {
        self.view.end_status();
        let mut drained = Vec::new();
        for name in ["demo-app", "adapter-logformat", "sidecar-logshipper", "ambassador-proxy"] {
            drained.push(self.kubelet.drain(name, &mut self.view)?);
        }
        Ok(drained)
    }

    fn prove(&mut self, drained: &[Drained], length: Duration) -> anyhow::Result<Proof> {
        let output = self.places.dir.join("output");
        let said = std::fs::read_to_string(output.join("demo-app.stdout")).unwrap_or_default();
        let said = proof::last_report(&said).context("the app ended without its report")?;
        let app = &said["report"];
        let backend =
            http::json(self.places.backend_orders, "/stats").context("the backend does not answer")?;
        let mut proof = Proof::from_reports(app, &backend);

        // Independent of what anybody says: the lines in the files, and the ids in the store.
        let written = proof::written_ids(&self.places.app_logs())?;
        let received = proof::received_ids(&self.places.store())?;
        proof.lines_written = written.len() as u64;
        proof.lines_received = received.len() as u64;
        proof.missing = written.difference(&received).cloned().collect();
        if number(app, "/lines_written") != proof.lines_written {
            let claimed = number(app, "/lines_written");
            proof.missing.push(format!("(the app says it wrote {claimed} lines)"));
        }
        let away: Vec<Away> =
            self.kubelet.processes.iter().flat_map(|process| process.away.clone()).collect();
        proof.judge_failures(&said["failures"], &away);
        proof.forced =
            drained.iter().filter(|process| process.forced).map(|process| process.name.to_owned()).collect();
        proof.length = length;

        self.kubelet.drain("demo-backend", &mut self.view)?;
        let restarts: Vec<String> = self
            .kubelet
            .processes
            .iter()
            .filter(|process| process.restarts > 0 && process.state == State::Ended)
            .map(|process| format!("{} {}", process.spec.name, process.restarts))
            .collect();
        if !restarts.is_empty() {
            self.view.event("", Tone::Plain, &format!("restarts: {}", restarts.join(", ")));
        }
        let times: Vec<String> =
            drained.iter().map(|d| format!("{} {:.2} s", d.name, d.took.as_secs_f64())).collect();
        self.view.event("", Tone::Plain, &format!("drained: {}", times.join(", ")));
        Ok(proof)
    }
}
