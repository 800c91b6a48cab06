#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    common::check(&["nginx", "nginx-error", "apache-error", "ingress-nginx", "haproxy", "envoy", "istio", "traefik", "w3c", "aws-alb", "aws-elb", "aws-cloudfront", "aws-s3", "aws-vpc-flow"], bytes);
});
