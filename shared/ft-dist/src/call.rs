//! What a rank says of the collective that it calls, so that the others can see whether they mean the same.

use std::fmt::{Display, Formatter};
use std::ops::Range;

use crate::collective::Collective;
use crate::error::{Error, Result};

/// One rank's call of a collective, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub collective: Collective,
    /// The root of a broadcast, else 0.
    pub root: usize,
    /// all_gather: every rank's part. all_to_all: what goes to each rank. broadcast, duplicate: one length.
    pub send: Vec<usize>,
    /// all_to_all: what comes from each rank.
    pub recv: Vec<usize>,
}

impl Call {
    pub fn all_gather(rank: usize, world: usize, mine: &[u8], counts: &[usize], out: &[u8]) -> Result<Self> {
        let sizes = Sizes { collective: "all_gather", rank };
        sizes.check("the number of counts", world, counts.len())?;
        sizes.check("the length of mine", counts[rank], mine.len())?;
        sizes.check("the length of out", total(counts), out.len())?;
        Ok(Self { collective: Collective::AllGather, root: 0, send: counts.to_vec(), recv: Vec::new() })
    }

    pub fn all_to_all(
        rank: usize,
        world: usize,
        send: &[u8],
        send_counts: &[usize],
        recv_counts: &[usize],
        out: &[u8],
    ) -> Result<Self> {
        let sizes = Sizes { collective: "all_to_all", rank };
        sizes.check("the number of send counts", world, send_counts.len())?;
        sizes.check("the number of receive counts", world, recv_counts.len())?;
        sizes.check("the length of send", total(send_counts), send.len())?;
        sizes.check("the length of out", total(recv_counts), out.len())?;
        sizes.check("what this rank receives from itself", send_counts[rank], recv_counts[rank])?;
        Ok(Self { collective: Collective::AllToAll, root: 0, send: send_counts.to_vec(), recv: recv_counts.to_vec() })
    }

    pub fn broadcast(rank: usize, world: usize, root: usize, bytes: &[u8]) -> Result<Self> {
        if root >= world {
            let expected = format!("below {world}");
            return Err(Error::Sizes {
                collective: "broadcast",
                rank,
                what: "the root",
                expected,
                found: root.to_string(),
            });
        }
        Ok(Self { collective: Collective::Broadcast, root, send: vec![bytes.len()], recv: Vec::new() })
    }

    pub fn barrier() -> Self {
        Self { collective: Collective::Barrier, root: 0, send: Vec::new(), recv: Vec::new() }
    }

    /// Rank 0 tells the others the number of the new channel, where they need one.
    pub fn duplicate() -> Self {
        Self { collective: Collective::Duplicate, root: 0, send: vec![size_of::<u64>()], recv: Vec::new() }
    }

    /// Whether rank `rank`'s call (this one) and rank `other_rank`'s are two sides of one collective, the
    /// `number`th of its channel.
    pub fn fits(&self, rank: usize, other: &Self, other_rank: usize, number: u64) -> Result<()> {
        let fits = match self.collective {
            Collective::AllToAll => {
                other.collective == Collective::AllToAll
                    && self.send.get(other_rank) == other.recv.get(rank)
                    && self.recv.get(other_rank) == other.send.get(rank)
            }
            _ => self == other,
        };
        if fits {
            return Ok(());
        }
        let mut sides = [(rank, self.said_to(other_rank)), (other_rank, other.said_to(rank))];
        sides.sort_by_key(|side| side.0);
        let [first, other] = sides;
        Err(Error::Disagree { what: format!("what their call {number} is"), first, other })
    }

    /// This call in words, as far as it concerns rank `other`.
    fn said_to(&self, other: usize) -> String {
        match self.collective {
            Collective::AllToAll => {
                let part = |counts: &[usize]| counts.get(other).copied().unwrap_or_default();
                let (to, from) = (part(&self.send), part(&self.recv));
                format!("all_to_all of {to} bytes to rank {other} and {from} from it")
            }
            _ => self.to_string(),
        }
    }

    /// The call as words, for the wire and for comparisons.
    pub fn encode(&self) -> Vec<u64> {
        let collective = match self.collective {
            Collective::AllGather => 1,
            Collective::AllToAll => 2,
            Collective::Broadcast => 3,
            Collective::Barrier => 4,
            Collective::Duplicate => 5,
        };
        let mut words = vec![collective, self.root as u64, self.send.len() as u64];
        words.extend(self.send.iter().chain(&self.recv).map(|&n| n as u64));
        words
    }

