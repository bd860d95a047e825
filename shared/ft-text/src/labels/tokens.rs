//! From places in the text to tokens.

use std::ops::Range;

use ft_io::IGNORE_INDEX;

/// The label of each token: its id if any part of it lies inside one of `spans`, else [`IGNORE_INDEX`].
///
/// `starts` are the tokens' first bytes in the text, ascending; `spans` ascending and
/// disjoint. A token reaches to where the next one begins.
pub fn label_tokens(ids: &[u32], starts: &[u32], spans: &[Range<usize>]) -> Vec<i32> {
    let mut spans = spans.iter().peekable();
    let mut labels = Vec::with_capacity(ids.len());
    let mut next = 0;
    for (i, (&id, &start)) in ids.iter().zip(starts).enumerate() {
        // Tokens that are parts of one character begin at the same byte.
        while next < starts.len() && (next <= i || starts[next] == start) {
            next += 1;
        }
        let end = starts.get(next).map_or(usize::MAX, |&end| end as usize);
        while spans.next_if(|span| span.end <= start as usize).is_some() {}
        let is_learned = spans.peek().is_some_and(|span| span.start < end);
        labels.push(if is_learned { id as i32 } else { IGNORE_INDEX });
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(starts: &[u32], spans: &[(usize, usize)]) -> Vec<usize> {
        let spans: Vec<Range<usize>> = spans.iter().map(|&(start, end)| start..end).collect();
        let ids: Vec<u32> = (0..starts.len() as u32).collect();
        let labels = label_tokens(&ids, starts, &spans);
        (0..starts.len()).filter(|&i| labels[i] != IGNORE_INDEX).collect()
    }

    #[test]
    fn a_straddling_token_is_learned() {
        // The second token begins in front of the first span, and the fifth ends behind it.
        assert_eq!(labels(&[0, 2, 4, 5, 7, 9], &[(3, 6), (9, 10)]), [1, 2, 3, 5]);
        assert_eq!(labels(&[0, 2, 3, 5, 6, 7, 8, 9], &[(3, 6), (8, 9)]), [2, 3, 6]);
        assert_eq!(labels(&[0, 4], &[(5, 9)]), [1]);
    }

    #[test]
    fn parts_of_one_character_are_learned_together() {
        assert_eq!(labels(&[0, 2, 2, 2, 5], &[(2, 5)]), [1, 2, 3]);
        assert_eq!(labels(&[0, 2, 2, 2, 5], &[(3, 4)]), [1, 2, 3]);
    }

    #[test]
    fn no_span_no_label() {
        assert_eq!(labels(&[0, 1], &[]), [0; 0]);
    }
}
