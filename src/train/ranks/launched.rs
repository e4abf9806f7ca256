//! The environment variables by which launchers describe their processes.

use super::{RanksError, tcp::RENDEZVOUS_TIMEOUT};
use serde::{Deserialize, Serialize};
use std::fmt::{Debug, Formatter};

/// One of several processes that a launcher has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// The launcher's variable with the number of processes.
    pub variable: &'static str,
    /// The number of processes that it has started.
    pub world_size: usize,
    /// The number of this process, from 0.
    pub rank: usize,
    /// The number of this process among those of its host, from 0, and of its GPU.
    pub local_rank: usize,
    pub(super) transport: Transport,
}

/// How processes exchange data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transport {
    /// Through MPI, which also connects them.
    Mpi,
    /// Over TCP connections to rank 0.
    Tcp(Rendezvous),
}

/// The address at which rank 0 waits for the other ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendezvous {
    pub host: String,
    pub port: u16,
    /// The address at which rank 0 listens, if it is not that of the host.
    pub listen: Option<String>,
    /// Tells this job from others at the same address.
    pub job: String,
    pub token: Token,
}

/// The secret that each rank shows when it joins; empty for none.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Token(String);

impl Token {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether another token is this one, in a time that does not depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        let (own, other) = (self.0.as_bytes(), other.0.as_bytes());
        own.len() == other.len() && own.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

/// A secret appears in no message.
impl Debug for Token {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result<(), std::fmt::Error> {
        f.write_str("Token")
    }
}

/// The host of a job that runs on one host alone.
const LOOPBACK: &str = "127.0.0.1";

/// A launcher and the names of its variables.
struct Launcher {
    world_size: &'static str,
    rank: &'static str,
    local_rank: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Torchrun,
    Mpi,
    Slurm,
}

/// The innermost first: torchrun may run under srun, and so does mpirun.
const LAUNCHERS: [Launcher; 4] = [
    Launcher { world_size: "WORLD_SIZE", rank: "RANK", local_rank: "LOCAL_RANK", kind: Kind::Torchrun },
    Launcher {
        world_size: "OMPI_COMM_WORLD_SIZE",
        rank: "OMPI_COMM_WORLD_RANK",
        local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
        kind: Kind::Mpi,
    },
    Launcher { world_size: "PMI_SIZE", rank: "PMI_RANK", local_rank: "MPI_LOCALRANKID", kind: Kind::Mpi },
    Launcher {
        world_size: "SLURM_STEP_NUM_TASKS",
        rank: "SLURM_PROCID",
        local_rank: "SLURM_LOCALID",
        kind: Kind::Slurm,
    },
];

impl Launched {
    /// This process as its environment describes it; `None` if it is the only one.
    ///
    /// # Errors
    /// [`RanksError::Variable`] if a variable is missing or has an unusable value.
    pub fn find() -> Result<Option<Self>, RanksError> {
        Self::of(&|name| std::env::var(name).ok(), cfg!(feature = "mpi"))
    }

    /// The address and time-out of the rendezvous, for messages.
    pub fn rendezvous(&self) -> String {
        match &self.transport {
            Transport::Mpi => "through MPI".into(),
            Transport::Tcp(Rendezvous { host, port, .. }) => {
                format!("at {host}:{port}, time-out {} minutes", RENDEZVOUS_TIMEOUT.as_secs() / 60)
            }
        }
    }

