//! What stands beside the tokens of a row that other software made: a mask over padding, and where the texts begin that
//! were packed into it.

use crate::lineage::SourceRow;

/// One sequence. `labels[i]` is `input_ids[i]` where the token is learned and
/// [`ft_io::IGNORE_INDEX`] elsewhere; the shift by one is the trainer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The number of its row in the input, from 1. Sequences that were packed into one row share it, and stand side by
    /// side.
    pub number: usize,
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// As many labels.
    pub labels: Vec<i32>,
    /// The file and row that the row was made of, where the input tells.
    pub source: SourceRow,
}

/// The columns that are obeyed, where they are there.
pub const COLUMNS: [&str; 10] = [
    ATTENTION_MASK,
    POSITION_IDS,
    SEQ_LENGTHS,
    CU_SEQ_LENS,
    CU_SEQLENS,
    "sequence_ids",
    "seq_idx",
    "segment_ids",
    COMPLETION_MASK,
    ASSISTANT_MASKS,
];
const ATTENTION_MASK: &str = "attention_mask";
const POSITION_IDS: &str = "position_ids";
const SEQ_LENGTHS: &str = "seq_lengths";
const CU_SEQ_LENS: &str = "cu_seq_lens_q";
const CU_SEQLENS: &str = "cu_seqlens";
const COMPLETION_MASK: &str = "completion_mask";
const ASSISTANT_MASKS: &str = "assistant_masks";

/// One row, as the columns beside its tokens have it.
pub struct Packed {
    /// Whether each token is there, or only fills the row up.
    kept: Vec<bool>,
    /// Whether each token may be learned: TRL takes the label of a token away where a mask of it is 0.
    learned: Vec<bool>,
    /// Where texts begin, and the column that says so; none where no column speaks of it.
    starts: Option<(&'static str, Vec<usize>)>,
}

impl Packed {
    /// A row of `tokens` tokens of which nothing is said yet.
    pub fn new(tokens: usize) -> Self {
        Self { kept: vec![true; tokens], learned: vec![true; tokens], starts: None }
    }

    /// Takes note of one of [`COLUMNS`], in their order.
    ///
    /// # Errors
    /// Where it means something that training on these tokens would not do.
    pub fn read(&mut self, column: &'static str, values: &[i64]) -> Result<(), String> {
        let tokens = self.kept.len();
        if ![SEQ_LENGTHS, CU_SEQ_LENS, CU_SEQLENS].contains(&column) && values.len() != tokens {
            return Err(format!("{} elements of '{column}' for {tokens} ids, expected as many", values.len()));
        }
        match column {
            ATTENTION_MASK => self.mask(values),
            POSITION_IDS => self.positions(values),
            SEQ_LENGTHS => self.lengths(values),
            CU_SEQ_LENS | CU_SEQLENS => self.bounds(column, values),
            COMPLETION_MASK | ASSISTANT_MASKS => self.learn(column, values),
            _ => {
                let starts = self.runs(column, values)?;
                self.begin(column, starts)
            }
        }
    }

    /// 0 is padding, before or behind the text. 1 everywhere else is one text; 1, 2, 3 … number the texts of a row.
    fn mask(&mut self, values: &[i64]) -> Result<(), String> {
        let place = |at: Option<usize>| at.unwrap_or(0);
        let first = place(values.iter().position(|&v| v != 0));
        let end = values.iter().rposition(|&v| v != 0).map_or(first, |last| last + 1);
        let text = &values[first..end];
        if let Some(at) = text.iter().position(|&v| v <= 0) {
            return Err(format!(
                "'{ATTENTION_MASK}' is {} at token {} between others that are not masked; expected 0 for padding before \
                 or behind the text alone",
                text[at],
                first + at
            ));
        }
        if text.is_empty() {
            return Err(format!("'{ATTENTION_MASK}' masks every token; leave the row out"));
        }
        self.kept = (0..values.len()).map(|i| (first..end).contains(&i)).collect();
        if text.iter().all(|&v| v == 1) {
            return Ok(());
        }
        let starts = self.runs(ATTENTION_MASK, values)?;
        self.begin(ATTENTION_MASK, starts)
    }

