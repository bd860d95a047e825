//! Reads `config.json`, in the keys of transformers 4 and of transformers 5.

use std::path::Path;

use serde_json::Value;

use super::{Architecture, KNOWN, Rope, RopeScaling};
use crate::error::{Error, Result};

/// Keys that change what a llama computes and are not implemented, with the values that change nothing.
const REFUSED: [(&str, &[&str]); 4] = [
    ("hidden_act", &["\"silu\"", "\"swish\""]),
    ("sliding_window", &["null"]),
    ("quantization_config", &["null"]),
    ("partial_rotary_factor", &["1.0", "1", "null"]),
];

impl Architecture {
    /// Reads a configuration; `path` is for the messages.
    ///
    /// # Errors
    /// If the family is not known, a key is missing or of the wrong kind, or a key changes the mathematics
    /// in a way that is not implemented.
    pub fn from_config(config: &Value, path: &Path) -> Result<Self> {
        let keys = Keys { config, path };
        let family = keys.text("model_type")?;
        if !KNOWN.contains(&family.as_str()) {
            return Err(keys.wrong(&format!("model_type '{family}' is not one that ft knows; it knows {}", KNOWN.join(", "))));
        }
        for (key, harmless) in REFUSED {
            if let Some(value) = config.get(key).filter(|v| !harmless.contains(&v.to_string().as_str())) {
                return Err(keys.wrong(&format!("{key} = {value} is not implemented for {family}")));
            }
        }
        let hidden_size = keys.size("hidden_size")?;
        let num_heads = keys.size("num_attention_heads")?;
        let head_dim = keys.maybe_size("head_dim")?.unwrap_or(hidden_size / num_heads.max(1));
        let arch = Self {
            family,
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?,
            num_layers: keys.size("num_hidden_layers")?,
            num_heads,
            num_kv_heads: keys.maybe_size("num_key_value_heads")?.unwrap_or(num_heads),
            head_dim,
            vocab_size: keys.size("vocab_size")?,
            max_position_embeddings: keys.maybe_size("max_position_embeddings")?.unwrap_or(2048),
            rms_norm_eps: keys.number(config, "rms_norm_eps")?.unwrap_or(1e-6),
            rope: keys.rope()?,
            tie_word_embeddings: keys.flag("tie_word_embeddings"),
            attention_bias: keys.flag("attention_bias"),
            mlp_bias: keys.flag("mlp_bias"),
            bos_token_id: keys.ids("bos_token_id").first().copied(),
            eos_token_ids: keys.ids("eos_token_id"),
            pad_token_id: keys.ids("pad_token_id").first().copied(),
        };
        arch.check(path)?;
        Ok(arch)
    }

    /// What would make the operators fail later.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let sizes = [self.hidden_size, self.intermediate_size, self.num_layers, self.num_heads, self.num_kv_heads, self.vocab_size];
        if sizes.contains(&0) || self.head_dim == 0 || self.head_dim % 2 == 1 || self.num_heads % self.num_kv_heads != 0 {
            let message = format!(
                "sizes that do not fit together: {} heads over {} key/value heads of {} elements, hidden size {}, {} layers",
                self.num_heads, self.num_kv_heads, self.head_dim, self.hidden_size, self.num_layers
            );
            return Err(Error::format(path, message));
        }
        Ok(())
    }
}

/// The configuration with typed look-ups whose errors name the key.
struct Keys<'a> {
    config: &'a Value,
    path: &'a Path,
}

impl Keys<'_> {
    fn wrong(&self, message: &str) -> Error {
        Error::Architecture(format!("'{}': {message}", self.path.display()))
    }

    fn text(&self, key: &str) -> Result<String> {
        let text = self.config.get(key).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| self.wrong(&format!("{key} is missing or no text")))
    }

    fn maybe_size(&self, key: &str) -> Result<Option<usize>> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) => Ok(Some(n as usize)),
                None => Err(self.wrong(&format!("{key} is {value}, expected a whole number"))),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.maybe_size(key)?.ok_or_else(|| self.wrong(&format!("{key} is missing")))
    }

    fn number(&self, from: &Value, key: &str) -> Result<Option<f64>> {
        match from.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(x) => Ok(Some(x)),
                None => Err(self.wrong(&format!("{key} is {value}, expected a number"))),
            },
        }
    }

    fn flag(&self, key: &str) -> bool {
        self.config.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// One token or a list of them.
    fn ids(&self, key: &str) -> Vec<u32> {
        let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
        match self.config.get(key) {
            Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
            Some(one) => id(one).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// `rope_parameters`, or `rope_theta` with `rope_scaling`.
    fn rope(&self) -> Result<Rope> {
        let nothing = Value::Null;
        let new = self.config.get("rope_parameters").filter(|v| v.is_object());
        let scaling = new.or_else(|| self.config.get("rope_scaling")).unwrap_or(&nothing);
        let theta = match self.number(scaling, "rope_theta")? {
            Some(theta) => theta,
            None => self.number(self.config, "rope_theta")?.unwrap_or(10_000.0),
        };
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str).unwrap_or("default");
        let need = |key: &str| -> Result<f64> {
            self.number(scaling, key)?.ok_or_else(|| self.wrong(&format!("rope scaling '{kind}' lacks {key}")))
        };
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: need("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_max_position_embeddings: need("original_max_position_embeddings")?,
            },
            other => return Err(self.wrong(&format!("rope_type '{other}' is not implemented; default, linear and llama3 are"))),
        };
        Ok(Rope { theta, scaling })
    }
}
