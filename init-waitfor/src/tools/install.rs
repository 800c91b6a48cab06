//! `install DEST`: this binary, for the next container's image.

use std::io;
use std::path::Path;

use podkit::Exit;

use super::place::Placing;

/// Copies the running binary to `dest`, or into it when it is a directory; mode 0755.
///
/// # Errors
/// Code 1 with the path that could not be written.
pub fn install(dest: &Path) -> Result<(), Exit> {
    let directory = dest.is_dir() || dest.as_os_str().to_string_lossy().ends_with('/');
    let dest = if directory { dest.join(crate::APP.name) } else { dest.to_owned() };
    copy(&dest).map_err(|error| {
        let dest = dest.display();
        Exit::failed(format!(
            "init-waitfor: cannot install to {dest}: {error}; mount a writable volume (an emptyDir) there"
        ))
    })
}

fn copy(dest: &Path) -> io::Result<()> {
    // The running file itself, even if its path has been replaced.
    let mut from = std::fs::File::open("/proc/self/exe")?;
    let mut to = Placing::new(dest, 0o755)?;
    io::copy(&mut from, &mut to.file)?;
    to.place()
}
