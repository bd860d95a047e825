//! What torchrun, Kubeflow, Open MPI, MPICH and Slurm tell a process about its place among others.

use std::fmt;

use anyhow::{Result, bail};
use ft_dist::MAX_RANKS;

use super::variables::{Variables, number, required};

/// Who started the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// `RANK`, `WORLD_SIZE`: torchrun, Kubeflow's training operator, accelerate.
    Torch,
    OpenMpi,
    /// `PMI_RANK`: MPICH and its kin.
    Mpich,
    Slurm,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torch => "RANK and WORLD_SIZE (torchrun)",
            Self::OpenMpi => "Open MPI's mpirun",
            Self::Mpich => "MPICH's mpiexec",
            Self::Slurm => "srun",
        })
    }
}

/// A process's place among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub launcher: Launcher,
    pub rank: usize,
    pub world: usize,
    /// Its number among the ranks of its machine.
    pub local_rank: usize,
    /// How many ranks its machine has, where the launcher says it; else 1.
    pub local_world: usize,
    /// Where rank 0 can be found.
    pub master: Option<(String, u16)>,
    /// The launcher itself listens there and keeps what ranks tell each other.
    pub agent_store: bool,
    /// How often the launcher has started the ranks anew.
    pub restarts: usize,
}

/// How a launcher calls what it says.
struct Names {
    rank: &'static str,
    world: &'static str,
    local_rank: &'static str,
    local_world: Option<&'static str>,
}

const TORCH: Names =
    Names { rank: "RANK", world: "WORLD_SIZE", local_rank: "LOCAL_RANK", local_world: Some("LOCAL_WORLD_SIZE") };
const OPEN_MPI: Names = Names {
    rank: "OMPI_COMM_WORLD_RANK",
    world: "OMPI_COMM_WORLD_SIZE",
    local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
    local_world: Some("OMPI_COMM_WORLD_LOCAL_SIZE"),
};
const MPICH: Names =
    Names { rank: "PMI_RANK", world: "PMI_SIZE", local_rank: "MPI_LOCALRANKID", local_world: Some("MPI_LOCALNRANKS") };
const SLURM: Names =
    Names { rank: "SLURM_PROCID", world: "SLURM_STEP_NUM_TASKS", local_rank: "SLURM_LOCALID", local_world: None };

/// torch's usual port.
const PORT: u16 = 29500;

/// This process's place, where something has started it as one of several.
///
/// # Errors
/// If a variable that belongs to the others is missing, is no number, or is one that cannot be.
pub fn read(variables: &Variables<'_>) -> Result<Option<Placement>> {
    let is_there = |name: &str| variables(name).is_some();
    let found = if is_there(TORCH.rank) || is_there(TORCH.world) {
        torch(variables)?
    } else if is_there(OPEN_MPI.world) {
        of_mpi(variables, Launcher::OpenMpi, &OPEN_MPI)?
    } else if is_there(MPICH.world) {
        of_mpi(variables, Launcher::Mpich, &MPICH)?
    } else if is_there(SLURM.world) {
        slurm(variables)?
    } else {
        return Ok(None);
    };
    Ok(Some(found))
}

/// The numbers that `names` say, without an address.
fn numbers(variables: &Variables<'_>, launcher: Launcher, names: &Names) -> Result<Placement> {
    let world = required(variables, names.world, 1..=MAX_RANKS)?;
    let rank = required(variables, names.rank, 0..=MAX_RANKS)?;
    if rank >= world {
        bail!("{} is {rank}, but {} is {world}: ranks count from 0 to {}", names.rank, names.world, world - 1);
    }
    let here = names.local_world.map(|name| anyhow::Ok(number(variables, name, 1..=MAX_RANKS)?.map(|n| (n, name))));
    let here = here.transpose()?.flatten();
    let local_rank = number(variables, names.local_rank, 0..=MAX_RANKS)?.unwrap_or(0);
    let (local_world, of) = here.unwrap_or((world, names.world));
    if local_world > world {
        bail!("{of} is {local_world}, but {} is {world}: a machine has no more ranks than there are", names.world);
    }
    if local_rank >= local_world {
        bail!("{} is {local_rank}, but {of} is {local_world}: they count from 0", names.local_rank);
    }
    let local_world = here.map_or(1, |here| here.0);
    Ok(Placement { launcher, rank, world, local_rank, local_world, master: None, agent_store: false, restarts: 0 })
}

