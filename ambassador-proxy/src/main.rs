//! See the library.

fn main() -> std::process::ExitCode {
    podkit::exit::finish(ambassador_proxy::main())
}
