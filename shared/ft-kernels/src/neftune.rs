//! NEFTune (Jain et al., "NEFTune: Noisy Embeddings Improve Instruction Finetuning", 2023, algorithm 1): in training,
//! uniform noise on the embeddings, the weaker the longer the sequence.

use crate::philox::Stream;
use crate::simd::Isa;

/// The noise for a sequence of `tokens` embeddings of `hidden` elements: uniform within ±`alpha`/√(tokens · hidden).
///
/// Nothing is padded here, so `tokens` is the sequence's own length, as in the paper; the peers count the padding of
/// the batch, or the neighbours in a packed row, too. Element `(t, j)` is word `t * hidden + j` of the sequence's
/// stream and depends on nothing else but the length.
pub fn neftune_noise(isa: Isa, stream: &Stream, tokens: usize, hidden: usize, alpha: f64) -> Vec<f32> {
    let mut noise = vec![0.0; tokens * hidden];
    stream.fill_uniform_with(isa, 0, &mut noise);
    let bound = neftune_bound(tokens, hidden, alpha);
    for x in &mut noise {
        *x = (*x * 2.0 - 1.0) * bound;
    }
    noise
}

/// The largest magnitude of [`neftune_noise`].
pub fn neftune_bound(tokens: usize, hidden: usize, alpha: f64) -> f32 {
    (alpha / ((tokens * hidden) as f64).sqrt()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::testing::same_on_every_isa;

    #[test]
    fn noise_is_uniform_within_its_bound() {
        let (tokens, hidden, alpha) = (100, 64, 5.0);
        let stream = Stream::new(7, 3, 11);
        let noise = neftune_noise(Isa::best(), &stream, tokens, hidden, alpha);
        let bound = 5.0f64 / 80.0;
        assert_eq!(f64::from(neftune_bound(tokens, hidden, alpha)), bound);
        assert!(noise.iter().all(|x| f64::from(x.abs()) <= bound));
        let n = noise.len() as f64;
        let mean = noise.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let square = noise.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / n;
        // A uniform number's variance is bound²/3; the averages of 6400 of them stray by about a hundredth.
        assert!(mean.abs() < 0.05 * bound, "{mean}");
        assert!((square / (bound * bound / 3.0) - 1.0).abs() < 0.05, "{square}");
    }

    #[test]
    fn an_element_depends_on_its_place_alone() {
        let stream = Stream::new(7, 3, 11);
        let noise = neftune_noise(Isa::best(), &stream, 9, 33, 5.0);
        let bound = neftune_bound(9, 33, 5.0);
        for (i, &x) in noise.iter().enumerate() {
            assert_eq!(x, (stream.uniform_f32(i as u64) * 2.0 - 1.0) * bound);
        }
        assert_ne!(noise, neftune_noise(Isa::best(), &Stream::new(7, 3, 12), 9, 33, 5.0), "another sequence");
        assert_ne!(noise, neftune_noise(Isa::best(), &Stream::new(8, 3, 11), 9, 33, 5.0), "another seed");
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let stream = Stream::new(1, 2, 3);
        assert!(same_on_every_isa(|isa| neftune_noise(isa, &stream, 17, 100, 5.0)));
    }
}
