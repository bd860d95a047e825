//! Sums that come out the same however their terms are dealt out.

use std::ops::Range;

/// The sum of numbered terms as one balanced binary tree over their numbers.
///
/// Floating-point addition is not associative, so the order of a sum is part of its result. Here
/// the order is fixed by the terms' numbers alone: node `i` of level `l` is the sum of terms
/// `i·2^l .. (i+1)·2^l`, its left half plus its right half; what is left at the end is added from
/// the right. Micro-batches and ranks that hold consecutive terms therefore own whole subtrees,
/// and no matter how the terms are cut among them the same additions are made.
///
/// At most `log2(terms)` partial sums are alive at a time.
#[derive(Debug)]
pub struct TreeSum<T> {
    next: usize,
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    level: u32,
    index: usize,
    sum: T,
}

impl<T> Default for TreeSum<T> {
    fn default() -> Self {
        Self::starting_at(0)
    }
}

impl<T> TreeSum<T> {
    /// An empty sum whose first term has the number `first`.
    pub fn starting_at(first: usize) -> Self {
        Self { next: first, nodes: Vec::new() }
    }

    /// The number of the term that comes next.
    pub fn next(&self) -> usize {
        self.next
    }

    /// Adds the next term; `add(left, right)` is called for each pair of finished halves.
    ///
    /// # Errors
    /// What `add` reports.
    pub fn push<E>(&mut self, term: T, add: impl FnMut(T, T) -> Result<T, E>) -> Result<(), E> {
        self.push_node(0, self.next, term, add)
    }

    /// Adds a node that was summed elsewhere: `sum` is the sum of terms `index·2^level .. (index+1)·2^level`.
    /// Nodes come in the order of their terms, each where the last one ended; the first one may start anywhere.
    ///
    /// # Errors
    /// What `add` reports.
    pub fn push_node<E>(
        &mut self,
        level: u32,
        index: usize,
        sum: T,
        mut add: impl FnMut(T, T) -> Result<T, E>,
    ) -> Result<(), E> {
        let mut node = Node { level, index, sum };
        self.next = (index + 1) << level;
        while node.index % 2 == 1 {
            match self.nodes.pop_if(|left| left.level == node.level && left.index + 1 == node.index) {
                Some(left) => {
                    node = Node { level: node.level + 1, index: node.index / 2, sum: add(left.sum, node.sum)? }
                }
                None => break,
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The partial sums that are alive.
    pub fn nodes(&self) -> impl Iterator<Item = &T> {
        self.nodes.iter().map(|node| &node.sum)
    }

    /// The partial sums `(level, index, sum)`, in the order of their terms: the forest that
    /// [`forest_shape`] describes. Where the terms are a whole subtree it is one node.
    pub fn into_nodes(self) -> Vec<(u32, usize, T)> {
        self.nodes.into_iter().map(|node| (node.level, node.index, node.sum)).collect()
    }

    /// The whole sum; none where there was no term.
    ///
    /// # Errors
    /// What `add` reports.
    pub fn finish<E>(mut self, mut add: impl FnMut(T, T) -> Result<T, E>) -> Result<Option<T>, E> {
        let Some(last) = self.nodes.pop() else { return Ok(None) };
        let mut sum = last.sum;
        while let Some(left) = self.nodes.pop() {
            sum = add(left.sum, sum)?;
        }
        Ok(Some(sum))
    }
}

/// The nodes `(level, index)` that a [`TreeSum`] over these terms is left with: the fewest whole subtrees that
/// cover the range, from left to right.
pub fn forest_shape(terms: Range<usize>) -> Vec<(u32, usize)> {
    let mut nodes = Vec::new();
    let mut at = terms.start;
    while at < terms.end {
        // A subtree starts at a multiple of its size, and must not pass the end.
        let level = at.trailing_zeros().min((terms.end - at).ilog2());
        nodes.push((level, at >> level));
        at += 1 << level;
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Writes the addition down.
    #[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps)]
    fn add(left: String, right: String) -> Result<String, Infallible> {
        Ok(format!("({left}+{right})"))
    }

    fn sum(terms: std::ops::Range<usize>) -> String {
        let mut tree = TreeSum::starting_at(terms.start);
        for i in terms {
            tree.push(i.to_string(), add).unwrap();
        }
        tree.finish(add).unwrap().unwrap()
    }

    #[test]
    fn the_order_is_a_balanced_tree() {
        assert_eq!(sum(0..1), "0");
        assert_eq!(sum(0..4), "((0+1)+(2+3))");
        assert_eq!(sum(0..7), "(((0+1)+(2+3))+((4+5)+6))");
    }

    #[test]
    fn a_part_that_starts_at_a_power_of_two_is_a_subtree_of_the_whole() {
        assert_eq!(sum(0..8), format!("({}+{})", sum(0..4), sum(4..8)));
        assert_eq!(sum(4..6), "(4+5)");
        // A part that starts on the right side of a pair cannot merge it yet.
        assert_eq!(sum(3..6), "(3+(4+5))");
    }

    #[test]
    fn no_term_is_no_sum_and_a_fault_is_passed_on() {
        assert_eq!(TreeSum::<f32>::default().finish(|a, b| Ok::<_, Infallible>(a + b)), Ok(None));
        let mut tree = TreeSum::default();
        tree.push(1, |_, _| Err("no")).unwrap();
        assert_eq!(tree.push(2, |_, _| Err("no")), Err("no"));
    }

    fn tree(terms: Range<usize>) -> TreeSum<String> {
        let mut tree = TreeSum::starting_at(terms.start);
        for i in terms {
            tree.push(i.to_string(), add).unwrap();
        }
        tree
    }

    #[test]
    fn a_forest_has_the_shape_that_its_range_says() {
        assert_eq!(forest_shape(3..6), [(0, 3), (1, 2)]);
        assert_eq!(forest_shape(0..7), [(2, 0), (1, 2), (0, 6)]);
        assert_eq!(forest_shape(5..5), []);
        for start in 0..40 {
            for end in start..80 {
                let nodes: Vec<_> = tree(start..end).into_nodes().into_iter().map(|n| (n.0, n.1)).collect();
                assert_eq!(forest_shape(start..end), nodes, "{start}..{end}");
            }
        }
    }

    #[test]
    fn forests_pushed_in_order_make_the_additions_of_one_tree() {
        let whole = tree(3..29).finish(add).unwrap();
        for a in 3..=29 {
            for b in a..=29 {
                let mut joined = TreeSum::starting_at(3);
                for part in [3..a, a..b, b..29] {
                    for (level, index, sum) in tree(part).into_nodes() {
                        joined.push_node(level, index, sum, add).unwrap();
                    }
                }
                assert_eq!(joined.finish(add).unwrap(), whole, "cut at {a} and {b}");
            }
        }
    }
}
