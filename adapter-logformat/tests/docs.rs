//! What the binary says about itself and what its README says are the same.

#[test]
fn help_schema_and_readme_agree() {
    testkit::docs::agree(
        env!("CARGO_BIN_EXE_adapter-logformat"),
        include_str!("../README.md"),
        &["test", "probe"],
    );
}
