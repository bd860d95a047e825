//! What torchrun, Kubeflow, Open MPI, MPICH and Slurm tell a process about its place among others.

use std::fmt;

use anyhow::{Context, Result, bail};

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
    /// Where rank 0 can be found.
    pub master: Option<(String, u16)>,
    /// The launcher itself listens there and keeps what ranks tell each other.
    pub agent_store: bool,
    /// How often the launcher has started the ranks anew.
    pub restarts: u32,
}

/// The variables' values by their names.
type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// torch's usual port.
const PORT: u16 = 29500;

/// This process's place among several that something has started.
pub fn placement() -> Result<Option<Placement>> {
    let found = placed(&|name| std::env::var(name).ok())?;
    Ok(found.filter(|placement| placement.world > 1))
}

/// How many ranks something has started, of which this process is one.
pub fn launched() -> Result<Option<usize>> {
    Ok(placement()?.map(|placement| placement.world))
}

/// This process's place, where something has started it as one of several.
///
/// # Errors
/// If a variable that belongs to the others is missing, or is no number.
fn placed(variables: &Variables<'_>) -> Result<Option<Placement>> {
    let found = if variables("RANK").is_some() || variables("WORLD_SIZE").is_some() {
        torch(variables)?
    } else if variables("OMPI_COMM_WORLD_SIZE").is_some() {
        let local = "OMPI_COMM_WORLD_LOCAL_RANK";
        of_mpi(variables, Launcher::OpenMpi, ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", local])?
    } else if variables("PMI_SIZE").is_some() {
        of_mpi(variables, Launcher::Mpich, ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"])?
    } else if variables("SLURM_STEP_NUM_TASKS").is_some() {
        slurm(variables)?
    } else {
        return Ok(None);
    };
    if found.rank >= found.world {
        bail!("{}: rank {} of {}; ranks count from 0", found.launcher, found.rank, found.world);
    }
    Ok(Some(found))
}

fn torch(variables: &Variables<'_>) -> Result<Placement> {
    let (rank, world) = (required(variables, "RANK")?, required(variables, "WORLD_SIZE")?);
    let master = master(variables)?;
    if world > 1 && master.is_none() {
        bail!("WORLD_SIZE is {world}, but MASTER_ADDR is not set: it is where rank 0 can be found");
    }
    Ok(Placement {
        launcher: Launcher::Torch,
        rank,
        world,
        local_rank: number(variables, "LOCAL_RANK")?.unwrap_or(0),
        master,
        agent_store: variables("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|said| said.eq_ignore_ascii_case("true")),
        restarts: number(variables, "TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
    })
}

/// The MPI build finds the others by MPI alone; the sockets need an address, which is this machine where all ranks are
/// on it.
fn of_mpi(variables: &Variables<'_>, launcher: Launcher, names: [&str; 3]) -> Result<Placement> {
    let [rank, world, local_rank] = names;
    let (rank, world) = (required(variables, rank)?, required(variables, world)?);
    let on_this_machine = number::<usize>(variables, "OMPI_COMM_WORLD_LOCAL_SIZE")?.is_some_and(|here| here == world);
    let job = variables("PMIX_NAMESPACE").or_else(|| variables("OMPI_MCA_ess_base_jobid")).unwrap_or_default();
    let here = on_this_machine.then(|| ("127.0.0.1".to_owned(), port_of(&job)));
    Ok(Placement {
        launcher,
        rank,
        world,
        local_rank: number(variables, local_rank)?.unwrap_or(0),
        master: master(variables)?.or(here),
        agent_store: false,
        restarts: 0,
    })
}

fn slurm(variables: &Variables<'_>) -> Result<Placement> {
    let (rank, world) = (required(variables, "SLURM_PROCID")?, required(variables, "SLURM_STEP_NUM_TASKS")?);
    let hosts = variables("SLURM_STEP_NODELIST").or_else(|| variables("SLURM_JOB_NODELIST"));
    let job = variables("SLURM_JOB_ID").unwrap_or_default() + "." + &variables("SLURM_STEP_ID").unwrap_or_default();
    let first = hosts.map(|hosts| (first_host(&hosts), port_of(&job)));
    Ok(Placement {
        launcher: Launcher::Slurm,
        rank,
        world,
        local_rank: number(variables, "SLURM_LOCALID")?.unwrap_or(0),
        master: master(variables)?.or(first),
        agent_store: false,
        restarts: 0,
    })
}

/// `MASTER_ADDR` and `MASTER_PORT`.
fn master(variables: &Variables<'_>) -> Result<Option<(String, u16)>> {
    let Some(address) = variables("MASTER_ADDR").filter(|address| !address.is_empty()) else { return Ok(None) };
    Ok(Some((address, number(variables, "MASTER_PORT")?.unwrap_or(PORT))))
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

fn required(variables: &Variables<'_>, name: &str) -> Result<usize> {
    number(variables, name)?.with_context(|| format!("the environment has no {name}, though it says of others"))
}

fn number<T: std::str::FromStr>(variables: &Variables<'_>, name: &str) -> Result<Option<T>> {
    let Some(text) = variables(name) else { return Ok(None) };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => bail!("the environment's {name} is '{text}', expected a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<Placement>> {
        placed(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
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
        assert!(told(&[("RANK", "0")]).contains("WORLD_SIZE"));
        assert!(told(&[("RANK", "0"), ("WORLD_SIZE", "2")]).contains("MASTER_ADDR"));
        assert!(told(&[("RANK", "two"), ("WORLD_SIZE", "2")]).contains("'two', expected a number"));
        assert!(told(&[("RANK", "2"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a")]).contains("rank 2 of 2"));
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