    /// From 0 on, one by one; a 0 begins another text.
    fn positions(&mut self, values: &[i64]) -> Result<(), String> {
        let mut starts = Vec::new();
        let mut expected = 0;
        for (i, &value) in values.iter().enumerate().filter(|(i, _)| self.kept[*i]) {
            if value == 0 {
                starts.push(i);
            } else if value != expected || starts.is_empty() {
                return Err(format!(
                    "'{POSITION_IDS}' is {value} at token {i}, expected {expected}, or 0 where another text begins: other \
                     positions are not implemented; leave the column out to count from 0"
                ));
            }
            expected = value.saturating_add(1);
        }
        self.begin(POSITION_IDS, starts)
    }

    /// The texts' numbers of tokens; together they are the row.
    fn lengths(&mut self, values: &[i64]) -> Result<(), String> {
        let (mut starts, mut at) = (Vec::new(), 0usize);
        for &length in values {
            starts.push(at);
            let next = usize::try_from(length).ok().filter(|&length| length > 0).and_then(|l| at.checked_add(l));
            at = next.ok_or_else(|| format!("{length} in '{SEQ_LENGTHS}' is no length of a text"))?;
        }
        if at != self.kept.len() {
            return Err(format!("'{SEQ_LENGTHS}' adds up to {at}, expected the row's {} tokens", self.kept.len()));
        }
        self.begin(SEQ_LENGTHS, starts)
    }

    /// 0, where each further text begins, and the row's number of tokens.
    fn bounds(&mut self, column: &'static str, values: &[i64]) -> Result<(), String> {
        let tokens = self.kept.len();
        let bounds: Option<Vec<usize>> = values.iter().map(|&value| usize::try_from(value).ok()).collect();
        let rising = |bounds: &Vec<usize>| {
            bounds.first() == Some(&0) && bounds.last() == Some(&tokens) && bounds.windows(2).all(|w| w[0] < w[1])
        };
        let Some(mut starts) = bounds.filter(rising) else {
            return Err(format!(
                "'{column}' is {values:?}, expected numbers that rise from 0 to the row's {tokens} tokens"
            ));
        };
        starts.pop();
        self.begin(column, starts)
    }

    /// 0 takes a token's label away, 1 leaves it.
    fn learn(&mut self, column: &str, values: &[i64]) -> Result<(), String> {
        if let Some(at) = values.iter().position(|value| ![0, 1].contains(value)) {
            return Err(format!("'{column}' is {} at token {at}, expected 0 or 1", values[at]));
        }
        self.learned.iter_mut().zip(values).for_each(|(learned, &value)| *learned &= value == 1);
        Ok(())
    }

    /// Where a number that stands for a text first stands. Each text is one piece.
    fn runs(&self, column: &str, values: &[i64]) -> Result<Vec<usize>, String> {
        let mut starts: Vec<usize> = Vec::new();
        let mut last = None;
        for (i, &value) in values.iter().enumerate().filter(|(i, _)| self.kept[*i]) {
            if last == Some(value) {
                continue;
            }
            if last.is_some_and(|last| value < last) {
                return Err(format!(
                    "'{column}' falls to {value} at token {i}; expected the texts of a row numbered one after the other"
                ));
            }
            starts.push(i);
            last = Some(value);
        }
        Ok(starts)
    }

    fn begin(&mut self, column: &'static str, starts: Vec<usize>) -> Result<(), String> {
        if let Some((other, there)) = &self.starts {
            if *there != starts {
                let at = there.iter().zip(&starts).find(|(a, b)| a != b).map(|(a, b)| *a.min(b));
                let at = at.unwrap_or_else(|| there.iter().chain(&starts).copied().max().unwrap_or(0));
                return Err(format!("'{other}' and '{column}' do not begin a text at the same tokens (token {at})"));
            }
        } else {
            self.starts = Some((column, starts));
        }
        Ok(())
    }

