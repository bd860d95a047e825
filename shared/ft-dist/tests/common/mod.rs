//! What every communicator must do. Each function runs on one rank; a fault is a panic.

#![allow(dead_code, reason = "every test binary uses its part of the suite")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use ft_dist::{
    Background, Collective, Communicator, Error, TreeSum, agree, all_reduce_ordered, any, broadcast, exchange,
    gather_lists, gather_strings, gather_uneven, max, reduce_scatter_ordered, shares, sum,
};
use half::{bf16, f16};

pub type Ranks = Vec<Arc<dyn Communicator>>;

/// Runs `body` on every rank, each a thread, and returns what they return.
pub fn on_all<T: Send>(ranks: Ranks, body: impl Fn(Arc<dyn Communicator>) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let body = &body;
        let threads: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(move || body(rank))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank panicked")).collect()
    })
}

/// All that ranks do as long as nothing fails.
pub fn collectives(ranks: &dyn Communicator) {
    who(ranks);
    gathers(ranks);
    exchanges(ranks);
    broadcasts(ranks);
    words(ranks);
    large(ranks);
    ordered(ranks);
    overlapped(ranks);
    duplicates(ranks);
    counts(ranks);
}

fn who(ranks: &dyn Communicator) {
    let numbers = ft_dist::gather_u64(ranks, ranks.rank() as u64).unwrap();
    assert_eq!(numbers, (0..ranks.world() as u64).collect::<Vec<_>>());
    ranks.barrier().unwrap();
    ranks.check().unwrap();
}

/// Element `i` of what rank `from` sends to rank `to`.
fn byte(from: usize, to: usize, i: usize) -> u8 {
    (from * 131 + to * 17 + i * 7) as u8
}

fn gathers(ranks: &dyn Communicator) {
    let (rank, world) = (ranks.rank(), ranks.world());
    // Uneven, with empty parts at every place, and all empty.
    for hole in 0..=world {
        let counts: Vec<usize> = (0..world).map(|r| if r == hole { 0 } else { 3 + 5 * r }).collect();
        typed::<u8>(ranks, &counts, |n| n as u8);
        typed::<f32>(ranks, &counts, |n| n as f32 * 0.37);
        typed::<bf16>(ranks, &counts, |n| bf16::from_f32(n as f32 * 0.37));
        typed::<f16>(ranks, &counts, |n| f16::from_f32(n as f32 * 0.37));
        typed::<u64>(ranks, &counts, |n| n as u64 * 0x0123_4567_89ab);
    }
    typed::<f32>(ranks, &vec![0; world], |_| 0.0);
    let lists = gather_lists(ranks, &vec![rank as f32; rank]).unwrap();
    assert_eq!(lists, (0..world).map(|r| vec![r as f32; r]).collect::<Vec<_>>());
}

fn typed<T: Pod + PartialEq + std::fmt::Debug>(ranks: &dyn Communicator, counts: &[usize], make: impl Fn(usize) -> T) {
    let of = |rank: usize| (0..counts[rank]).map(|i| make(rank * 1000 + i)).collect::<Vec<T>>();
    let all = gather_uneven(ranks, &of(ranks.rank()), counts).unwrap();
    assert_eq!(all, (0..ranks.world()).flat_map(of).collect::<Vec<T>>());
}

fn exchanges(ranks: &dyn Communicator) {
    let (rank, world) = (ranks.rank(), ranks.world());
    for shift in 0..3 {
        let len = |from: usize, to: usize| (from * 3 + to * 5 + shift) % 4 * 9;
        let part = |from: usize, to: usize| (0..len(from, to)).map(|i| byte(from, to, i)).collect::<Vec<u8>>();
        let send: Vec<u8> = (0..world).flat_map(|to| part(rank, to)).collect();
        let send_counts: Vec<usize> = (0..world).map(|to| len(rank, to)).collect();
        let recv_counts: Vec<usize> = (0..world).map(|from| len(from, rank)).collect();
        let all = exchange(ranks, &send, &send_counts, &recv_counts).unwrap();
        assert_eq!(all, (0..world).flat_map(|from| part(from, rank)).collect::<Vec<u8>>());
    }
}

