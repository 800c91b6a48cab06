//! Bodies compressed, at the levels that cost least: a sidecar's processor time is the app's.

use std::cell::RefCell;

use bytes::Bytes;

use crate::gzip::Gzip;

/// Below this it is done before another thread has begun.
const SHORT: usize = 64 << 10;

/// Through `how`, on another thread where that pays. `None`: that failed; a body that is empty for it must not be sent.
pub(super) async fn packed(body: &Bytes, how: fn(&[u8]) -> Option<Vec<u8>>) -> Option<Bytes> {
    if body.len() < SHORT {
        return how(body).map(Bytes::from);
    }
    let body = body.clone();
    tokio::task::spawn_blocking(move || how(&body)).await.ok().flatten().map(Bytes::from)
}

pub(super) fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        // Kept by the threads that come and go with the load.
        static STATE: RefCell<Gzip> = RefCell::default();
    }
    Some(if body.len() < SHORT {
        Gzip::default().pack(body)
    } else {
        STATE.with_borrow_mut(|state| state.pack(body))
    })
}

/// Between the levels -1 and 1, with tables that stay in the processor's cache: half the time of level 1, and no larger than gzip makes it.
pub(super) fn zstd(body: &[u8]) -> Option<Vec<u8>> {
    use zstd::bulk::Compressor;
    use zstd::zstd_safe::compress_bound;
    thread_local! {
        // With room for what cannot be compressed: a body waits for its answer without that.
        static STATE: RefCell<(Option<Compressor<'static>>, Vec<u8>)> = const { RefCell::new((None, Vec::new())) };
    }
    if body.len() < SHORT {
        return zstd_state().and_then(|mut state| state.compress(body)).ok();
    }
    STATE.with_borrow_mut(|(state, room)| {
        if state.is_none() {
            *state = zstd_state().ok();
        }
        room.clear();
        room.reserve(compress_bound(body.len()));
        state.as_mut()?.compress_to_buffer(body, room).ok()?;
        Some(room.clone())
    })
}

fn zstd_state() -> std::io::Result<zstd::bulk::Compressor<'static>> {
    use zstd::zstd_safe::CParameter;
    let mut state = zstd::bulk::Compressor::new(1)?;
    for parameter in [
        CParameter::WindowLog(17),
        CParameter::HashLog(14),
        CParameter::MinMatch(6),
        CParameter::TargetLength(2),
    ] {
        state.set_parameter(parameter)?;
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Lines, and bytes that grow when they are compressed.
    fn bodies() -> Vec<Vec<u8>> {
        let mut random = fastrand::Rng::with_seed(3);
        let noise: Vec<u8> = (0..300_000).map(|_| random.u8(..)).collect();
        vec![Vec::new(), b"short".to_vec(), b"a line like others\n".repeat(20_000), noise]
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        for _ in 0..2 {
            for body in bodies() {
                let mut unpacked = Vec::new();
                let packed = gzip(&body).expect("packs");
                flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("gzip");
                assert!(unpacked == body, "{} bytes", body.len());
                assert!(
                    zstd::decode_all(&super::zstd(&body).expect("packs")[..]).expect("zstd") == body,
                    "{} bytes",
                    body.len()
                );
            }
        }
    }
}
