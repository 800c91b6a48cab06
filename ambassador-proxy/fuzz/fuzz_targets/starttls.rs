#![no_main]

use ambassador_proxy::starttls::{mysql, postgres};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut stream = bytes;
        while let Ok(mut packet) = mysql::read(&mut stream).await {
            let _ = mysql::shown(&mut packet);
            let _ = mysql::request(packet);
        }
        let (mut app, _kept) = tokio::io::duplex(bytes.len() + 64);
        let mut server = tokio::io::join(bytes, tokio::io::sink());
        let _ = postgres::first_answer(&mut app, &mut server).await;
    });
});