fn broadcasts(ranks: &dyn Communicator) {
    for root in 0..ranks.world() {
        for len in [0, 1, 1000] {
            let told: Vec<f32> = (0..len).map(|i| (root * 100 + i) as f32).collect();
            let mut mine = if ranks.rank() == root { told.clone() } else { vec![-1.0; len] };
            broadcast(ranks, root, &mut mine).unwrap();
            assert_eq!(mine, told);
        }
    }
}

fn words(ranks: &dyn Communicator) {
    let (rank, world) = (ranks.rank() as u64, ranks.world() as u64);
    let names = gather_strings(ranks, &"ä".repeat(ranks.rank())).unwrap();
    assert_eq!(names, (0..ranks.world()).map(|r| "ä".repeat(r)).collect::<Vec<_>>());
    assert_eq!(sum(ranks, rank + 1).unwrap(), world * (world + 1) / 2);
    assert_eq!(max(ranks, 100 - rank).unwrap(), 100);
    assert!(any(ranks, rank == world - 1).unwrap());
    assert!(!any(ranks, false).unwrap());
    agree(ranks, "the seed", "42").unwrap();
    if world > 1 {
        let mine = if rank == world - 1 { "7" } else { "42" };
        let error = agree(ranks, "the seed", mine).unwrap_err().to_string();
        let expected = format!(
            "the ranks disagree on the seed: rank 0 has 42, rank {} has 7; start every rank with the same arguments \
             and data",
            world - 1
        );
        assert_eq!(error, expected);
    }
}

/// More than any socket buffer holds, from all to all at once.
fn large(ranks: &dyn Communicator) {
    let (rank, world) = (ranks.rank(), ranks.world());
    let counts: Vec<usize> = (0..world).map(|r| 3_000_000 + r).collect();
    let mine: Vec<u8> = (0..counts[rank]).map(|i| byte(rank, 0, i)).collect();
    let mut all = vec![0; counts.iter().sum()];
    ranks.all_gather(&mine, &counts, &mut all).unwrap();
    let mut at = 0;
    for (r, &count) in counts.iter().enumerate() {
        assert!(all[at..at + count].iter().enumerate().all(|(i, &b)| b == byte(r, 0, i)), "the part of rank {r}");
        at += count;
    }
}

/// Numbers whose sum depends on the order.
pub fn term(number: usize, len: usize) -> Vec<f32> {
    let value = |i: usize| {
        let hash = (number * 0x9e37_79b9 + i * 0x85eb_ca6b + 1).wrapping_mul(0xc2b2_ae35) >> 7;
        (hash % 20_011) as f32 * 10f32.powi((hash % 9) as i32 - 4)
    };
    (0..len).map(value).collect()
}

pub fn tree(terms: std::ops::Range<usize>, len: usize) -> TreeSum<Vec<f32>> {
    let mut tree = TreeSum::starting_at(terms.start);
    for number in terms {
        tree.push(term(number, len), add).unwrap();
    }
    tree
}

#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "what a TreeSum calls")]
pub fn add(left: Vec<f32>, right: Vec<f32>) -> Result<Vec<f32>, Error> {
    Ok(left.iter().zip(&right).map(|(l, r)| l + r).collect())
}

/// The bits of the sum that one rank gets.
pub fn alone(terms: std::ops::Range<usize>, len: usize) -> Vec<u32> {
    let sum = tree(terms, len).finish(add).unwrap();
    bits(&sum.unwrap_or_else(|| vec![0.0; len]))
}

pub fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|n| n.to_bits()).collect()
}

