#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    common::check(&["postgresql", "postgresql-csv", "mysql-error", "mysql-slow", "redis", "mongodb", "rabbitmq", "etcd", "kafka", "zookeeper", "elasticsearch", "tomcat", "spring-boot", "rails", "python", "zap"], bytes);
});
