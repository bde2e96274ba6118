//! The files of the default bundle, compiled in. A test compares the list with the folder.

use std::collections::BTreeMap;

/// Path and content of each file.
const FILES: &[(&str, &str)] = &[
    ("bundle.toml", include_str!("../../bundle.toml")),
    ("cases/bases.jsonl", include_str!("../../cases/bases.jsonl")),
    ("cases/cells.jsonl", include_str!("../../cases/cells.jsonl")),
    (
        "cases/emergency.jsonl",
        include_str!("../../cases/emergency.jsonl"),
    ),
    ("cases/gates.jsonl", include_str!("../../cases/gates.jsonl")),
    ("cases/keys.jsonl", include_str!("../../cases/keys.jsonl")),
    (
        "cases/policy-cases.jsonl",
        include_str!("../../cases/policy-cases.jsonl"),
    ),
    (
        "cases/statements.jsonl",
        include_str!("../../cases/statements.jsonl"),
    ),
    ("cases/walls.jsonl", include_str!("../../cases/walls.jsonl")),
    ("matrix.toml", include_str!("../../matrix.toml")),
    ("policies/bases.cedar", include_str!("../../policies/bases.cedar")),
    (
        "policies/definitions.cedar",
        include_str!("../../policies/definitions.cedar"),
    ),
    ("policies/gates.cedar", include_str!("../../policies/gates.cedar")),
    ("policies/keys.cedar", include_str!("../../policies/keys.cedar")),
    (
        "policies/matrix.cedar",
        include_str!("../../policies/matrix.cedar"),
    ),
    (
        "policies/obligations.cedar",
        include_str!("../../policies/obligations.cedar"),
    ),
    (
        "policies/originators.cedar",
        include_str!("../../policies/originators.cedar"),
    ),
    (
        "policies/purposes.cedar",
        include_str!("../../policies/purposes.cedar"),
    ),
    (
        "policies/secrecy.cedar",
        include_str!("../../policies/secrecy.cedar"),
    ),
    (
        "policies/statements.cedar",
        include_str!("../../policies/statements.cedar"),
    ),
    ("policies/walls.cedar", include_str!("../../policies/walls.cedar")),
    ("references.toml", include_str!("../../references.toml")),
    ("schakel.cedarschema", include_str!("../../schakel.cedarschema")),
    ("texts/en.toml", include_str!("../../texts/en.toml")),
    ("texts/fr.toml", include_str!("../../texts/fr.toml")),
    ("texts/nl.toml", include_str!("../../texts/nl.toml")),
];

/// The files by path.
pub(super) fn files() -> BTreeMap<String, Vec<u8>> {
    FILES
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(super::super::archive::read_dir(folder).unwrap(), super::files());
    }
}
