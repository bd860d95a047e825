//! OLoRA (Büyükakyüz, "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models", 2024): with `W = Q·R`, `B`
//! begins as the first columns of `Q` and `A` as the first rows of `R`, and `W - scaling · B·A` is frozen.

use candle_core::Tensor;
use ft_kernels::tensor::{from_vec, with_slice};

use super::dense::{norm, orthonormal, times, transposed};
use crate::error::{Error, Result};

/// The initial `A` `[rank, in]` and `B` `[out, rank]` for a weight `[out, in]` in f32. `B·A` is what the space of the
/// weight's first `rank` columns holds of it, which is one whatever the signs of the decomposition are. All sums are in
/// f64 and in one order.
///
/// # Errors
/// [`Error::Adapter`] if the rank is larger than the weight's sides, or those columns depend on each other: then the
/// decomposition is not one.
pub fn olora(weight: &Tensor, rank: usize) -> Result<(Tensor, Tensor)> {
    let (out, inner) = weight.dims2()?;
    if rank > out.min(inner) {
        let told =
            format!("asks for OLoRA of rank {rank} of a weight of shape [{out}, {inner}], expected a smaller rank");
        return Err(Error::Adapter(told));
    }
    let values: Vec<f64> = with_slice(weight, |values| values.iter().map(|&x| f64::from(x)).collect())?;
    let mut columns = transposed(&values, out, inner);
    columns.truncate(rank * out);
    orthonormal(&mut columns, out);
    if columns.chunks(out.max(1)).any(|column| norm(column) == 0.0) {
        return Err(Error::Adapter(format!(
            "asks for OLoRA of rank {rank} of a weight of shape [{out}, {inner}] whose first {rank} columns depend on each other, of which there is more than one decomposition"
        )));
    }
    let a: Vec<f32> = times(&columns, &values, rank, out, inner).into_iter().map(|x| x as f32).collect();
    let b: Vec<f32> = transposed(&columns, rank, out).into_iter().map(|x| x as f32).collect();
    Ok((from_vec(a, (rank, inner))?, from_vec(b, (out, rank))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_is_the_weight_where_the_rank_is_full_and_its_first_columns_where_it_is_not() {
        let values: Vec<f32> = (0..35).map(|i| ((i * 37 % 23) as f32 - 11.0) / 7.0 + (i / 9) as f32).collect();
        let weight = from_vec(values, (5, 7)).unwrap();
        for rank in [1, 3, 5] {
            let (a, b) = olora(&weight, rank).unwrap();
            let rest = (&weight - b.matmul(&a).unwrap()).unwrap();
            let columns = if rank == 5 { 7 } else { rank };
            let left = rest.narrow(1, 0, columns).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>();
            assert!(left.unwrap() < 1e-5, "{rank}");
            let gram = b.t().unwrap().matmul(&b).unwrap().to_vec2::<f32>().unwrap();
            for (i, row) in gram.iter().enumerate() {
                for (j, x) in row.iter().enumerate() {
                    assert!((x - f32::from(u8::from(i == j))).abs() < 1e-6, "{rank}: {i} {j} {x}");
                }
            }
        }
        assert!(olora(&weight, 6).unwrap_err().to_string().contains("of rank 6"));
        let twice = Tensor::cat(&[&weight.narrow(1, 0, 1).unwrap(); 3], 1).unwrap();
        assert!(olora(&twice, 2).unwrap_err().to_string().contains("depend on each other"));
    }
}
