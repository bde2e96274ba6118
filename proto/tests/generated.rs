//! The generated wire types are checked in; this fails when they differ from the schema.
//! `SCHAKEL_REGENERATE=1 cargo test -p schakel-proto --test generated` writes them anew.

use std::path::Path;

#[test]
fn generated_types_match_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = ["packet", "network", "evidence", "broker"]
        .iter()
        .map(|name| root.join(format!("schakel/v1/{name}.proto")))
        .collect();
    let descriptors = protox::compile(&files, [root]).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .bytes(".")
        .out_dir(out.path())
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .unwrap();
    let made = std::fs::read_to_string(out.path().join("schakel.v1.rs")).unwrap();
    let kept = root.join("src/gen/schakel.v1.rs");
    if std::env::var_os("SCHAKEL_REGENERATE").is_some() {
        std::fs::write(&kept, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&kept).unwrap();
    assert!(
        made == kept,
        "src/gen/schakel.v1.rs is stale: run with SCHAKEL_REGENERATE=1"
    );
}
