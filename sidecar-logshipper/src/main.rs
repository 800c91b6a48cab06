fn main() -> std::process::ExitCode {
    podkit::exit::finish(sidecar_logshipper::main())
}
