//! Help, schema and README say the same.

#[test]
fn help_schema_and_readme_agree() {
    let readme = include_str!("../README.md");
    testkit::docs::agree(
        env!("CARGO_BIN_EXE_init-waitfor"),
        readme,
        &["status", "explain", "migration", "migrate", "install", "write", "fetch", "probe"],
    );
}
