#![no_main]
//! However the bytes come, the same messages come out: lines, octet counts, NULs.

mod common;

#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

use std::sync::Arc;

use adapter_logformat::{
    config::{Config, Stream as Written},
    encode::Schema,
    lane::{Lane, Stream},
    pipeline::{
        batch::Batch,
        frame::Frame,
        octets::{End, Octets},
    },
};

enum Framing {
    Lines(Frame),
    Messages(Octets),
}

/// What the records say, however the bytes are cut.
fn records(stream: &Arc<Stream>, kind: u8, bytes: &[u8], piece: usize) -> String {
    let mut framing = match kind % 3 {
        0 => Framing::Lines(Frame::default()),
        1 => Framing::Messages(Octets::new(End::Count)),
        _ => Framing::Messages(Octets::new(End::Nul)),
    };
    let (mut lane, mut batch) = (Lane::new(stream.clone(), None), Batch::default());
    let mut take = |bytes: &[u8], end| match &mut framing {
        Framing::Lines(frame) => frame.take(bytes, &mut lane, &mut batch, end),
        Framing::Messages(octets) => octets.take(bytes, &mut lane, &mut batch, end),
    };
    bytes.chunks(piece).for_each(|piece| take(piece, false));
    take(b"", true);
    assert!(batch.counts.balanced());
    let text = String::from_utf8(batch.out).expect("records are UTF-8");
    assert_eq!(text.lines().count() as u64, batch.counts.records);
    text.lines().for_each(|record| common::valid(record, Schema::Flat));
    text
}

fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 5] = [
        b"a\nb\r\nc",
        b"4 <1>a6 <1>b\nc4 <1>a<2>lost count\n4 <1>b",
        b"<1>b\nc\0<1>a\0",
        b"Traceback (most recent call last):\n  File \"a.py\"\nValueError: x\nnext\n",
        b"40 <1>cut short",
    ];
    (0..3).flat_map(|kind| texts.map(|text| [&[kind, 3], text].concat())).collect()
}

fuzz_target!(init: common::save(seeds), |bytes: &[u8]| {
    let [kind, piece, bytes @ ..] = bytes else { return };
    thread_local!(static STREAM: Arc<Stream> = {
        let config = Config { schema: Schema::Flat, ..Config::default() };
        let written = Written { from: Some("plain".to_owned()), ..Written::default() };
        Arc::new(Stream::compile(&written, &config).expect("compiles"))
    });
    STREAM.with(|stream| {
        // Records without a time say when they were read, which is the same moment here: the clock stands still.
        let whole = records(stream, *kind, bytes, bytes.len().max(1));
        let cut = records(stream, *kind, bytes, usize::from(*piece).max(1));
        assert_eq!(whole, cut);
    });
});
