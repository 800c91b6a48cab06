//! The demo through images and compose.

use super::Options;

pub(crate) fn run(_options: &Options) -> anyhow::Result<bool> {
    anyhow::bail!("not yet")
}
