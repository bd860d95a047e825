//! Generation on the models of `testdata/reference`: the cache against the whole forward, and a
//! sequence alone against the same among others.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::{DType, Tensor};
use ft_kernels::Compute;
use ft_model::batch::{Batch, Sequence};
use ft_model::checkpoint::Checkpoint;
use ft_model::decoder::Decoder;
use ft_model::generate::{Answer, Generator, Options, Session};
use ft_model::layers::Resident;
use ft_model::lora::Adapter;
use ft_model::{Architecture, Error};

struct Model {
    arch: Architecture,
    source: Resident,
    adapter: Option<Adapter>,
}

impl Model {
    fn open(name: &str, dtype: DType, adapted: bool) -> Self {
        let dir = reference(name);
        let checkpoint = Checkpoint::open(&dir.join("model")).unwrap();
        let source = Resident::load(&checkpoint, dtype, |_| {}).unwrap();
        let adapter = adapted.then(|| Adapter::load(&dir.join("adapter_final")).unwrap());
        Self { arch: checkpoint.architecture().clone(), source, adapter }
    }

    fn decoder(&self) -> Decoder<'_> {
        Decoder { compute: Compute::cpu(), arch: &self.arch, source: &self.source, adapter: self.adapter.as_ref() }
    }

    /// Prompts of different lengths, whose tokens have nothing in common.
    fn prompts(&self, count: usize) -> Vec<Vec<u32>> {
        let token = |i: usize, t: usize| ((i * 31 + t * 17 + 5) % self.arch.vocab_size) as u32;
        (0..count).map(|i| (0..=(i * 5) % 13).map(|t| token(i, t)).collect()).collect()
    }

    /// All answers, and the logits that each of their tokens was chosen from.
    fn answers(&self, prompts: &[Vec<u32>], options: Options) -> (Vec<Answer>, Vec<Vec<Vec<f32>>>) {
        let logits = Mutex::new(vec![Vec::new(); prompts.len()]);
        let mut choose = |prompt: usize, row: &Tensor| {
            logits.lock().unwrap()[prompt].push(row.to_vec1().unwrap());
            Ok(row.argmax(0)?.to_scalar()?)
        };
        let mut generator = Generator::new(self.decoder(), prompts, options).unwrap();
        let mut answers = Vec::new();
        while !generator.is_done() {
            answers.extend(generator.step(&mut choose).unwrap());
        }
        answers.sort_by_key(|answer| answer.prompt);
        (answers, logits.into_inner().unwrap())
    }
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/reference").join(name)
}

fn options(max_new_tokens: usize, batch_size: usize) -> Options {
    Options { max_new_tokens, batch_size, end_ids: Vec::new() }
}

/// The models of all kinds: plain, tied with biases, stretched positions, mixtures of experts.
const MODELS: [&str; 5] = ["llama-s0", "llama_tied_bias-s0", "llama3_rope-s0", "mixtral-s36", "qwen3_moe-s38"];

#[test]
fn logits_with_the_cache_are_those_of_the_whole_text() {
    for (name, adapted) in MODELS.iter().flat_map(|name| [(name, false), (name, true)]) {
        let model = Model::open(name, DType::F32, adapted);
        let prompts = model.prompts(3);
        let (answers, logits) = model.answers(&prompts, options(9, 3));
        for (answer, logits) in answers.iter().zip(&logits) {
            let prompt = &prompts[answer.prompt];
            let ids: Vec<u32> = prompt.iter().chain(&answer.tokens).copied().collect();
            let whole = Batch::new([&Sequence { labels: vec![-100; ids.len()], input_ids: ids }]);
            let whole = model.decoder().logits(&whole).unwrap().to_vec2::<f32>().unwrap();
            for (step, row) in logits.iter().enumerate() {
                let expected = &whole[prompt.len() - 1 + step];
                let difference = row.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(difference < 1e-4, "{name}, adapter {adapted}, step {step}: {difference}");
            }
        }
    }
}

#[test]
fn a_sequence_does_not_know_its_batch() {
    for (dtype, adapted) in [(DType::F32, true), (DType::BF16, false), (DType::F16, true)] {
        let model = Model::open("llama-s0", dtype, adapted);
        let prompts = model.prompts(8);
        let together = model.answers(&prompts, options(7, 8));
        for batch_size in [1, 3] {
            assert!(model.answers(&prompts, options(7, batch_size)) == together, "{dtype:?}, {batch_size} at a time");
        }
    }
}

#[test]
fn a_beginning_that_prompts_share_changes_nothing() {
    let model = Model::open("llama_tied_bias-s0", DType::F32, true);
    let begin: Vec<u32> = (0..20).map(|t| (t * 29 + 3) % 250).collect();
    let prompts: Vec<Vec<u32>> = model.prompts(5).into_iter().map(|own| [begin.clone(), own].concat()).collect();
    let together = model.answers(&prompts, options(6, 5));
    assert!(model.answers(&prompts, options(6, 1)) == together);
}