    /// The row's texts without its padding, each a sequence of its own.
    pub fn cut(&self, number: usize, ids: &[u32], labels: &[i32], source: &SourceRow) -> Vec<TokenRow> {
        let begun = || TokenRow { number, input_ids: Vec::new(), labels: Vec::new(), source: source.clone() };
        let starts = self.starts.as_ref().map_or(&[][..], |(_, starts)| starts);
        let mut sequences = vec![begun()];
        for (i, (&id, &label)) in ids.iter().zip(labels).enumerate().filter(|(i, _)| self.kept[*i]) {
            if starts.binary_search(&i).is_ok() && sequences.last().is_some_and(|s| !s.input_ids.is_empty()) {
                sequences.push(begun());
            }
            if let Some(sequence) = sequences.last_mut() {
                sequence.input_ids.push(id);
                sequence.labels.push(if self.learned[i] { label } else { ft_io::IGNORE_INDEX });
            }
        }
        sequences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row's texts, whose ids are their places in it.
    fn cut(tokens: u32, columns: &[(&'static str, &[i64])]) -> Result<Vec<Vec<u32>>, String> {
        let mut packed = Packed::new(tokens as usize);
        for (column, values) in columns {
            packed.read(column, values)?;
        }
        let (ids, labels): (Vec<u32>, Vec<i32>) = (0..tokens).map(|i| (i, i as i32)).unzip();
        Ok(packed.cut(7, &ids, &labels, &SourceRow::default()).into_iter().map(|row| row.input_ids).collect())
    }

    #[test]
    fn padding_is_left_out() {
        assert_eq!(cut(4, &[("attention_mask", &[1, 1, 1, 1])]).unwrap(), [vec![0, 1, 2, 3]]);
        assert_eq!(cut(4, &[("attention_mask", &[1, 1, 0, 0])]).unwrap(), [vec![0, 1]]);
        assert_eq!(cut(4, &[("attention_mask", &[0, 1, 1, 0])]).unwrap(), [vec![1, 2]]);
        // Padding on the left has positions of its own.
        let both: [(&str, &[i64]); 2] = [("attention_mask", &[0, 0, 1, 1]), ("position_ids", &[1, 1, 0, 1])];
        assert_eq!(cut(4, &both).unwrap(), [vec![2, 3]]);
    }

    #[test]
    fn packed_texts_are_cut_apart() {
        let expected = [vec![0, 1], vec![2, 3, 4]];
        for (column, values) in [
            ("position_ids", &[0, 1, 0, 1, 2][..]),
            ("seq_lengths", &[2, 3]),
            ("sequence_ids", &[4, 4, 9, 9, 9]),
            ("seq_idx", &[0, 0, 1, 1, 1]),
            ("segment_ids", &[1, 1, 2, 2, 2]),
            ("cu_seq_lens_q", &[0, 2, 5]),
            ("cu_seqlens", &[0, 2, 5]),
            ("attention_mask", &[1, 1, 2, 2, 2]),
        ] {
            assert_eq!(cut(5, &[(column, values)]).unwrap(), expected, "{column}");
        }
        let padded: [(&str, &[i64]); 2] = [("attention_mask", &[1, 1, 1, 0, 0]), ("position_ids", &[0, 1, 0, 0, 0])];
        assert_eq!(cut(5, &padded).unwrap(), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn what_means_something_else_is_refused() {
        for (column, values, told) in [
            ("attention_mask", &[1, 0, 1][..], "'attention_mask' is 0 at token 1"),
            ("attention_mask", &[0, 0, 0], "masks every token"),
            ("attention_mask", &[1, 1], "2 elements of 'attention_mask' for 3 ids"),
            ("attention_mask", &[1, 2, 1], "falls to 1 at token 2"),
            ("position_ids", &[2, 3, 4], "'position_ids' is 2 at token 0, expected 0"),
            ("position_ids", &[0, 1, 3], "'position_ids' is 3 at token 2, expected 2"),
            ("position_ids", &[0, 1, i64::MAX], "expected 2"),
            ("seq_lengths", &[2, 2], "adds up to 4, expected the row's 3 tokens"),
            ("seq_lengths", &[3, 0], "0 in 'seq_lengths'"),
            ("seq_lengths", &[i64::MAX, i64::MAX, i64::MAX], "no length of a text"),
            ("sequence_ids", &[1, 1, 0], "falls to 0 at token 2"),
            (
                "cu_seq_lens_q",
                &[0, 2],
                "'cu_seq_lens_q' is [0, 2], expected numbers that rise from 0 to the row's 3 tokens",
            ),
            ("cu_seqlens", &[0, 2, 2, 3], "expected numbers that rise"),
            ("cu_seqlens", &[], "expected numbers that rise"),
            ("completion_mask", &[0, 1, 2], "'completion_mask' is 2 at token 2, expected 0 or 1"),
        ] {
            let found = cut(3, &[(column, values)]).unwrap_err();
            assert!(found.contains(told), "{column} {values:?}: {found}");
        }
        let found = cut(3, &[("position_ids", &[0, 1, 2]), ("seq_lengths", &[1, 2])]).unwrap_err();
        assert!(found.contains("'position_ids' and 'seq_lengths' do not begin"), "{found}");
    }
}
