//! The gradients of an optimizer step: a balanced sum over its sequences, on all ranks.

use std::cmp::Ordering;
use std::ops::Range;

use candle_core::{Device, Tensor};
use ft_dist::{Communicator, Partial, TreeSum};
use ft_kernels::optim::scale_in_place;
use ft_kernels::tensor::{is_slice, with_slice, with_slice_mut};

use crate::error::{Error, Result};
use crate::layers::tensor_bytes;
use crate::lora::placed::to_host;
use crate::optimizer::Cut;
use crate::sink::Gradient;
use crate::spans::timed;
use crate::trainable::{TrainableId, TrainableTable};

/// Sums gradients sequence by sequence, tensor by tensor, each as one balanced tree over the sequence's number
/// in the step. Each trained tensor has one gradient from each sequence, in the sequences' order.
#[derive(Debug)]
pub struct Gradients<'a> {
    table: &'a TrainableTable,
    tensors: Vec<TreeSum<Tensor>>,
}

impl<'a> Gradients<'a> {
    /// No gradient yet for any of the table's tensors; `first` is the number of the first sequence.
    pub fn new(table: &'a TrainableTable, first: usize) -> Self {
        Self { table, tensors: table.ids().map(|_| TreeSum::starting_at(first)).collect() }
    }

    /// Adds the next sequence's gradient of a tensor.
    ///
    /// # Errors
    /// [`Error::GradientTwice`] or [`Error::GradientMissing`] where it is not the next sequence's; if the addition fails.
    pub fn push(&mut self, gradient: Gradient) -> Result<()> {
        let _timed = timed!("gradient sums");
        let Gradient { id, sequence, tensor } = gradient;
        let next = self.tensors.get(id.index()).map_or(0, TreeSum::next);
        match (sequence.cmp(&next), self.tensors.get_mut(id.index())) {
            (Ordering::Equal, Some(sum)) => sum.push(tensor, add),
            (Ordering::Less, _) => Err(self.twice(id, sequence)),
            _ => Err(self.missing(id, next)),
        }
    }

    /// Whether every tensor has the gradients of all sequences before number `next`.
    ///
    /// # Errors
    /// [`Error::GradientMissing`] where one has not.
    pub fn end_micro_batch(&self, next: usize) -> Result<()> {
        let behind = self.table.ids().zip(&self.tensors).find(|(_, sum)| sum.next() < next);
        behind.map_or(Ok(()), |(id, sum)| Err(self.missing(id, sum.next())))
    }

    fn twice(&self, id: TrainableId, sequence: usize) -> Error {
        Error::GradientTwice { tensor: self.table.name(id).into(), sequence }
    }

    fn missing(&self, id: TrainableId, sequence: usize) -> Error {
        Error::GradientMissing { tensor: self.table.name(id).into(), sequence }
    }

    /// The bytes of all partial sums that are alive.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().flat_map(TreeSum::nodes).map(tensor_bytes).sum()
    }

    /// The sums over the sequences of this rank, which is the only one; one a trained tensor, on the host.
    ///
    /// # Errors
    /// If an addition fails, or a tensor got no gradient.
    pub fn finish(self) -> Result<Vec<Tensor>> {
        let missing = || candle_core::Error::Msg("a trained tensor got no gradient".into());
        let sums = self.tensors.into_iter().map(|tree| Ok(tree.finish(add)?.ok_or_else(missing)?));
        to_host(&sums.collect::<Result<Vec<_>>>()?)
    }

    /// The sums over the sequences of all ranks, of which rank `r` has those in `sequences[r]`: the same additions in
    /// the same order as on one rank. With a cut each rank gets its own part of every tensor, else all of them.
    ///
    /// # Errors
    /// If an addition fails, or another rank does.
    pub fn finish_among(
        self,
        ranks: &dyn Communicator,
        sequences: &[Range<usize>],
        shapes: &[Vec<usize>],
        cut: Option<&Cut>,
    ) -> Result<Vec<Tensor>> {
        let elements = shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
        let nodes = flat_nodes(self.tensors, elements)?;
        if let Some(cut) = cut {
            let own = ft_dist::reduce_scatter_ordered(ranks, &nodes, sequences, &cut.runs())?;
            let parts = (0..cut.tensors()).map(|i| vec![cut.part(i, ranks.rank()).len()]);
            split(&own, parts)
        } else {
            let all = ft_dist::all_reduce_ordered(ranks, &nodes, sequences, elements)?;
            split(&all, shapes.iter().cloned())
        }
    }
}

