//! Elements of one matrix of several adapters, combined one by one.

use ft_kernels::philox::Stream;

use super::ways::{Combination, Combine, Majority};

/// Matrices of one shape, and their weights.
pub(super) struct Elements {
    pub of: Vec<Vec<f32>>,
    pub weights: Vec<f32>,
}

impl Elements {
    /// The one matrix that they become.
    pub fn combined(mut self, by: &Combine, stream: Stream) -> Vec<f32> {
        match by.how {
            Combination::Ties => self.of.iter_mut().for_each(|values| keep_largest(values, by.density)),
            Combination::DareLinear | Combination::DareTies => self.drop_some(by.density, stream),
            _ => {}
        }
        match by.how {
            Combination::Ties | Combination::DareTies => self.of_one_sign(by.majority),
            _ => self.sum(),
        }
    }

    fn sum(&self) -> Vec<f32> {
        let one = |i: usize| self.of.iter().zip(&self.weights).map(|(values, weight)| values[i] * weight).sum();
        (0..self.of[0].len()).map(one).collect()
    }

    /// Of each element the mean of those that have the sign of the majority.
    fn of_one_sign(&self, majority: Majority) -> Vec<f32> {
        let one = |i: usize| {
            let votes: f32 = self
                .of
                .iter()
                .map(|values| match majority {
                    Majority::Total => values[i],
                    Majority::Frequency => sign(values[i]),
                })
                .sum();
            let elected = if votes >= 0.0 { 1.0 } else { -1.0 };
            let (mut sum, mut count) = (0.0f32, 0.0f32);
            for (values, weight) in self.of.iter().zip(&self.weights) {
                if sign(values[i]) * elected > 0.0 {
                    sum += values[i] * weight;
                    count += 1.0;
                }
            }
            sum / count.max(1.0)
        };
        (0..self.of[0].len()).map(one).collect()
    }

    /// Keeps each element with the probability `density`, and makes up for the others.
    fn drop_some(&mut self, density: f64, stream: Stream) {
        if density >= 1.0 {
            return;
        }
        let mut number = 0;
        for values in &mut self.of {
            for x in values {
                let stays = f64::from(stream.uniform_f32(number)) < density;
                *x = if stays { *x / density as f32 } else { 0.0 };
                number += 1;
            }
        }
    }
}

/// torch's sign, which is 0 for 0.
fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// Keeps the share `density` of the elements, those of the largest magnitude; of equal ones the first.
fn keep_largest(values: &mut [f32], density: f64) {
    if density >= 1.0 {
        return;
    }
    let count = (density * values.len() as f64) as usize;
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    order.into_iter().skip(count).for_each(|i| values[i] = 0.0);
}
