//! Where a file comes from, kept in its key/value metadata.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One input of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDigest {
    /// File name without its folder, or `-`; empty where a result must not
    /// depend on it (the same rows from a file and from a pipe).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// SHA-256 of the input's bytes, 64 hexadecimal digits.
    pub sha256: String,
}

/// Which program made a file, how, and from what. The same inputs and
/// arguments give the same record wherever the files lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The program, such as `ft-prep`.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// What was typed, without what never changes a result and without folders.
    pub arguments: Vec<String>,
    /// The inputs in their order.
    pub inputs: Vec<InputDigest>,
    /// Further keys, such as `ft.tokenizer_sha256`.
    pub extra: BTreeMap<String, String>,
}

impl Provenance {
    /// The key/value pairs of a file's metadata: `ft.tool`, `ft.version`,
    /// `ft.arguments` and `ft.inputs` (JSON), then the extra ones by name.
    pub fn to_pairs(&self) -> Vec<(String, String)> {
        let json = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "[]".into());
        let mut pairs = vec![
            ("ft.tool".into(), self.tool.clone()),
            ("ft.version".into(), self.version.clone()),
            ("ft.arguments".into(), json(serde_json::to_string(&self.arguments))),
            ("ft.inputs".into(), json(serde_json::to_string(&self.inputs))),
        ];
        pairs.extend(self.extra.clone());
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_the_names_that_readers_look_for() {
        let provenance = Provenance {
            tool: "ft-x".into(),
            version: "1".into(),
            arguments: vec!["--a".into()],
            inputs: vec![InputDigest { name: "f".into(), sha256: "00".into() }],
            extra: [("ft.model".to_owned(), "m".to_owned())].into(),
        };
        let pairs = provenance.to_pairs();
        assert_eq!(pairs[2], ("ft.arguments".into(), r#"["--a"]"#.into()));
        assert_eq!(pairs[3].1, r#"[{"name":"f","sha256":"00"}]"#);
        assert_eq!(pairs[4], ("ft.model".into(), "m".into()));
    }
}
