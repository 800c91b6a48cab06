#![no_main]
//! Text in general, and finding out what it is.

mod common;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

const FORMATS: &[&str] =
    &["auto", "syslog", "klog", "cri", "logfmt", "ltsv", "csv", "tsv", "key-value", "cef", "plain"];

fn seeds() -> Vec<Vec<u8>> {
    common::seeds(FORMATS)
}

fuzz_target!(init: common::save(seeds), |bytes: &[u8]| common::check(FORMATS, bytes));