/// The sum over all ranks, and this rank's uneven slice of it, are those of one rank.
pub fn check_ordered(ranks: &dyn Communicator, ranges: &[std::ops::Range<usize>], len: usize) {
    let rank = ranks.rank();
    let all = ranges[0].start..ranges[ranges.len() - 1].end;
    let nodes = tree(ranges[rank].clone(), len).into_nodes();
    let sum = all_reduce_ordered(ranks, &nodes, ranges, len).unwrap();
    assert_eq!(bits(&sum), alone(all.clone(), len), "{ranges:?}");
    let shares = ft_dist::shares_of_units(len, ranks.world(), 7);
    let mine = reduce_scatter_ordered(ranks, &nodes, ranges, &shares).unwrap();
    assert_eq!(bits(&mine), alone(all, len)[shares[rank].clone()], "{ranges:?}");
}

fn ordered(ranks: &dyn Communicator) {
    let world = ranks.world();
    for (terms, len) in [(16, 33), (13, 5), (2, 9), (0, 4), (31, 0)] {
        check_ordered(ranks, &shares(terms, world), len);
    }
    // All terms on the last rank, numbered from 5.
    let last: Vec<_> = (0..world).map(|r| if r + 1 == world { 5..18 } else { 5..5 }).collect();
    check_ordered(ranks, &last, 20);
    check_ordered(ranks, &shares(3 * world, world), 30_011);
}

/// Gathers under way while the rank does others, in a different pace on each.
fn overlapped(ranks: &dyn Communicator) {
    let (rank, world) = (ranks.rank(), ranks.world());
    let background = Background::new(ranks).unwrap();
    let part = |r: usize, layer: usize| (0..100 * r + layer).map(|i| byte(r, layer, i)).collect::<Vec<u8>>();
    let counts = |layer: usize| (0..world).map(|r| part(r, layer).len()).collect::<Vec<_>>();
    let mut next = background.all_gather(part(rank, 0), counts(0));
    for layer in 0..20 {
        let this = next;
        next = background.all_gather(part(rank, layer + 1), counts(layer + 1));
        thread::sleep(Duration::from_micros((rank * 7 + layer * 3) as u64 % 11 * 50));
        assert_eq!(sum(ranks, layer as u64).unwrap(), (layer * world) as u64);
        assert_eq!(this.wait().unwrap(), (0..world).flat_map(|r| part(r, layer)).collect::<Vec<u8>>());
    }
    next.wait().unwrap();
}

/// Two channels used in another order on every other rank.
fn duplicates(ranks: &dyn Communicator) {
    let (a, b) = (ranks.duplicate().unwrap(), ranks.duplicate().unwrap());
    let both = |first: Arc<dyn Communicator>, second: Arc<dyn Communicator>| {
        thread::scope(|scope| {
            let one = scope.spawn(move || sum(&*first, 1).unwrap());
            let two = scope.spawn(move || sum(&*second, 1).unwrap());
            assert_eq!((one.join().unwrap(), two.join().unwrap()), (ranks.world() as u64, ranks.world() as u64));
        });
    };
    if ranks.rank().is_multiple_of(2) {
        both(a, b);
    } else {
        both(b, a);
    }
    ranks.barrier().unwrap();
}

/// Traffic is what was handed over times who got it.
fn counts(ranks: &dyn Communicator) {
    let (world, others) = (ranks.world(), ranks.world() as u64 - 1);
    let before = ranks.traffic();
    ranks.all_gather(&[1; 10], &vec![10; world], &mut vec![0; 10 * world]).unwrap();
    ranks.broadcast(0, &mut [1; 4]).unwrap();
    ranks.all_to_all(&vec![1; 3 * world], &vec![3; world], &vec![3; world], &mut vec![0; 3 * world]).unwrap();
    ranks.barrier().unwrap();
    // What a duplicate sends counts as well.
    ranks.duplicate().unwrap().all_gather(&[1], &vec![1; world], &mut vec![0; world]).unwrap();
    let after = ranks.traffic();
    assert_eq!(after.all_gather - before.all_gather, 11 * others);
    assert_eq!(after.all_to_all - before.all_to_all, 3 * others);
    assert_eq!(after.broadcast - before.broadcast, if ranks.rank() == 0 { 4 * others } else { 0 });
    assert_eq!(after.total(), after.all_gather + after.all_to_all + after.broadcast);
}

