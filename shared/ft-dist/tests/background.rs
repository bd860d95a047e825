//! The thread that gathers while the rank computes.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use ft_dist::{Background, Communicator, Error, Solo, Threads};

#[test]
fn what_is_begun_is_finished_and_what_is_not_is_stopped() {
    let background = Background::new(&Solo).unwrap();
    let (go, gate) = channel();
    let (begun, started) = channel();
    let first = background.submit(move |_| {
        begun.send(()).unwrap();
        gate.recv().unwrap();
        Ok(1)
    });
    let second = background.submit(|_| Ok(2));
    started.recv().unwrap();
    let start = Instant::now();
    // The thread is in the middle of a job: dropping does not wait for it.
    drop(background);
    assert!(start.elapsed() < Duration::from_millis(500));
    go.send(()).unwrap();
    assert_eq!(first.wait().unwrap(), 1);
    assert!(matches!(second.wait(), Err(Error::Stopped)));
}

#[test]
fn an_idle_thread_leaves_its_channel_when_it_is_dropped() {
    let [one, other] = <[_; 2]>::try_from(Threads::new(2, Duration::from_secs(30))).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let background = Background::new(&*one).unwrap();
            assert_eq!(background.all_gather([1], vec![1, 1]).wait().unwrap(), [1, 2]);
            drop(background);
            // The other channel goes on; only whoever still waits on the dropped one has lost somebody.
            one.barrier().unwrap();
        });
        scope.spawn(|| {
            let background = Background::new(&*other).unwrap();
            let spare = Vec::with_capacity(64);
            let memory = spare.as_ptr();
            let all = background.all_gather_into([2], vec![1, 1], spare).wait().unwrap();
            assert_eq!((all.as_slice(), all.as_ptr()), (&[1, 2][..], memory));
            other.barrier().unwrap();
            let error = background.all_gather([2], vec![1, 1]).wait().unwrap_err().to_string();
            assert_eq!(error, "rank 0 failed: it left while others waited for it at all_gather");
        });
    });
}

#[test]
fn a_fault_goes_to_the_handle() {
    let background = Background::new(&Solo).unwrap();
    let error = background.all_gather([1, 2], vec![1]).wait().unwrap_err().to_string();
    assert_eq!(error, "all_gather on rank 0: the length of mine should be 1, but is 2");
    // And the thread goes on.
    assert_eq!(background.all_gather([7], vec![1]).wait().unwrap(), [7]);
    assert_eq!(Solo.traffic().total(), 0);
}
