//! Pictures of the status pages, taken while the demo runs: `demo → each page through a relay → Chromium → docs/*.png`.
//!
//! A browser without a head takes its picture when everything is loaded. The relay adds a dot to the page that takes as long to load as
//! the page shall have run, so that the picture has curves in it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::demo::{self, http};
use crate::sh;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the pictures go
    #[arg(long, default_value = "docs", value_name = "FOLDER")]
    out: PathBuf,
    /// How long each page runs before its picture is taken, in seconds
    #[arg(long, default_value_t = 75, value_name = "N")]
    after: u64,
}

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const SIZE: &str = "1000,860";

/// The browser that is here.
pub(crate) fn browser() -> Option<&'static str> {
    BROWSERS.into_iter().find(|name| sh::succeeds(name, &["--version"]))
}

/// Builds the binaries, and takes the pictures.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    demo::build(false)?;
    let pictures = take(&sh::root().join(&options.out), Duration::from_secs(options.after))?;
    pictures.iter().for_each(|picture| eprintln!("  {}", picture.display()));
    Ok(())
}

/// A picture of each of our pages in the folder.
///
/// # Errors
/// When there is no browser, or a picture is none.
pub(crate) fn take(folder: &Path, after: Duration) -> anyhow::Result<Vec<PathBuf>> {
    let browser = browser().context("no Chromium here; `apt-get install chromium` brings one")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut pictures = Vec::new();
    demo::with_pages(|pages| {
        let mut browsers = Vec::new();
        for (name, addr) in pages.iter().filter(|(name, _)| sh::TOOLS.contains(&name.as_str())) {
            let file = folder.join(format!("page-{name}.png"));
            let _ = fs::remove_file(&file);
            let profile = tempfile::tempdir().context("cannot make a folder")?;
            let mut command =
                sh::command(browser, &["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
            command.arg(format!("--user-data-dir={}", profile.path().display()));
            command.arg(format!("--window-size={SIZE}")).arg(format!("--screenshot={}", file.display()));
            command.arg(format!("http://{}/", relay(*addr, after)?));
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            // All at once: most of the time they wait.
            browsers.push((command.spawn().context("cannot run the browser")?, profile));
            pictures.push(file);
        }
        for (mut browser, _profile) in browsers {
            browser.wait()?;
        }
        Ok(())
    })?;
    for picture in &pictures {
        let bytes = fs::read(picture).with_context(|| format!("no picture {}", picture.display()))?;
        ensure!(bytes.starts_with(b"\x89PNG"), "{} is no picture", picture.display());
    }
    ensure!(!pictures.is_empty(), "the demo offered no page");
    Ok(pictures)
}

/// Passes requests on to a status page, whose document gets one thing more to load.
fn relay(to: SocketAddr, after: Duration) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port")?;
    let addr = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || answer(client, to, after));
        }
    });
    Ok(addr)
}

fn answer(mut client: TcpStream, to: SocketAddr, after: Duration) -> anyhow::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let head = lines.next().context("a request")??;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = head.split(' ').nth(1).unwrap_or("/");
    let (kind, body) = match path {
        "/dot" => {
            std::thread::sleep(after);
            ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>".to_owned())
        }
        "/" => {
            let page = http::request(to, "GET", path)?.1;
            (
                "text/html; charset=utf-8",
                page.replace("</body>", "<img src=\"dot\" width=\"0\" height=\"0\"></body>"),
            )
        }
        _ => ("application/json", http::request(to, "GET", path)?.1),
    };
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}