/// Mostly in the middle of a transfer, until something fails: what it was. `begun` is called after the first transfer.
pub fn busy(ranks: &dyn Communicator, begun: impl FnOnce()) -> Error {
    const LEN: usize = 2_000_000;
    let counts = vec![LEN; ranks.world()];
    let (mine, mut all) = (vec![1; LEN], vec![0; LEN * ranks.world()]);
    let mut gather = || ranks.all_gather(&mine, &counts, &mut all);
    gather().unwrap();
    begun();
    let start = Instant::now();
    loop {
        if let Err(error) = gather() {
            return error;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "nothing happened");
    }
}

/// Prints what this communicator carries.
pub fn speed(ranks: &dyn Communicator) {
    const LEN: usize = 64 << 20;
    let world = ranks.world();
    let counts = vec![LEN; world];
    let (mine, mut all) = (vec![1; LEN], vec![0; world * LEN]);
    ranks.all_gather(&mine, &counts, &mut all).unwrap();
    let start = Instant::now();
    for _ in 0..10 {
        ranks.all_gather(&mine, &counts, &mut all).unwrap();
    }
    let gather = (10 * (world - 1) * LEN) as f64 / start.elapsed().as_secs_f64() / 1e9;
    let start = Instant::now();
    for _ in 0..1000 {
        ranks.barrier().unwrap();
    }
    let barrier = start.elapsed().as_micros() / 1000;
    if ranks.rank() == 0 {
        println!("{world} ranks: all_gather {gather:.2} GB/s received a rank, barrier {barrier} us");
    }
}

/// One rank says that it failed while the others wait: all hear it within a second, on every channel.
pub fn aborts(ranks: Ranks) {
    let last = ranks[0].world() - 1;
    on_all(ranks, |ranks| {
        let background = Background::new(&*ranks).unwrap();
        let world = ranks.world();
        ranks.barrier().unwrap();
        if ranks.rank() == last {
            thread::sleep(Duration::from_millis(100));
            ranks.abort("row 7 of 'train.parquet' has no label");
            // The first cause wins.
            ranks.abort("something else");
        } else {
            let handle = background.all_gather(vec![0; 5], vec![5; world]);
            let start = Instant::now();
            is_failure(ranks.barrier(), last, "row 7 of 'train.parquet' has no label");
            is_failure(handle.wait(), last, "row 7 of 'train.parquet' has no label");
            assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
        }
        // The next call fails as well, on all.
        is_failure(ranks.check(), last, "row 7 of 'train.parquet' has no label");
        is_failure(sum(&*ranks, 1), last, "row 7 of 'train.parquet' has no label");
    });
}

pub fn is_failure<T: std::fmt::Debug>(result: Result<T, Error>, rank: usize, reason: &str) {
    match result {
        Err(Error::Rank { rank: found, reason: said }) => {
            assert_eq!(found, rank);
            assert!(said.contains(reason), "said: {said}");
        }
        other => panic!("expected the failure of rank {rank}, found {other:?}"),
    }
}

/// The last rank does not come. `ranks` must have a timeout of about a second.
pub fn times_out(ranks: Ranks) {
    let last = ranks[0].world() - 1;
    on_all(ranks, |ranks| {
        ranks.barrier().unwrap();
        if ranks.rank() == last {
            thread::sleep(Duration::from_secs(3));
        } else {
            let start = Instant::now();
            match ranks.all_gather(&[], &vec![0; ranks.world()], &mut []) {
                Err(Error::Timeout { ranks: late, collective: Collective::AllGather, .. }) => {
                    assert_eq!(late, [last]);
                }
                // Another rank's clock was first.
                Err(Error::Rank { reason, .. }) => assert!(reason.contains("has not come"), "said: {reason}"),
                other => panic!("expected a timeout, found {other:?}"),
            }
            assert!(start.elapsed() < Duration::from_millis(2500), "took {:?}", start.elapsed());
        }
        // And whoever comes too late learns it.
        ranks.barrier().unwrap_err();
    });
}

