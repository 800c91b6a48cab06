#![no_main]
//! JSON of any shape, and what is wrapped in it.

mod common;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

const FORMATS: &[&str] =
    &["json", "docker", "journald", "caddy", "elasticsearch", "mongodb", "etcd", "traefik"];

fn seeds() -> Vec<Vec<u8>> {
    common::seeds(FORMATS)
}

fuzz_target!(init: common::save(seeds), |bytes: &[u8]| common::check(FORMATS, bytes));
