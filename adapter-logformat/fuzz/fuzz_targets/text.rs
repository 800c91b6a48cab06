#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    common::check(&["auto", "syslog", "klog", "cri", "logfmt", "ltsv", "csv", "tsv", "key-value", "cef", "plain"], bytes);
});
