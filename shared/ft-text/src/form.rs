//! How a prompt must look for what was learned: the template, the form of the messages, the ends of answers.
//!
//! `ft-template` writes it into the metadata of the tokens, `ft-train` from there into those of the adapter, with the
//! template as a file beside it, and `ft-merge` from there into the merged model.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::origin::{
    END_IDS_KEY, PREFIX_KEY, TEMPLATE_DIGEST_KEY, TEMPLATE_KEY, TOOL_TEMPLATE_KEY, TRAVELLING, USER_FORMAT_KEY,
};
use crate::template::digest;

/// Where a Hugging Face folder keeps its template.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";
/// Where it keeps the template for conversations with tools, if that is another.
pub const TOOL_TEMPLATE_FILE: &str = "additional_chat_templates/tool_use.jinja";

/// The form of the user's messages where a prefix is given and no form.
pub const PREFIXED: &str = "{prefix}: [{input}]";

/// The keys of [`TRAVELLING`] and their texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// What a file's metadata say of it.
    pub fn of<'a>(metadata: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let found = metadata.into_iter().filter(|(key, _)| TRAVELLING.contains(&key.as_str()));
        Self(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// What an adapter says of it: its weights' `metadata`, and the template in its `folder`, which people edit and
    /// which peft's and TRL's adapters have too, before that of the metadata.
    ///
    /// # Errors
    /// [`Error::Io`] if the template is there and cannot be read.
    pub fn of_adapter<'a>(
        metadata: impl IntoIterator<Item = (&'a String, &'a String)>,
        folder: Option<&Path>,
    ) -> Result<Self> {
        let mut form = Self::of(metadata);
        let read = |name: &str| {
            let file = folder.map(|folder| folder.join(name)).filter(|file| file.is_file());
            file.map(|file| std::fs::read_to_string(&file).map_err(|e| Error::io(&file, e))).transpose()
        };
        if let Some(template) = read(TEMPLATE_FILE)? {
            let tools = read(TOOL_TEMPLATE_FILE)?;
            form.0.insert(TEMPLATE_DIGEST_KEY.into(), digest(&template, tools.as_deref()));
            form.0.insert(TEMPLATE_KEY.into(), template);
            match tools {
                Some(tools) => form.0.insert(TOOL_TEMPLATE_KEY.into(), tools),
                None => form.0.remove(TOOL_TEMPLATE_KEY),
            };
        }
        Ok(form)
    }

    /// Keys and texts, as they go into a file's metadata.
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The text of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The ids that end an answer.
    pub fn end_ids(&self) -> Vec<u32> {
        self.get(END_IDS_KEY).and_then(|ids| serde_json::from_str(ids).ok()).unwrap_or_default()
    }

    /// What stands before and after what a user says, if anything does and the text occurs once in it.
    pub fn around_user(&self) -> Option<(String, String)> {
        let prefix = self.get(PREFIX_KEY);
        let format = self.get(USER_FORMAT_KEY).or(prefix.map(|_| PREFIXED))?;
        let (before, after) = format.split_once("{input}").filter(|(_, after)| !after.contains("{input}"))?;
        let put = |part: &str| part.replace("{prefix}", prefix.unwrap_or_default());
        Some((put(before), put(after)))
    }

    /// Whether both name a template, and another one.
    pub fn has_another_template(&self, digest: Option<&str>) -> bool {
        self.get(TEMPLATE_DIGEST_KEY).zip(digest).is_some_and(|(own, other)| own != other)
    }

    /// Writes the templates into the folder `to`, where they are; one that is there without its twin is removed.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write_templates(&self, to: &Path) -> Result<()> {
        let Some(template) = self.get(TEMPLATE_KEY) else { return Ok(()) };
        let file = to.join(TEMPLATE_FILE);
        std::fs::write(&file, template).map_err(|e| Error::io(&file, e))?;
        let file = to.join(TOOL_TEMPLATE_FILE);
        match (self.get(TOOL_TEMPLATE_KEY), file.parent()) {
            (Some(tools), Some(parent)) => {
                std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
                std::fs::write(&file, tools).map_err(|e| Error::io(&file, e))
            }
            _ if file.is_file() => std::fs::remove_file(&file).map_err(|e| Error::io(&file, e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapters_own_file_goes_before_its_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let metadata = BTreeMap::from([
            pair(TEMPLATE_KEY, "old"),
            pair(TOOL_TEMPLATE_KEY, "old tools"),
            pair(TEMPLATE_DIGEST_KEY, "x"),
            pair(END_IDS_KEY, "[2,7]"),
            pair("ft.tool", "t"),
        ]);
        let form = Form::of_adapter(&metadata, Some(folder.path())).unwrap();
        assert_eq!((form.get(TEMPLATE_KEY), form.end_ids()), (Some("old"), vec![2, 7]));
        assert_eq!(form.get("ft.tool"), None);
        std::fs::write(folder.path().join(TEMPLATE_FILE), "new").unwrap();
        let form = Form::of_adapter(&metadata, Some(folder.path())).unwrap();
        assert_eq!((form.get(TEMPLATE_KEY), form.get(TOOL_TEMPLATE_KEY)), (Some("new"), None));
        let own = crate::ChatTemplate::new("new", &[]).unwrap().sha256();
        assert!(!form.has_another_template(Some(&own)) && form.has_another_template(Some("x")));
        assert!(!form.has_another_template(None));
    }
}
