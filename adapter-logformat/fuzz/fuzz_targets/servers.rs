#![no_main]
//! Databases, brokers, frameworks.

mod common;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

const FORMATS: &[&str] = &[
    "postgresql",
    "postgresql-csv",
    "mysql-error",
    "mysql-slow",
    "redis",
    "mongodb",
    "rabbitmq",
    "etcd",
    "kafka",
    "zookeeper",
    "elasticsearch",
    "tomcat",
    "spring-boot",
    "rails",
    "python",
    "zap",
];

fn seeds() -> Vec<Vec<u8>> {
    common::seeds(FORMATS)
}

fuzz_target!(init: common::save(seeds), |bytes: &[u8]| common::check(FORMATS, bytes));
