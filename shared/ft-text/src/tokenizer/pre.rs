//! How text is cut into words before BPE, by the name that GGUF gives the scheme
//! (`tokenizer.ggml.pre`). The patterns are those of the models' own `tokenizer.json`.

use tokenizers::SplitDelimiterBehavior::{Contiguous, Isolated};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::punctuation::Punctuation;
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

const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// DeepSeek cuts in several passes, each over the pieces of the one before.
const LINES: &str = r"[\r\n]";
const DEEPSEEK_LETTERS: &str = "\\s?[A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}\
    \u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\
    \u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\
    \u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\
    \u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\
    \u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\
    \u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\
    \u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\
    \u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\
    \u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}\
    \u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\
    \u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\
    \u{118A0}-\u{118DF}\u{1E900}-\u{1E943}]+";
const DEEPSEEK_SIGNS: &str = "\\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+";
const DEEPSEEK_HAN: &str = "[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]+";
const DEEPSEEK3_DIGITS: &str = r"\p{N}{1,3}";
const DEEPSEEK3_HAN: &str = "[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const THREE_DIGITS: &str = r"[0-9][0-9][0-9]";

/// The names known here, for messages.
pub(super) const KNOWN: &str = "gpt-2, mpt, olmo, jais, smollm, starcoder, refact, command-r, exaone, llama-bpe, \
                                smaug-bpe, dbrx, glm4, qwen2, qwen35, tekken, gpt-4o, deepseek-llm, \
                                deepseek-coder, deepseek-v3, falcon";

/// The scheme called `name`; `None` if it is not known.
pub(super) fn scheme(name: &str) -> Option<Result<Scheme>> {
    Some(match name {
        "gpt-2" | "gpt2" | "default" | "phi-2" | "jina-v2-en" | "trillion" | "jais" | "exaone4" | "granite-docling"
        | "modern-bert" => Ok(plain(vec![gpt2()])),
        "mpt" | "olmo" => Ok(nfc(plain(vec![gpt2()]))),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => {
            Ok(plain(vec![Digits::new(true).into(), gpt2()]))
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" | "glm4"
        | "glm5" => patterns(&[LLAMA3]).map(whole_words),
        "smaug-bpe" | "dbrx" | "chatglm-bpe" => patterns(&[LLAMA3]),
        "qwen2" | "deepseek-r1-qwen" | "megrez" => patterns(&[QWEN2]).map(nfc),
        "qwen35" => patterns(&[QWEN35]),
        "tekken" => patterns(&[TEKKEN]).map(whole_words),
        "gpt-4o" | "llama4" | "minimax-m2" | "kanana2" => patterns(&[GPT4O]),
        "deepseek-llm" => patterns(&[LINES, DEEPSEEK_LETTERS, DEEPSEEK_SIGNS, r"\s+$", DEEPSEEK_HAN, r"\p{N}+"]),
        "deepseek-coder" => patterns(&[LINES, r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_HAN, r"\p{N}"]),
        "deepseek-v3" | "hunyuan-dense" => patterns(&[DEEPSEEK3_DIGITS, DEEPSEEK3_HAN, DEEPSEEK3]),
        "falcon" => falcon(),
        _ => return None,
    })
}

/// Falcon maps to bytes before it parts digits.
fn falcon() -> Result<Scheme> {
    let punctuation = Punctuation::new(Contiguous);
    Ok(plain(vec![punctuation.into(), gpt2(), Digits::new(false).into(), split(THREE_DIGITS)?]))
}

fn gpt2() -> PreTokenizerWrapper {
    ByteLevel::new(false, true, true).into()
}

fn plain(steps: Vec<PreTokenizerWrapper>) -> Scheme {
    Scheme { normalizer: None, pre_tokenizer: Sequence::new(steps).into(), ignore_merges: false }
}

fn nfc(scheme: Scheme) -> Scheme {
    Scheme { normalizer: Some(NFC.into()), ..scheme }
}

fn whole_words(scheme: Scheme) -> Scheme {
    Scheme { ignore_merges: true, ..scheme }
}

fn split(regex: &str) -> Result<PreTokenizerWrapper> {
    Ok(Split::new(SplitPattern::Regex(regex.into()), Isolated, false)?.into())
}

/// Each pattern cuts what the one before it left in pieces, its matches and what lies
/// between them; then the pieces are mapped to bytes.
fn patterns(regexes: &[&str]) -> Result<Scheme> {
    let mut steps = regexes.iter().map(|regex| split(regex)).collect::<Result<Vec<_>>>()?;
    steps.push(ByteLevel::new(false, true, false).into());
    Ok(plain(steps))
}
