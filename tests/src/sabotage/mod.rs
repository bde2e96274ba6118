//! Builds that are wrong on purpose (`tests/sabotage.toml`), and whether the tests notice. `tests/run --sabotage`.

use std::path::Path;

use serde::Deserialize;

pub mod bench;

pub mod tree;

/// One thing made wrong, and the test that must fail on it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sabotage {
    /// Short name.
    pub name: String,
    /// The file, from the repository's root.
    pub file: String,
    /// What stands in it exactly once.
    pub text: String,
    /// What stands there instead in the wrong build.
    pub instead: String,
    /// What is wrong then.
    pub why: String,
    /// Arguments to `cargo test` that pick where the test is.
    pub place: Vec<String>,
    /// The test: its whole path within its program.
    pub test: String,
    /// Whether the test starts programs of other packages, which must be built first.
    #[serde(default)]
    pub programs: bool,
    /// Rounds of the test, if not as many as usual.
    pub rounds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    sabotage: Vec<Sabotage>,
}

/// Reads the table.
///
/// # Errors
/// It is not such a table, or has a name twice.
pub fn parse(text: &str) -> Result<Vec<Sabotage>, String> {
    let table: Table = toml::from_str(text).map_err(|e| e.to_string())?;
    let mut names: Vec<&str> = table.sabotage.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|two| two.first() == two.last()) {
        return Err(format!("there are two of {twice:?}"));
    }
    Ok(table.sabotage)
}

/// The table of a repository.
///
/// # Errors
/// It cannot be read.
pub fn all(root: &Path) -> Result<Vec<Sabotage>, String> {
    let path = root.join("tests/sabotage.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&text).map_err(|e| format!("{}: {e}", path.display()))
}

impl Sabotage {
    /// The file's text made wrong.
    ///
    /// # Errors
    /// What is to be replaced does not stand in it exactly once, or would stay as it is.
    pub fn applied(&self, before: &str) -> Result<String, String> {
        let found = before.matches(&self.text).count();
        if found != 1 {
            return Err(format!(
                "{}: what it replaces stands {found} times in {}, not once",
                self.name, self.file
            ));
        }
        if self.text == self.instead {
            return Err(format!("{}: it changes nothing", self.name));
        }
        Ok(before.replacen(&self.text, &self.instead, 1))
    }
}