    fn of(variable: &Variables, has_mpi: bool) -> Result<Option<Self>, RanksError> {
        for launcher in LAUNCHERS {
            // A world size counts only with a rank: a shell on a cluster may have the first without the second.
            let known = variable(launcher.world_size).zip(variable(launcher.rank));
            let Some((world_size, rank)) = known else {
                check_rank_is_set(variable, &launcher)?;
                continue;
            };
            // srun may set PMI's variables as well, and only its own name the hosts.
            let by_srun = (variable("SLURM_STEP_NUM_TASKS"), variable("SLURM_PROCID"));
            if launcher.kind == Kind::Mpi
                && !has_mpi
                && by_srun == (Some(world_size.clone()), Some(rank.clone()))
            {
                continue;
            }
            let world_size = number(launcher.world_size, &world_size, "a number of processes", usize::MAX)?;
            if world_size <= 1 {
                continue;
            }
            let rank = number(launcher.rank, &rank, "the number of a process", world_size)?;
            let local_rank = variable(launcher.local_rank).map_or(Ok(0), |local_rank| {
                number(launcher.local_rank, &local_rank, "the number of a process on its host", world_size)
            })?;
            let transport = match launcher.kind {
                Kind::Torchrun => Transport::Tcp(torchrun(variable, world_size)?),
                Kind::Slurm if !has_mpi => Transport::Tcp(slurm(variable, world_size)?),
                _ => Transport::Mpi,
            };
            return Ok(Some(Self { variable: launcher.world_size, world_size, rank, local_rank, transport }));
        }
        Ok(None)
    }
}

/// Fails if torchrun's variables name an address and several processes, but not the rank of this one.
fn check_rank_is_set(variable: &Variables, launcher: &Launcher) -> Result<(), RanksError> {
    let world_size = variable(launcher.world_size).and_then(|size| size.parse::<usize>().ok());
    match world_size.filter(|world_size| *world_size > 1) {
        Some(world_size) if launcher.kind == Kind::Torchrun && variable("MASTER_ADDR").is_some() => {
            Err(missing(launcher.rank, "the number of this process, from 0", launcher.world_size, world_size))
        }
        _ => Ok(()),
    }
}

type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

fn number(variable: &'static str, text: &str, what: &str, below: usize) -> Result<usize, RanksError> {
    let wrong = || {
        let below = if below == usize::MAX { String::new() } else { format!(" below {below}") };
        RanksError::Variable { variable, expected: format!("{what}{below}"), found: format!("{text:?}") }
    };
    text.parse().ok().filter(|&number| number < below).ok_or_else(wrong)
}

fn missing(variable: &'static str, what: &str, by: &str, world_size: usize) -> RanksError {
    let expected = format!("{what}, as {by} is {world_size}");
    RanksError::Variable { variable, expected, found: "nothing".into() }
}

/// The port that the environment sets.
fn port(variable: &Variables) -> Result<Option<u16>, RanksError> {
    if let Some(port) = variable("SMALTI_PORT") {
        return Ok(Some(number("SMALTI_PORT", &port, "a port", 1 << 16)? as u16));
    }
    // torchrun itself listens at MASTER_PORT.
    let Some(port) = variable("MASTER_PORT") else { return Ok(None) };
    Ok(Some(number("MASTER_PORT", &port, "a port", (1 << 16) - 1)? as u16 + 1))
}

/// The rendezvous at a host and port, on the loopback interface if all ranks are on this host.
fn rendezvous(variable: &Variables, host: String, port: u16, job: String, one_host: bool) -> Rendezvous {
    let host = if one_host { LOOPBACK.into() } else { host };
    let token = Token(variable("SMALTI_TOKEN").unwrap_or_default());
    Rendezvous { host, port, listen: variable("SMALTI_LISTEN"), job, token }
}

fn torchrun(variable: &Variables, world_size: usize) -> Result<Rendezvous, RanksError> {
    let by = "WORLD_SIZE";
    let host = variable("MASTER_ADDR")
        .ok_or_else(|| missing("MASTER_ADDR", "the host of rank 0", by, world_size))?;
    let port =
        port(variable)?.ok_or_else(|| missing("MASTER_PORT", "a port of that host", by, world_size))?;
    let job = variable("SMALTI_JOB").or_else(|| variable("TORCHELASTIC_RUN_ID"));
    let one_host = variable("LOCAL_WORLD_SIZE").is_some_and(|local| local == world_size.to_string());
    Ok(rendezvous(variable, host, port, job.unwrap_or_default(), one_host))
}

fn slurm(variable: &Variables, world_size: usize) -> Result<Rendezvous, RanksError> {
    let by = "SLURM_STEP_NUM_TASKS";
    let host = variable("MASTER_ADDR").or_else(|| variable("SLURM_STEP_NODELIST").map(|list| first(&list)));
    let host = host.ok_or_else(|| missing("SLURM_STEP_NODELIST", "the hosts", by, world_size))?;
    let job = variable("SLURM_JOB_ID")
        .ok_or_else(|| missing("SLURM_JOB_ID", "the job's number", by, world_size))?;
    let port = match port(variable)? {
        Some(port) => port,
        // Jobs that share a host should not share a port.
        None => 20_000 + (number("SLURM_JOB_ID", &job, "the job's number", usize::MAX)? % 10_000) as u16,
    };
    let step = variable("SLURM_STEP_ID").unwrap_or_default();
    let one_host = variable("SLURM_STEP_NUM_NODES").is_some_and(|nodes| nodes == "1");
    Ok(rendezvous(variable, host, port, format!("{job}.{step}"), one_host))
}

/// The first host of a list as Slurm writes it: `rack[1-2]node[03,05],login` begins with `rack1node03`.
fn first(list: &str) -> String {
    let (mut host, mut rest) = (String::new(), list);
    while let Some((before, after)) = rest.split_once('[').filter(|(before, _)| !before.contains(',')) {
        let (choices, after) = after.split_once(']').unwrap_or((after, ""));
        host += before;
        host += choices.split([',', '-']).next().unwrap_or_default();
        rest = after;
    }
    host + rest.split(',').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], has_mpi: bool) -> Result<Option<Launched>, RanksError> {
        let variable =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        Launched::of(&variable, has_mpi)
    }

    fn tcp(host: &str, port: u16, job: &str) -> Transport {
        let (host, job) = (host.into(), job.into());
        Transport::Tcp(Rendezvous { host, port, listen: None, job, token: Token::default() })
    }

    const TORCHRUN: [(&str, &str); 6] = [
        ("WORLD_SIZE", "8"),
        ("RANK", "5"),
        ("LOCAL_RANK", "1"),
        ("MASTER_ADDR", "host0"),
        ("MASTER_PORT", "29500"),
        ("TORCHELASTIC_RUN_ID", "7"),
    ];

    #[test]
    fn torchrun_names_the_host_of_rank_0() {
        let transport = tcp("host0", 29501, "7");
        let known = Launched { variable: "WORLD_SIZE", world_size: 8, rank: 5, local_rank: 1, transport };
        assert_eq!(of(&TORCHRUN, false), Ok(Some(known.clone())));
        // Within an srun of one task per host.
        let slurm = [("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1")];
        assert_eq!(of(&[&TORCHRUN[..], &slurm].concat(), true), Ok(Some(known)));
        let other = of(&[&TORCHRUN[..], &[("SMALTI_PORT", "1234")]].concat(), false).unwrap().unwrap();
        assert_eq!(other.transport, tcp("host0", 1234, "7"));
        let one_host = of(&[&TORCHRUN[..], &[("LOCAL_WORLD_SIZE", "8")]].concat(), false).unwrap().unwrap();
        assert_eq!(one_host.transport, tcp("127.0.0.1", 29501, "7"));
        assert_eq!(of(&TORCHRUN[..1], false), Ok(None));
        assert_eq!(of(&[("WORLD_SIZE", "1"), ("RANK", "0")], false), Ok(None));
    }

    #[test]
    fn slurm_names_the_hosts() {
        let variables = [
            ("SLURM_STEP_NUM_TASKS", "2"),
            ("SLURM_PROCID", "1"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_NTASKS", "4"),
            ("SLURM_STEP_NODELIST", "gpu[007-009],login"),
            ("SLURM_JOB_ID", "123456"),
            ("SLURM_STEP_ID", "0"),
        ];
        let launched = of(&variables, false).unwrap().unwrap();
        assert_eq!(launched.transport, tcp("gpu007", 23456, "123456.0"));
        assert_eq!((launched.world_size, launched.rank, launched.local_rank), (2, 1, 1));
        let one_host = [&variables[..], &[("SLURM_STEP_NUM_NODES", "1")]].concat();
        let one_host = of(&one_host, false).unwrap().unwrap();
        assert_eq!(one_host.transport, tcp("127.0.0.1", 23456, "123456.0"));
        let with_pmi = [&variables[..], &[("PMI_SIZE", "2"), ("PMI_RANK", "1")]].concat();
        assert_eq!(of(&with_pmi, false), Ok(Some(launched)));
        assert_eq!(of(&variables, true).unwrap().unwrap().transport, Transport::Mpi);
        assert_eq!(of(&[("SLURM_NTASKS", "4")], false), Ok(None));
        for (list, host) in
            [("a", "a"), ("a,b[1-2]", "a"), ("a[3,5-7]", "a3"), ("r[1-2]n[03,05]x,y", "r1n03x")]
        {
            assert_eq!(first(list), host);
        }
    }

    #[test]
    fn processes_of_mpirun_are_connected_through_mpi() {
        let variables = [
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_RANK", "0"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "0"),
        ];
        for has_mpi in [false, true] {
            assert_eq!(of(&variables, has_mpi).unwrap().unwrap().transport, Transport::Mpi);
        }
    }

    #[test]
    fn a_token_appears_in_no_message() {
        let variables =
            [&TORCHRUN[..], &[("SMALTI_TOKEN", "secret"), ("SMALTI_LISTEN", "10.0.0.7")]].concat();
        let launched = of(&variables, false).unwrap().unwrap();
        assert!(!format!("{launched:?}").contains("secret"));
        let Transport::Tcp(rendezvous) = launched.transport else { panic!("torchrun's ranks use TCP") };
        assert_eq!(rendezvous.listen.as_deref(), Some("10.0.0.7"));
        assert!(rendezvous.token.matches(&Token("secret".into())));
        for other in ["", "secreT", "secret2"] {
            assert!(!rendezvous.token.matches(&Token(other.into())));
        }
    }

    #[test]
    fn unusable_variables_are_named() {
        let changed = |name: &str, value: Option<&'static str>| {
            let mut variables = TORCHRUN.to_vec();
            variables.retain(|(n, _)| *n != name);
            variables
                .extend(value.map(|value| (TORCHRUN.iter().find(|(n, _)| *n == name).unwrap().0, value)));
            of(&variables, false).unwrap_err().to_string()
        };
        for (name, value, message) in [
            ("RANK", Some("8"), "RANK: expected the number of a process below 8; found \"8\""),
            ("WORLD_SIZE", Some("two"), "WORLD_SIZE: expected a number of processes; found \"two\""),
            ("MASTER_PORT", Some("65535"), "MASTER_PORT: expected a port below 65535; found \"65535\""),
            ("MASTER_ADDR", None, "MASTER_ADDR: expected the host of rank 0, as WORLD_SIZE is 8"),
            ("MASTER_PORT", None, "MASTER_PORT: expected a port of that host"),
        ] {
            assert!(changed(name, value).starts_with(message), "{}", changed(name, value));
        }
    }
}