    /// The call that [`encode`](Self::encode) wrote; none where the words are something else.
    pub fn decode(words: &[u64]) -> Option<Self> {
        let [collective, root, send, counts @ ..] = words else { return None };
        let collective = match collective {
            1 => Collective::AllGather,
            2 => Collective::AllToAll,
            3 => Collective::Broadcast,
            4 => Collective::Barrier,
            5 => Collective::Duplicate,
            _ => return None,
        };
        let counts: Vec<usize> = counts.iter().map(|&n| n as usize).collect();
        let (send, recv) = counts.split_at_checked(*send as usize)?;
        Some(Self { collective, root: *root as usize, send: send.to_vec(), recv: recv.to_vec() })
    }

    /// Where rank `from`'s bytes for rank `to` lie in what `from` hands over, this being `from`'s call.
    pub fn part_sent(&self, from: usize, to: usize) -> Range<usize> {
        match self.collective {
            Collective::AllGather => 0..self.send[from],
            Collective::AllToAll => part(&self.send, to),
            Collective::Broadcast | Collective::Duplicate if from == self.root => 0..self.send[0],
            _ => 0..0,
        }
    }

    /// Where rank `from`'s bytes lie in this caller's output.
    pub fn part_received(&self, from: usize) -> Range<usize> {
        match self.collective {
            Collective::AllGather => part(&self.send, from),
            Collective::AllToAll => part(&self.recv, from),
            Collective::Broadcast | Collective::Duplicate if from == self.root => 0..self.send[0],
            _ => 0..0,
        }
    }

    /// How many bytes rank `rank` sends to others by this call of its own.
    pub fn sent_by(&self, rank: usize, world: usize) -> usize {
        (0..world).filter(|&to| to != rank).map(|to| self.part_sent(rank, to).len()).sum()
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.collective {
            Collective::AllGather => write!(f, "all_gather of {:?} bytes", self.send),
            Collective::Broadcast => {
                write!(f, "broadcast of {} bytes from rank {}", total(&self.send), self.root)
            }
            collective => write!(f, "{collective}"),
        }
    }
}

/// Where part `i` lies among parts of these lengths laid end to end.
pub(crate) fn part(counts: &[usize], i: usize) -> Range<usize> {
    let start = total(&counts[..i]);
    start..start + counts[i]
}

/// A sum that a hostile header cannot overflow.
fn total(counts: &[usize]) -> usize {
    counts.iter().fold(0, |sum, &n| sum.saturating_add(n))
}

/// Makes the error of a length that does not fit.
pub(crate) struct Sizes {
    pub collective: &'static str,
    pub rank: usize,
}

impl Sizes {
    pub fn check(&self, what: &'static str, expected: usize, found: usize) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        let (expected, found) = (expected.to_string(), found.to_string());
        Err(Error::Sizes { collective: self.collective, rank: self.rank, what, expected, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_survives_the_wire() {
        let calls = [
            Call::all_gather(1, 3, &[0; 2], &[1, 2, 0], &[0; 3]).unwrap(),
            Call::all_to_all(0, 2, &[0; 3], &[1, 2], &[1, 4], &[0; 5]).unwrap(),
            Call::broadcast(0, 2, 1, &[0; 9]).unwrap(),
            Call::barrier(),
            Call::duplicate(),
        ];
        for call in calls {
            assert_eq!(Call::decode(&call.encode()), Some(call));
        }
        assert_eq!(Call::decode(&[9, 0, 0]), None);
        assert_eq!(Call::decode(&[1, 0, 7, 1]), None);
    }

    #[test]
    fn lengths_that_do_not_fit_are_named() {
        let error = Call::all_gather(1, 2, &[0; 3], &[1, 2], &[0; 3]).unwrap_err();
        assert_eq!(error.to_string(), "all_gather on rank 1: the length of mine should be 2, but is 3");
        let error = Call::broadcast(0, 2, 2, &[]).unwrap_err();
        assert_eq!(error.to_string(), "broadcast on rank 0: the root should be below 2, but is 2");
    }

    #[test]
    fn two_calls_that_differ_are_both_named() {
        let error = Call::barrier().fits(1, &Call::broadcast(0, 2, 0, &[0; 4]).unwrap(), 0, 7).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the ranks disagree on what their call 7 is: rank 0 has broadcast of 4 bytes from rank 0, rank 1 has \
             barrier; start every rank with the same arguments and data"
        );
    }
}
