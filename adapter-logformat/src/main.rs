//! See the library.

fn main() -> std::process::ExitCode {
    podkit::exit::finish(adapter_logformat::main())
}