#[test]
fn an_end_token_frees_the_seat() {
    let model = Model::open("llama-s0", DType::F32, false);
    let prompts = model.prompts(6);
    let (long, _) = model.answers(&prompts, options(8, 6));
    // What the first answer says third ends it, and whoever else says it.
    let end = long[0].tokens[2];
    let cut = |tokens: &[u32]| tokens.iter().position(|&t| t == end).map_or(tokens.len(), |at| at + 1);
    for batch_size in [1, 2, 4, 6] {
        let (short, _) = model.answers(&prompts, Options { end_ids: vec![end], ..options(8, batch_size) });
        for (short, long) in short.iter().zip(&long) {
            assert_eq!(short.tokens, long.tokens[..cut(&long.tokens)]);
            assert_eq!(short.ended, long.tokens.contains(&end));
        }
    }
}

#[test]
fn an_answer_ends_where_the_model_does() {
    let mut model = Model::open("llama-s0", DType::F32, false);
    model.arch.learned_positions = Some(10);
    let (answers, _) = model.answers(&[vec![1, 2, 3, 4]], options(100, 2));
    assert_eq!((answers[0].tokens.len(), answers[0].ended), (6, false));
}

#[test]
fn an_answer_goes_beyond_the_context_where_so_many_tokens_are_asked_for() {
    let mut model = Model::open("llama-s0", DType::F32, false);
    model.arch.max_position_embeddings = 10;
    let of = |asked: usize, prompt: usize| {
        let (answers, _) = model.answers(&[vec![1; prompt]], options(asked, 2));
        answers[0].tokens.len()
    };
    assert_eq!((of(8, 4), of(8, 12)), (8, 8), "they are had");
    assert_eq!((of(100, 4), of(100, 12)), (6, 10), "more than all that there is means what there is");
}

#[test]
fn prompts_that_cannot_be_continued_are_named() {
    let mut model = Model::open("llama-s0", DType::F32, false);
    model.arch.learned_positions = Some(4);
    let vocabulary = model.arch.vocab_size;
    let refused = |prompt: Vec<u32>| {
        let prompts = [vec![1], prompt];
        match Generator::new(model.decoder(), &prompts, options(1, 1)) {
            Err(error @ Error::Prompt { .. }) => error.to_string(),
            other => panic!("{:?}", other.err()),
        }
    };
    assert_eq!(refused(vec![]), "prompt 2 has no tokens to go on from");
    assert!(refused(vec![1; 4]).ends_with("which leaves no room for an answer: the model takes 4"));
    let unknown = vocabulary as u32;
    assert!(refused(vec![unknown]).contains(&format!("token {unknown}, but the model's vocabulary has {vocabulary}")));
}

#[test]
fn the_next_turn_reads_what_is_new_alone_and_finds_what_a_whole_reading_finds() {
    let more = ["gemma3_text-s20", "qwen3_window-s14", "gpt2-s28", "phi3_longrope-s16", "llama_dynamic_rope_short-s4"];
    for name in MODELS.iter().chain(&more) {
        let model = Model::open(name, DType::F32, false);
        let token = |t: usize| ((t * 17 + 5) % model.arch.vocab_size) as u32;
        let likeliest = |logits: &Tensor| logits.argmax(0).unwrap().to_scalar::<u32>().unwrap();
        let mut session = Session::new(model.decoder());
        let mut said: Vec<u32> = (0..6).map(token).collect();
        let (mut logits, kept) = session.read(&said).unwrap();
        assert_eq!(kept, 0);
        for _ in 0..5 {
            said.push(likeliest(&logits));
            logits = session.go_on(said[said.len() - 1]).unwrap();
        }
        let read = said.len();
        // The next turn, one that begins alike, and one with nothing new but its last token.
        let next: Vec<u32> = said.iter().copied().chain((20..27).map(token)).collect();
        let other: Vec<u32> = said[..4].iter().copied().chain((40..43).map(token)).collect();
        for (prompt, expected) in [(&next, read), (&other, 4), (&other, other.len() - 1)] {
            let (logits, kept) = session.read(prompt).unwrap();
            let (whole, _) = Session::new(model.decoder()).read(prompt).unwrap();
            let (logits, whole) = (logits.to_vec1::<f32>().unwrap(), whole.to_vec1::<f32>().unwrap());
            let difference = logits.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference < 1e-4, "{name}: {difference}");
            if MODELS.contains(name) {
                assert_eq!(kept, expected, "{name}");
            }
        }
        session.reset();
        assert_eq!(session.read(&next).unwrap().1, 0);
    }
}
