//! The peers: Debian packages, installed when that is allowed, left out of the table when not.

use std::fs;

use crate::sh;

/// What has to be there for a benchmark: (program or file, package).
pub(crate) const PROXY: [(&str, &str); 5] = [
    ("haproxy", "haproxy"),
    ("nginx", "nginx-light"),
    // nginx proxies TCP only with this.
    ("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
];
pub(crate) const WAITFOR: [(&str, &str); 1] = [("wait-for-it", "wait-for-it")];
/// Each by itself: Debian lets only one system logger be installed at a time.
pub(crate) const RSYSLOG: [(&str, &str); 1] = [("rsyslogd", "rsyslog")];
pub(crate) const SYSLOG_NG: [(&str, &str); 1] = [("syslog-ng", "syslog-ng-core")];

/// Whether the program is there, after an attempt to install what is missing.
pub(crate) fn ready(wanted: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let missing: Vec<&str> =
        wanted.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() && rustix::process::geteuid().is_root() {
        let mut install = sh::command("apt-get", &["install", "--yes", "--no-install-recommends"]);
        // Installed to be measured, not to serve: a policy of 101 keeps the packages from starting their services.
        install.args(&missing).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        if let Err(error) = sh::output(install) {
            eprintln!("  could not install {}: {error:#}", missing.join(" "));
        }
    }
    let (there, gone): (Vec<&str>, Vec<&str>) =
        wanted.iter().map(|(program, _)| *program).partition(|program| is_there(program));
    if !gone.is_empty() {
        eprintln!("  not here, and left out: {}", gone.join(" "));
    }
    there
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    folders.iter().any(|folder| folder.join(program).exists())
}

/// Cores and load, without which no figure means anything.
pub(crate) fn say_machine() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    super::table::say(&format!(
        "{cores} cores, load {load} before the start; processor time is user and system together"
    ));
}