fn torch(variables: &Variables<'_>) -> Result<Placement> {
    let found = numbers(variables, Launcher::Torch, &TORCH)?;
    let master = master(variables)?;
    if found.world > 1 && master.is_none() {
        bail!("WORLD_SIZE is {}, but MASTER_ADDR is not set: it is where rank 0 can be found", found.world);
    }
    let agent_store = variables("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|said| said.eq_ignore_ascii_case("true"));
    let restarts = number(variables, "TORCHELASTIC_RESTART_COUNT", 0..=usize::MAX)?.unwrap_or(0);
    Ok(Placement { master, agent_store, restarts, ..found })
}

/// The MPI build finds the others by MPI alone; the sockets need an address, which is this machine where all ranks are
/// on it.
fn of_mpi(variables: &Variables<'_>, launcher: Launcher, names: &Names) -> Result<Placement> {
    let found = numbers(variables, launcher, names)?;
    let job = variables("PMIX_NAMESPACE").or_else(|| variables("OMPI_MCA_ess_base_jobid")).unwrap_or_default();
    let here = (found.local_world == found.world).then(|| ("127.0.0.1".to_owned(), port_of(&job)));
    Ok(Placement { master: master(variables)?.or(here), ..found })
}

fn slurm(variables: &Variables<'_>) -> Result<Placement> {
    let found = numbers(variables, Launcher::Slurm, &SLURM)?;
    let hosts = variables("SLURM_STEP_NODELIST").or_else(|| variables("SLURM_JOB_NODELIST"));
    let job = variables("SLURM_JOB_ID").unwrap_or_default() + "." + &variables("SLURM_STEP_ID").unwrap_or_default();
    let first = hosts.map(|hosts| (first_host(&hosts), port_of(&job)));
    let node = variables("SLURM_NODEID").and_then(|node| node.trim().parse().ok());
    let here = node.and_then(|node| tasks_on(&variables("SLURM_STEP_TASKS_PER_NODE")?, node));
    // What was asked for, of the job and not of this step.
    let asked = || Ok(number(variables, "SLURM_NTASKS_PER_NODE", 1..=usize::MAX)?.unwrap_or(1));
    let local_world = here.map_or_else(asked, anyhow::Ok)?.clamp(1, found.world);
    Ok(Placement { local_world, master: master(variables)?.or(first), ..found })
}

/// How many tasks machine `node`, counted from 0, has by Slurm's short form: in `2(x3),1` the first three have 2.
fn tasks_on(list: &str, mut node: usize) -> Option<usize> {
    for part in list.split(',') {
        let (tasks, times) = part.split_once("(x").unwrap_or((part, "1)"));
        let times = times.trim_end_matches(')').parse().ok()?;
        if node < times {
            return tasks.trim().parse().ok();
        }
        node -= times;
    }
    None
}

/// `MASTER_ADDR` and `MASTER_PORT`.
fn master(variables: &Variables<'_>) -> Result<Option<(String, u16)>> {
    let Some(address) = variables("MASTER_ADDR").filter(|address| !address.is_empty()) else { return Ok(None) };
    let port = number(variables, "MASTER_PORT", 1..=usize::from(u16::MAX))?.and_then(|port| u16::try_from(port).ok());
    Ok(Some((address, port.unwrap_or(PORT))))
}

/// The first host of Slurm's short form: `node[003-007,9],gpu1` begins with node003.
fn first_host(list: &str) -> String {
    let Some((prefix, rest)) = list.split_once('[') else {
        return list.split(',').next().unwrap_or(list).to_owned();
    };
    if let Some((first, _)) = prefix.split_once(',') {
        return first.to_owned();
    }
    let (inside, after) = rest.split_once(']').unwrap_or((rest, ""));
    let number = inside.split([',', '-']).next().unwrap_or(inside);
    let suffix = after.split(',').next().unwrap_or(after);
    format!("{prefix}{number}{suffix}")
}

/// A port that a job's ranks find by its name alone, so that two jobs on one machine seldom meet.
fn port_of(job: &str) -> u16 {
    let mixed = job.bytes().fold(2_166_136_261u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    20_000 + (mixed % 12_000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<Placement>> {
        read(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn each_launcher_is_known_by_its_variables() {
        assert_eq!(found(&[("HOME", "/")]).unwrap(), None);
        let torch =
            [("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "7")];
        let place = found(&torch).unwrap().unwrap();
        assert_eq!((place.rank, place.world, place.local_rank), (3, 4, 1));
        assert_eq!((place.master, place.agent_store), (Some(("a".into(), 7)), false));
        let mpi = [
            ("OMPI_COMM_WORLD_RANK", "1"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
        ];
        let place = found(&mpi).unwrap().unwrap();
        assert_eq!((place.launcher, place.rank), (Launcher::OpenMpi, 1));
        assert_eq!(place.master.unwrap().0, "127.0.0.1");
        let slurm = [
            ("SLURM_PROCID", "5"),
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_STEP_NODELIST", "gpu[07-10]"),
            ("SLURM_JOB_ID", "12"),
        ];
        let place = found(&slurm).unwrap().unwrap();
        assert_eq!((place.rank, place.world, place.master.unwrap().0.as_str()), (5, 8, "gpu07"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let told = |variables: &[(&str, &str)]| found(variables).unwrap_err().to_string();
        assert!(told(&[("RANK", "0")]).contains("has no WORLD_SIZE"));
        assert!(told(&[("RANK", "0"), ("WORLD_SIZE", "2")]).contains("MASTER_ADDR"));
        assert!(told(&[("RANK", "two"), ("WORLD_SIZE", "2")]).contains("'two', expected a number"));
        assert!(told(&[("RANK", "2"), ("WORLD_SIZE", "2")]).contains("RANK is 2, but WORLD_SIZE is 2"));
        assert!(told(&[("RANK", "0"), ("WORLD_SIZE", "0")]).contains("WORLD_SIZE is '0', expected a number from 1"));
        let with = |more: (&'static str, &'static str)| {
            told(&[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a"), more])
        };
        assert!(with(("MASTER_PORT", "99999")).contains("MASTER_PORT is '99999', expected a number from 1 to 65535"));
        assert!(with(("MASTER_PORT", "0")).contains("MASTER_PORT is '0', expected a number from 1 to 65535"));
        assert!(with(("LOCAL_RANK", "2")).contains("LOCAL_RANK is 2, but WORLD_SIZE is 2"));
        assert!(with(("LOCAL_WORLD_SIZE", "3")).contains("LOCAL_WORLD_SIZE is 3, but WORLD_SIZE is 2"));
        assert!(with(("LOCAL_RANK", "-1")).contains("LOCAL_RANK is '-1', expected a number from 0"));
    }

    #[test]
    fn the_ranks_of_one_machine() {
        let of = |variables: &[(&str, &str)]| found(variables).unwrap().unwrap().local_world;
        let torch = [("RANK", "3"), ("WORLD_SIZE", "8"), ("MASTER_ADDR", "a")];
        assert_eq!(of(&torch), 1);
        assert_eq!(of(&[&torch[..], &[("LOCAL_WORLD_SIZE", "4")]].concat()), 4);
        assert_eq!(of(&[("PMI_RANK", "1"), ("PMI_SIZE", "4"), ("MPI_LOCALNRANKS", "2")]), 2);
        let slurm = [("SLURM_PROCID", "5"), ("SLURM_STEP_NUM_TASKS", "7"), ("SLURM_STEP_NODELIST", "n[1-4]")];
        assert_eq!(of(&[&slurm[..], &[("SLURM_NTASKS_PER_NODE", "2")]].concat()), 2);
        for (node, tasks) in [("0", 2), ("2", 2), ("3", 1)] {
            let more = [("SLURM_NODEID", node), ("SLURM_STEP_TASKS_PER_NODE", "2(x3),1")];
            assert_eq!(of(&[&slurm[..], &more].concat()), tasks);
        }
    }

    #[test]
    fn the_first_host_of_a_list() {
        for (list, first) in
            [("a", "a"), ("a,b", "a"), ("n[3-5,9]", "n3"), ("x,n[3-5]", "x"), ("n[01,04]-ib,z", "n01-ib")]
        {
            assert_eq!(first_host(list), first);
        }
    }
}
