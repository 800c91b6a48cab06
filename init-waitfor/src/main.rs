//! See `init_waitfor`: this file only turns its result into an exit code.

fn main() -> std::process::ExitCode {
    podkit::exit::finish(init_waitfor::main())
}
