//! placeholder
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Options {}
pub(crate) fn build(_: &Options) -> anyhow::Result<()> {
    Ok(())
}
