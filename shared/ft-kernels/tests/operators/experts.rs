use candle_core::{Device, Tensor, Var};
use ft_kernels::Compute;
use ft_kernels::experts::{
    Share, gather_rows, gather_rows_weighted, reference, route, route_backward, row_dots, scatter_add,
    scatter_add_weighted,
};

use crate::common::{
    assert_close, assert_close_f64, assert_is_pieces, assert_same_bits, autograd, bits, cpu, differences, matrix,
    numbers, own, values,
};

/// Tokens, experts, experts a token.
const SHAPES: [(usize, usize, usize); 5] = [(1, 1, 1), (5, 4, 2), (40, 8, 2), (3, 17, 17), (200, 128, 8)];

#[test]
fn routes_and_their_gradients_are_the_reference_and_its_autograd() {
    for (tokens, experts, k) in SHAPES {
        for normalise in [false, true] {
            let (logits, dw) = (matrix(1, tokens, experts), matrix(2, tokens, k));
            let found = route(cpu(), &logits, k, normalise).unwrap();
            let expected = reference::route(&logits, k, normalise).unwrap();
            assert_eq!(found.experts, expected.experts);
            assert_close(&found.weights, &expected.weights, 1e-6);
            let expected = autograd(&logits, &dw, |l| reference::weights(l, &found.experts, normalise));
            assert_close(&route_backward(cpu(), &dw, &found, &logits).unwrap(), &expected, 3e-6);
            assert_close(&reference::route_backward(&dw, &found, &logits).unwrap(), &expected, 3e-6);
        }
    }
}

#[test]
fn the_gradient_is_the_finite_difference() {
    for normalise in [false, true] {
        let (logits, dw) = (matrix(1, 3, 6), matrix(2, 3, 2));
        let routing = route(cpu(), &logits, 2, normalise).unwrap();
        let formula = |x: &[f64]| {
            let rows = x.chunks(6).zip(routing.experts.chunks(2));
            let weights = rows.flat_map(|(row, chosen)| {
                let e = |expert: &u32| row[*expert as usize].exp();
                let all: f64 = row.iter().map(|x| x.exp()).sum();
                let sum = if normalise { chosen.iter().map(e).sum() } else { all };
                chosen.iter().map(|expert| e(expert) / sum).collect::<Vec<_>>()
            });
            weights.collect()
        };
        let found = route_backward(cpu(), &dw, &routing, &logits).unwrap();
        assert_close_f64(&found, &differences(&logits, &dw, formula), 2e-6);
    }
}

#[test]
fn the_likeliest_come_first_and_of_equal_ones_the_lower_number() {
    let logits = Tensor::new(&[[1f32, 3., 2., 3.], [0., 0., -0., 0.], [-5., -1., -5., -9.]], &Device::Cpu).unwrap();
    let routing = route(cpu(), &logits, 3, true).unwrap();
    assert_eq!(routing.experts, [1, 3, 2, 0, 1, 2, 1, 0, 2]);
    let sums = routing.weights.sum(1).unwrap().to_vec1::<f32>().unwrap();
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6));
}

#[test]
fn shares_hold_every_place_once() {
    let logits = matrix(1, 30, 5);
    let routing = route(cpu(), &logits, 2, true).unwrap();
    let shares = routing.shares(5);
    let mut places: Vec<usize> = shares.iter().flat_map(|share| share.places.clone()).collect();
    places.sort_unstable();
    assert_eq!(places, (0..60).collect::<Vec<_>>());
    for (expert, share) in shares.iter().enumerate() {
        assert!(share.rows.windows(2).all(|pair| pair[0] < pair[1]));
        for (&row, &place) in share.rows.iter().zip(&share.places) {
            assert_eq!((place / 2, routing.experts[place]), (row as usize, expert as u32));
        }
    }
    let share = Share { rows: vec![0, 3, 4, 9], places: vec![0, 1, 2, 3] };
    assert_eq!(share.starts(&[0, 4, 4, 10]), [0, 2, 2, 4]);
    assert_eq!(share.pick(&[5., 6., 7., 8.]), [5., 6., 7., 8.]);
}

const ROWS: [u32; 5] = [0, 2, 3, 7, 39];