/// The last rank leaves without a word, and the others wait for it.
pub fn leaves(ranks: Ranks) {
    let last = ranks[0].world() - 1;
    on_all(ranks, |ranks| {
        ranks.barrier().unwrap();
        if ranks.rank() < last {
            let start = Instant::now();
            match ranks.barrier() {
                Err(Error::Rank { rank, .. }) => assert_eq!(rank, last),
                other => panic!("expected the failure of rank {last}, found {other:?}"),
            }
            assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
        }
    });
}

/// Ranks that leave after their last collective harm nobody who is still in it.
pub fn leaves_in_peace(ranks: Ranks) {
    on_all(ranks, |ranks| {
        for _ in 0..3 {
            ranks.barrier().unwrap();
        }
    });
}

/// Whatever two ranks call that does not fit, all ranks get an error, and at least one names both calls. `make`
/// makes new ranks, at least two.
pub fn disagrees(make: &dyn Fn() -> Ranks) {
    type Body = fn(&dyn Communicator, bool) -> Result<(), Error>;
    let cases: [(&str, Body); 5] = [
        ("barrier", |ranks, odd| if odd { ranks.broadcast(0, &mut [0; 4]) } else { ranks.barrier() }),
        ("broadcast of 5 bytes", |ranks, odd| ranks.broadcast(0, &mut vec![0; if odd { 5 } else { 4 }])),
        ("from rank 1", |ranks, odd| ranks.broadcast(usize::from(odd), &mut [0; 4])),
        ("all_gather of [", |ranks, odd| {
            let counts = vec![if odd { 3 } else { 2 }; ranks.world()];
            ranks.all_gather(&vec![0; counts[0]], &counts, &mut vec![0; counts[0] * ranks.world()])
        }),
        ("all_to_all of ", |ranks, odd| {
            let (mut send, recv) = (vec![if odd { 3 } else { 2 }; ranks.world()], vec![2; ranks.world()]);
            send[ranks.rank()] = 2;
            let total = send.iter().sum();
            ranks.all_to_all(&vec![0; total], &send, &recv, &mut vec![0; 2 * ranks.world()])
        }),
    ];
    for (word, body) in cases {
        let ranks = make();
        let last = ranks.len() - 1;
        let errors = on_all(ranks, |ranks| {
            ranks.barrier().unwrap();
            let first = body(&*ranks, ranks.rank() == last);
            // Who sends to nobody that disagrees may learn it one call later.
            let error = first.and_then(|()| ranks.barrier()).unwrap_err();
            (matches!(error, Error::Disagree { .. }), error.to_string())
        });
        assert!(errors.iter().any(|(disagree, text)| *disagree && text.contains(word)), "{word}: {errors:?}");
        assert!(errors.iter().all(|(_, text)| text.contains("disagree")), "{word}: {errors:?}");
    }
}

/// A rank whose own lengths do not fit gets a word, and so do the others.
pub fn misuse(ranks: Ranks) {
    on_all(ranks, |ranks| {
        let rank = ranks.rank();
        let counts = vec![1; ranks.world()];
        let mut out = vec![0; ranks.world()];
        let result = ranks.all_gather(&vec![0; 1 + usize::from(rank == 1)], &counts, &mut out);
        if rank == 1 {
            let error = result.unwrap_err().to_string();
            assert_eq!(error, "all_gather on rank 1: the length of mine should be 1, but is 2");
        } else {
            is_failure(result, 1, "the length of mine should be 1, but is 2");
        }
    });
}
