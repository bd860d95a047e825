//! Prompts laid end to end, with what they all begin with only once.
//!
//! Chats begin alike: with the system's message and the template around it. A token's row depends on the
//! tokens before it alone, so the rows of such a beginning are the same in every prompt, bit by bit, and
//! are computed once. Only attention sees them in every prompt.

use candle_core::{Result, Tensor};

/// A shorter beginning saves less than moving rows costs.
const WORTH_SHARING: usize = 4;

/// Positions that follow each other in one sequence, and that sequence's length.
pub(super) type Run = (std::ops::Range<u32>, usize);

/// The rows of some prompts.
pub(super) struct Prompts {
    /// The token of each row: the shared beginning, then what is left of each prompt.
    pub ids: Vec<u32>,
    /// The rows' positions in their prompts, run by run, and the length of each run's prompt.
    pub runs: Vec<Run>,
    /// The row of each prompt's last token.
    pub last: Vec<u32>,
    /// Where each prompt starts if all are laid out whole, and the number of tokens last.
    pub starts: Vec<usize>,
    /// How many tokens are shared.
    shared: usize,
}

impl Prompts {
    /// Lays the prompts out; `may_share` says whether a row depends on nothing but the tokens before it, and not on its
    /// prompt's length.
    pub fn new(prompts: &[&[u32]], may_share: bool) -> Self {
        let shared = if may_share { shared(prompts) } else { 0 };
        let mut this = Self { ids: Vec::new(), runs: Vec::new(), last: Vec::new(), starts: vec![0], shared };
        for (i, prompt) in prompts.iter().enumerate() {
            let from = if i == 0 { 0 } else { shared };
            this.ids.extend_from_slice(&prompt[from..]);
            this.runs.push((from as u32..prompt.len() as u32, prompt.len()));
            this.last.push(this.ids.len().saturating_sub(1) as u32);
            this.starts.push(this.starts[i] + prompt.len());
        }
        this
    }

    /// Rows as all prompts laid out whole have them.
    pub fn whole(&self, rows: Tensor) -> Result<Tensor> {
        if self.shared == 0 { Ok(rows) } else { pick(&rows, &self.row_of_each_token()) }
    }

    /// The other way: of the prompts laid out whole, the rows that are not there before.
    pub fn once(&self, whole: Tensor) -> Result<Tensor> {
        if self.shared == 0 {
            return Ok(whole);
        }
        let own = |(i, span): (usize, &[usize])| span[0] + if i == 0 { 0 } else { self.shared }..span[1];
        let rows: Vec<u32> = self.starts.windows(2).enumerate().flat_map(own).map(|row| row as u32).collect();
        pick(&whole, &rows)
    }

    fn row_of_each_token(&self) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.starts.last().copied().unwrap_or(0));
        let mut next = self.shared as u32;
        for span in self.starts.windows(2) {
            rows.extend(0..self.shared as u32);
            let own = (span[1] - span[0] - self.shared) as u32;
            rows.extend(next..next + own);
            next += own;
        }
        rows
    }
}

fn pick(rows: &Tensor, which: &[u32]) -> Result<Tensor> {
    rows.index_select(&Tensor::new(which, rows.device())?, 0)
}

/// How many tokens all prompts begin with alike; 0 where that is not worth its while. Each keeps a token of
/// its own.
fn shared(prompts: &[&[u32]]) -> usize {
    let [first, rest @ ..] = prompts else { return 0 };
    if rest.is_empty() {
        return 0;
    }
    let limit = prompts.iter().map(|prompt| prompt.len().saturating_sub(1)).min().unwrap_or(0);
    let alike = |i: &usize| rest.iter().all(|prompt| prompt[*i] == first[*i]);
    let count = (0..limit).take_while(alike).count();
    if count < WORTH_SHARING { 0 } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_laid_out_once() {
        let (a, b): (&[u32], &[u32]) = (&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 7]);
        let prompts = Prompts::new(&[a, b], true);
        assert_eq!(prompts.ids, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(prompts.runs, [(0..6, 6), (4..5, 5)]);
        assert_eq!(prompts.last, [5, 6]);
        assert_eq!(prompts.starts, [0, 6, 11]);
        let rows = Tensor::new(prompts.ids.as_slice(), &candle_core::Device::Cpu).unwrap();
        let whole = prompts.whole(rows).unwrap();
        assert_eq!(whole.to_vec1::<u32>().unwrap(), [a, b].concat());
        assert_eq!(prompts.once(whole).unwrap().to_vec1::<u32>().unwrap(), prompts.ids);
    }

    #[test]
    fn a_prompt_keeps_its_last_token_and_short_beginnings_are_not_shared() {
        assert_eq!(shared(&[&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]]), 4);
        assert_eq!(shared(&[&[1, 2, 3, 4, 5]]), 0);
        assert_eq!(shared(&[&[1, 2, 3, 4], &[1, 2, 3, 4]]), 0);
        assert_eq!(shared(&[&[1, 2], &[]]), 0);
        assert_eq!(shared(&[]), 0);
    }
}
