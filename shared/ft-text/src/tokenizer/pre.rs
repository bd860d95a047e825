//! How text is cut into words before BPE, by the name that GGUF gives the scheme
//! (`tokenizer.ggml.pre`). The patterns are those of the models' own `tokenizer.json`.

use tokenizers::SplitDelimiterBehavior::Isolated;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, Result};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What precedes BPE.
pub(super) struct Scheme {
    pub normalizer: Option<NormalizerWrapper>,
    pub pre_tokenizer: PreTokenizerWrapper,
    /// A word that is in the vocabulary as a whole is taken as it is.
    pub ignore_merges: bool,
}

/// The names known here, for messages.
pub(super) const KNOWN: &str = "gpt-2, smollm, starcoder, refact, command-r, exaone, llama-bpe, \
                                smaug-bpe, dbrx, qwen2, tekken, gpt-4o";

/// The scheme called `name`; `None` if it is not known.
pub(super) fn scheme(name: &str) -> Option<Result<Scheme>> {
    Some(match name {
        "gpt-2" | "gpt2" | "default" | "phi-2" | "olmo" | "mpt" | "jina-v2-en" | "trillion" => Ok(plain(vec![gpt2()])),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            Ok(plain(vec![Digits::new(true).into(), gpt2()]))
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "lfm2" => pattern(LLAMA3, true),
        "smaug-bpe" | "dbrx" => pattern(LLAMA3, false),
        "qwen2" | "deepseek-r1-qwen" | "megrez" => {
            pattern(QWEN2, false).map(|scheme| Scheme { normalizer: Some(NFC.into()), ..scheme })
        }
        "tekken" => pattern(TEKKEN, true),
        "gpt-4o" | "llama4" => pattern(GPT4O, false),
        _ => return None,
    })
}

fn gpt2() -> PreTokenizerWrapper {
    ByteLevel::new(false, true, true).into()
}

fn plain(steps: Vec<PreTokenizerWrapper>) -> Scheme {
    Scheme { normalizer: None, pre_tokenizer: Sequence::new(steps).into(), ignore_merges: false }
}

fn pattern(regex: &str, ignore_merges: bool) -> Result<Scheme> {
    let split = Split::new(SplitPattern::Regex(regex.into()), Isolated, false)?;
    Ok(Scheme { ignore_merges, ..plain(vec![split.into(), ByteLevel::new(false, true, false).into()]) })
}
