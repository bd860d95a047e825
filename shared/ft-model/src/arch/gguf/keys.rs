//! The metadata, where keys begin with the architecture's name.

use ft_io::gguf::{Content, Value};

use crate::arch::Family;
use crate::arch::keys::wrong;
use crate::error::{Error, Result};

/// The key of the architecture's name.
pub(crate) const ARCHITECTURE: &str = "general.architecture";

/// llama.cpp's name of the file's architecture.
pub(super) fn architecture(content: &Content) -> Result<String> {
    let key = ARCHITECTURE;
    content.string(key).map(str::to_owned).ok_or_else(|| wrong(key, None, "the architecture's name"))
}

pub(super) struct GgufKeys<'a> {
    pub content: &'a Content,
    prefix: String,
}

impl<'a> GgufKeys<'a> {
    pub fn new(content: &'a Content, prefix: String) -> Self {
        Self { content, prefix }
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.content.metadata.get(&format!("{}.{key}", self.prefix))
    }

    pub fn wrong(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map_or_else(|| "missing".into(), Value::told);
        Error::Key { key: format!("{}.{key}", self.prefix), found, expected: expected.into() }
    }

    pub fn unsupported(&self, key: &str, expected: &str) -> Error {
        let value = self.get(key).map_or_else(|| "missing".into(), Value::told);
        Error::Unsupported { key: format!("{}.{key}", self.prefix), value, expected: expected.into() }
    }

    /// A whole number of any width, if that is what it is.
    pub fn whole(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(Value::whole)
    }

    /// A whole number above 0; where there is one a layer, they must be equal.
    pub fn size(&self, key: &str) -> Result<usize> {
        let number = match self.get(key) {
            Some(Value::Array(list)) => {
                let mut values = list.values().into_iter().flatten();
                let first = values.next().and_then(|value| value.whole());
                first.filter(|_| values.all(|value| value.whole() == first))
            }
            Some(value) => value.whole(),
            None => None,
        };
        let number = number.filter(|&n| n > 0 && n < 1 << 40);
        number.map(|n| n as usize).ok_or_else(|| self.wrong(key, "a whole number above 0, the same for each layer"))
    }

    /// [`Self::size`], at most `most`, the number of `what`.
    pub fn size_up_to(&self, key: &str, most: usize, what: &str) -> Result<usize> {
        let size = self.size(key)?;
        if size <= most { Ok(size) } else { Err(self.wrong(key, &format!("at most {most}, the number of {what}"))) }
    }

    pub fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value {
            // The shortest decimal: 1e-5, not the 9.99999974e-6 of the nearest f32.
            Value::F32(x) => x.to_string().parse().ok(),
            Value::F64(x) => Some(*x),
            other => other.whole().map(|n| n as f64),
        };
        let number = number.filter(|x: &f64| x.is_finite() && *x > 0.0);
        number.map(Some).ok_or_else(|| self.wrong(key, "a number above 0"))
    }

    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            Some(Value::Bool(flag)) => Ok(*flag),
            _ => Err(self.wrong(key, "true or false")),
        }
    }

    pub fn has_tensor(&self, name: &str) -> bool {
        self.content.tensors.contains_key(name)
    }

    pub fn token(&self, name: &str) -> Option<u32> {
        self.content.number(&format!("tokenizer.ggml.{name}_token_id"))
    }

    /// Whether layers have a mixture of experts.
    pub fn has_experts(&self) -> bool {
        self.whole("expert_count").is_some_and(|n| n > 0)
    }

    /// Whether layers have a window.
    pub fn has_window(&self) -> bool {
        self.whole("attention.sliding_window").is_some_and(|n| n > 0)
    }

    /// Keys that change what is computed and that the family does not read.
    pub fn refuse_unsupported(&self, family: Family) -> Result<()> {
        if self.has_experts() && !matches!(family, Family::Mixtral | Family::Qwen3Moe) {
            return Err(self.unsupported("expert_count", "0"));
        }
        let experts =
            ["expert_shared_count", "expert_group_count", "expert_weights_scale", "leading_dense_block_count"];
        if let Some(key) = experts.into_iter().find(|key| self.whole(key).is_some_and(|n| n > 0)) {
            return Err(self.unsupported(key, "none"));
        }
        let windows = [Family::Phi3, Family::Gemma2, Family::Gemma3, Family::Olmo3, Family::Cohere2, Family::Exaone4];
        if !windows.contains(&family) && self.has_window() {
            return Err(self.unsupported("attention.sliding_window", "0"));
        }
        if !matches!(family, Family::Gemma3 | Family::Olmo3) && self.get("rope.freq_base_swa").is_some() {
            return Err(self.unsupported("rope.freq_base_swa", "none"));
        }
        if self.get("rope.scaling.finetuned").is_some_and(|v| matches!(v, Value::Bool(false)))
            && family == Family::Granite
        {
            // llama.cpp's word for a Granite without a rotary embedding.
            return Err(self.unsupported("rope.scaling.finetuned", "true"));
        }
        let yarn = ["rope.scaling.alpha", "rope.scaling.yarn_log_multiplier"];
        let more = ["rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor"];
        let yarn = yarn.into_iter().filter(|key| family != Family::Ministral3 || *key == "rope.scaling.alpha");
        if let Some(key) = yarn.chain(more).find(|key| self.get(key).is_some()) {
            return Err(self.unsupported(key, "none"));
        }
        let scales = ["logit_scale", "embedding_scale", "residual_scale", "attention.scale"];
        for key in scales.into_iter().filter(|_| family != Family::Granite) {
            if self.get(key).is_some() && !(family == Family::Cohere2 && key == "logit_scale") {
                return Err(self.unsupported(key, "none"));
            }
        }
        let caps = ["attn_logit_softcapping", "final_logit_softcapping"];
        for key in caps.into_iter().filter(|_| !matches!(family, Family::Gemma2 | Family::Gemma3)) {
            if self.get(key).is_some() {
                return Err(self.unsupported(key, "none"));
            }
        }
        Ok(())
    }
}