#[test]
fn rows_there_and_back_are_the_reference_and_its_autograd() {
    let weights = numbers(5, ROWS.len());
    for columns in [1, 7, 64, 577] {
        let (y, part, d) = (matrix(1, 40, columns), matrix(2, 5, columns), matrix(3, 40, columns));
        let gathered = gather_rows(cpu(), &y, &ROWS).unwrap();
        assert_eq!(bits(&gathered), bits(&reference::gather_rows(&y, &ROWS, None).unwrap()));
        let expected = autograd(&y, &part, |y| reference::gather_rows(y, &ROWS, None));
        let zeros = y.zeros_like().unwrap();
        assert_eq!(bits(&scatter_add(cpu(), own(&zeros), &part, &ROWS).unwrap()), bits(&expected));

        let found = scatter_add_weighted(cpu(), own(&y), &part, &ROWS, &weights).unwrap();
        let sum = |part: &Tensor| reference::scatter_add(&y, part, &ROWS, Some(&weights));
        assert_close(&found, &sum(&part).unwrap(), 1e-6);
        let expected = autograd(&part, &d, sum);
        assert_close(&gather_rows_weighted(cpu(), &d, &ROWS, &weights).unwrap(), &expected, 1e-6);

        let w = Var::from_slice(&weights, (5, 1), &Device::Cpu).unwrap();
        let rows = Tensor::new(&ROWS, &Device::Cpu).unwrap();
        let all = y.index_add(&rows, &part.broadcast_mul(&w).unwrap(), 0).unwrap();
        let loss = (all * &d).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let expected = gradients.get(&w).unwrap().squeeze(1).unwrap();
        let found = Tensor::new(row_dots(cpu(), &d, &part, &ROWS).unwrap(), &Device::Cpu).unwrap();
        assert_close(&found, &expected, 3e-6);
        let found = Tensor::new(reference::row_dots(&d, &part, &ROWS).unwrap(), &Device::Cpu).unwrap();
        assert_close(&found, &expected, 3e-6);
    }
}

/// A mixture whose experts multiply by a number, and its gradients for tokens and logits.
fn mixture(c: Compute, x: &Tensor, logits: &Tensor, d: &Tensor) -> [Tensor; 3] {
    let routing = route(c, logits, 2, true).unwrap();
    let weights = values(&routing.weights);
    let (mut y, mut dx) = (x.zeros_like().unwrap(), x.zeros_like().unwrap());
    let mut dweights = vec![0.0; weights.len()];
    for (expert, share) in routing.shares(8).iter().enumerate() {
        let factor = expert as f64 + 0.5;
        let part = (gather_rows(c, x, &share.rows).unwrap() * factor).unwrap();
        let own_weights = share.pick(&weights);
        y = scatter_add_weighted(c, y, &part, &share.rows, &own_weights).unwrap();
        let dots = row_dots(c, d, &part, &share.rows).unwrap();
        share.places.iter().zip(dots).for_each(|(&place, dot)| dweights[place] = dot);
        let dpart = (gather_rows_weighted(c, d, &share.rows, &own_weights).unwrap() * factor).unwrap();
        dx = scatter_add(c, dx, &dpart, &share.rows).unwrap();
    }
    let dweights = Tensor::from_vec(dweights, routing.weights.shape(), &Device::Cpu).unwrap();
    [y, dx, route_backward(c, &dweights, &routing, logits).unwrap()]
}

#[test]
fn a_mixture_is_the_sum_over_its_experts_and_a_row_does_not_know_its_neighbours() {
    let (x, logits, d) = (matrix(1, 200, 577), matrix(2, 200, 8), matrix(3, 200, 577));
    let [y, dx, dlogits] = mixture(cpu(), &x, &logits, &d);
    let routing = route(cpu(), &logits, 2, true).unwrap();
    let weights = values(&routing.weights);
    let factors: Vec<f32> =
        (0..200).map(|i| (2 * i..2 * i + 2).map(|p| weights[p] * (routing.experts[p] as f32 + 0.5)).sum()).collect();
    let factors = Tensor::from_vec(factors, (200, 1), &Device::Cpu).unwrap();
    assert_close(&y, &x.broadcast_mul(&factors).unwrap(), 1e-6);
    assert_close(&dx, &d.broadcast_mul(&factors).unwrap(), 1e-6);
    assert_same_bits(|c| mixture(c, &x, &logits, &d).into());
    let row = |t: &Tensor, i| t.narrow(0, i, 1).unwrap();
    let pieces: Vec<_> = (0..200).map(|i| mixture(cpu(), &row(&x, i), &row(&logits, i), &row(&d, i))).collect();
    for (i, whole) in [y, dx, dlogits].iter().enumerate() {
        assert_is_pieces(whole, &pieces.iter().map(|piece| piece[i].clone()).collect::<Vec<_>>());
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let message = route(cpu(), &matrix(1, 2, 4), 5, true).unwrap_err().to_string();
    assert_eq!(message, "route: k is 5, expected \"1 to 4\"");
    let x = matrix(1, 4, 3);
    let message = gather_rows(cpu(), &x, &[1, 4]).unwrap_err().to_string();
    assert_eq!(message, "gather_rows: a row's number is 4, expected \"below 4\"");
    let message = scatter_add(cpu(), own(&x), &matrix(2, 2, 3), &[2, 2]).unwrap_err().to_string();
    assert_eq!(message, "scatter_add: the rows' order is [2, 2], expected \"a rise\"");
    let message = scatter_add_weighted(cpu(), own(&x), &matrix(2, 2, 3), &[2, 3], &[1.0]).unwrap_err().to_string();
    assert_eq!(message, "scatter_add_weighted: the number of weights is 1, expected 2");
}
