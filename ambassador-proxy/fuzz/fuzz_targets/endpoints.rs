#![no_main]

use ambassador_proxy::config::check::endpoints;
use ambassador_proxy::trace::context::Context;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(hosts) = endpoints(&String::from_utf8_lossy(bytes)) {
        let lines = hosts.iter().map(|host| {
            assert!(host.port > 0 && (1..=1000).contains(&host.weight));
            format!("[{}]:{} weight={} priority={}\n", host.name, host.port, host.weight, host.priority)
        });
        assert_eq!(endpoints(&lines.collect::<String>()), Ok(hosts), "what is read is written and read again");
    }
    if let Some(context) = Context::read(bytes) {
        let again = context.header().and_then(|header| Context::read(header.as_bytes()));
        assert_eq!(again.map(|again| (again.trace, again.span)), Some((context.trace, context.span)));
    }
});
