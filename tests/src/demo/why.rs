//! The sentence that a person reads for a reason code: from the policies' own texts.

use std::collections::BTreeMap;

use schakel_policy::bundle::Bundle;

use super::problem::{Problem, Result};

/// Reason code -> sentence, in Dutch, the language of the network.
#[derive(Clone, Debug)]
pub struct Reasons(BTreeMap<String, String>);

impl Reasons {
    /// Those of the built-in policies.
    pub fn built_in() -> Result<Self> {
        let bundle = Bundle::built_in().map_err(Problem::during("the built-in policies"))?;
        let dutch = bundle
            .texts()
            .language("nl")
            .map(|language| language.reason.clone());
        Ok(Self(dutch.unwrap_or_default()))
    }

    /// The sentence; empty if there is none.
    pub fn sentence(&self, reason: &str) -> &str {
        self.0.get(reason).map_or("", String::as_str)
    }
}