/// The partial sums of all tensors, each laid end to end: `elements` numbers.
fn flat_nodes(tensors: Vec<TreeSum<Tensor>>, elements: usize) -> Result<Vec<Partial>> {
    let mut nodes: Vec<(u32, usize, Vec<Tensor>)> = Vec::new();
    for tree in tensors {
        for (i, (level, index, sum)) in tree.into_nodes().into_iter().enumerate() {
            if nodes.len() == i {
                nodes.push((level, index, Vec::new()));
            }
            nodes[i].2.push(sum);
        }
    }
    let laid_out = |(level, index, sums): (u32, usize, Vec<Tensor>)| -> Result<Partial> {
        let mut flat = Vec::with_capacity(elements);
        for sum in to_host(&sums)? {
            with_slice(&sum, |values| flat.extend_from_slice(values))?;
        }
        Ok((level, index, flat))
    };
    nodes.into_iter().map(laid_out).collect()
}

/// One vector cut into tensors of these shapes.
fn split(all: &[f32], shapes: impl Iterator<Item = Vec<usize>>) -> Result<Vec<Tensor>> {
    let mut rest = all;
    shapes
        .map(|shape| {
            let (values, after) = rest.split_at(shape.iter().product());
            rest = after;
            Ok(Tensor::from_slice(values, shape, &Device::Cpu)?)
        })
        .collect()
}

/// Multiplies all gradients, in place.
///
/// # Errors
/// If a tensor is not a contiguous one on the CPU.
pub fn scale(gradients: &[Tensor], factor: f32) -> Result<()> {
    for gradient in gradients {
        with_slice_mut(gradient, |values| scale_in_place(values, factor))?;
    }
    Ok(())
}

/// `left + right`, in the memory of `left` where that is on the CPU and is not that of `right` too: the reference
/// operators make the gradients of sequences of one length in one piece.
#[allow(clippy::needless_pass_by_value, reason = "the tree hands both over")]
fn add(left: Tensor, right: Tensor) -> Result<Tensor> {
    if !is_slice(&left) || !is_slice(&right) || share_memory(&left, &right) {
        return Ok((left + right)?);
    }
    with_slice_mut(&left, |left| with_slice(&right, |right| left.iter_mut().zip(right).for_each(|(l, r)| *l += r)))??;
    Ok(left)
}

/// Whether two tensors are parts of one buffer, whose lock is taken once to write.
fn share_memory(x: &Tensor, y: &Tensor) -> bool {
    let address = |tensor: &Tensor| std::ptr::from_ref(&*tensor.storage_and_layout().0);
    address(x) == address(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TrainableTable {
        let mut table = TrainableTable::default();
        table.add_saved(0, "x.bias", "x.bias".into());
        table.add_saved(1, "y.bias", "y.bias".into());
        table
    }

    fn gradient(table: &TrainableTable, tensor: usize, sequence: usize) -> Gradient {
        let id = table.ids().nth(tensor).unwrap();
        Gradient { id, sequence, tensor: Tensor::new(&[1f32], &Device::Cpu).unwrap() }
    }

    #[test]
    fn gradients_that_are_parts_of_one_buffer_are_added() {
        let table = table();
        let both = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let mut gradients = Gradients::new(&table, 0);
        for id in table.ids() {
            for sequence in 0..2 {
                gradients.push(Gradient { id, sequence, tensor: both.get(sequence).unwrap() }).unwrap();
            }
        }
        for sum in gradients.finish().unwrap() {
            assert_eq!(sum.to_vec1::<f32>().unwrap(), [4.0, 6.0]);
        }
    }

    #[test]
    fn a_second_gradient_from_a_sequence_is_an_error_that_names_the_tensor() {
        let table = table();
        let mut gradients = Gradients::new(&table, 4);
        gradients.push(gradient(&table, 1, 4)).unwrap();
        gradients.push(gradient(&table, 0, 4)).unwrap();
        let told = gradients.push(gradient(&table, 1, 4)).unwrap_err().to_string();
        assert!(told.contains("'y.bias'") && told.contains("second gradient from sequence 4"), "{told}");
    }

    #[test]
    fn a_gradient_that_never_came_is_an_error_that_names_the_tensor() {
        let table = table();
        let mut gradients = Gradients::new(&table, 4);
        gradients.push(gradient(&table, 0, 4)).unwrap();
        let told = gradients.end_micro_batch(5).unwrap_err().to_string();
        assert!(told.contains("'y.bias'") && told.contains("no gradient from sequence 4"), "{told}");
        gradients.push(gradient(&table, 1, 4)).unwrap();
        gradients.end_micro_batch(5).unwrap();
        let told = gradients.push(gradient(&table, 1, 6)).unwrap_err().to_string();
        assert!(told.contains("'y.bias'") && told.contains("no gradient from sequence 5"), "{told}");
    }
}
