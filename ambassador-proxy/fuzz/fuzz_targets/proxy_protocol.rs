#![no_main]

use ambassador_proxy::config::ProxyProtocol;
use ambassador_proxy::proxy_header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let read = |bytes: &[u8]| {
        let (mut stream, mut rest) = (bytes, Vec::new());
        let read = runtime.block_on(proxy_header::read(&mut stream, &mut rest));
        read.ok().map(|source| (source, [&rest, stream].concat()))
    };
    let Some((source, rest)) = read(bytes) else { return };
    assert!(bytes.ends_with(&rest) && rest.len() < bytes.len(), "what follows a header is kept");
    let Some(source) = source else { return };
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let mut written = proxy_header::write(version, Some(source), Some(source));
        written.extend_from_slice(b"rest");
        assert_eq!(read(&written), Some((Some(source), b"rest".to_vec())), "what is written is read");
    }
});
