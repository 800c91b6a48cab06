#![no_main]
//! Web servers, proxies, load balancers.

mod common;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

const FORMATS: &[&str] = &[
    "nginx",
    "nginx-error",
    "apache",
    "apache-error",
    "ingress-nginx",
    "haproxy",
    "envoy",
    "istio",
    "traefik",
    "w3c",
    "aws-alb",
    "aws-elb",
    "aws-cloudfront",
    "aws-s3",
    "aws-vpc-flow",
];

fn seeds() -> Vec<Vec<u8>> {
    common::seeds(FORMATS)
}

fuzz_target!(init: common::save(seeds), |bytes: &[u8]| common::check(FORMATS, bytes));
