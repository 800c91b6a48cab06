#[derive(clap::Args, Clone, Default)]
pub(crate) struct Options {}
pub(crate) fn run(_: &Options) -> anyhow::Result<bool> {
    Ok(true)
}
