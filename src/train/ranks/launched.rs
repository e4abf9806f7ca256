//! What a launcher says to the processes that it starts.

use super::{RanksError, tcp::LIMIT};

/// A process that a launcher has started together with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// The launcher's variable with the number of processes.
    pub variable: &'static str,
    /// Processes that it has started.
    pub size: usize,
    /// The number of this process, from 0.
    pub rank: usize,
    /// The number of this process on its host, from 0: that of its GPU.
    pub local: usize,
    pub(super) through: Through,
}

/// How processes find one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Through {
    /// By MPI, which knows them.
    Mpi,
    /// By the host of rank 0.
    Tcp(Meeting),
}

/// Where rank 0 waits for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meeting {
    pub host: String,
    pub port: u16,
    /// Distinguishes this job from others that may meet at the same place.
    pub job: String,
}

struct Launcher {
    size: &'static str,
    rank: &'static str,
    local: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Torchrun,
    Mpi,
    Slurm,
}

/// The innermost first: torchrun may run under srun, and mpirun does.
const LAUNCHERS: [Launcher; 4] = [
    Launcher { size: "WORLD_SIZE", rank: "RANK", local: "LOCAL_RANK", kind: Kind::Torchrun },
    Launcher {
        size: "OMPI_COMM_WORLD_SIZE",
        rank: "OMPI_COMM_WORLD_RANK",
        local: "OMPI_COMM_WORLD_LOCAL_RANK",
        kind: Kind::Mpi,
    },
    Launcher { size: "PMI_SIZE", rank: "PMI_RANK", local: "MPI_LOCALRANKID", kind: Kind::Mpi },
    Launcher {
        size: "SLURM_STEP_NUM_TASKS",
        rank: "SLURM_PROCID",
        local: "SLURM_LOCALID",
        kind: Kind::Slurm,
    },
];

impl Launched {
    /// What the environment of this process says; `None` where it was started alone.
    ///
    /// # Errors
    /// [`RanksError::Variable`].
    pub fn find() -> Result<Option<Self>, RanksError> {
        Self::of(&|name| std::env::var(name).ok(), cfg!(feature = "mpi"))
    }

    /// Where the processes meet, for whoever waits.
    pub fn place(&self) -> String {
        match &self.through {
            Through::Mpi => "through MPI".into(),
            Through::Tcp(Meeting { host, port, .. }) => {
                format!("at {host}:{port}, where they wait {} minutes at most", LIMIT.as_secs() / 60)
            }
        }
    }

    fn of(variable: &Variables, has_mpi: bool) -> Result<Option<Self>, RanksError> {
        for launcher in LAUNCHERS {
            // A size counts only beside a rank: a shell on a cluster may have the first without the second.
            let known = variable(launcher.size).zip(variable(launcher.rank));
            let Some((size, rank)) = known else {
                refuse_half(variable, &launcher)?;
                continue;
            };
            // srun may set PMI's variables as well, and its own say where the hosts are.
            let by_srun = (variable("SLURM_STEP_NUM_TASKS"), variable("SLURM_PROCID"));
            if launcher.kind == Kind::Mpi && !has_mpi && by_srun == (Some(size.clone()), Some(rank.clone())) {
                continue;
            }
            let size = number(launcher.size, &size, "a number of processes", usize::MAX)?;
            if size <= 1 {
                continue;
            }
            let rank = number(launcher.rank, &rank, "the number of a process", size)?;
            let local = variable(launcher.local).map_or(Ok(0), |local| {
                number(launcher.local, &local, "the number of a process on its host", size)
            })?;
            let through = match launcher.kind {
                Kind::Torchrun => Through::Tcp(torchrun(variable, size)?),
                Kind::Slurm if !has_mpi => Through::Tcp(slurm(variable, size)?),
                _ => Through::Mpi,
            };
            return Ok(Some(Self { variable: launcher.size, size, rank, local, through }));
        }
        Ok(None)
    }
}

/// Who has said where to meet, and how many, has forgotten to say which one this is.
fn refuse_half(variable: &Variables, launcher: &Launcher) -> Result<(), RanksError> {
    let size = variable(launcher.size).and_then(|size| size.parse().ok()).filter(|size| *size > 1);
    match size {
        Some(size) if launcher.kind == Kind::Torchrun && variable("MASTER_ADDR").is_some() => {
            Err(missing(launcher.rank, "the number of this process, from 0", launcher.size, size))
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

fn missing(variable: &'static str, what: &str, by: &str, size: usize) -> RanksError {
    let expected = format!("{what}, as {by} says that {size} processes were started");
    RanksError::Variable { variable, expected, found: "nothing".into() }
}

/// The port that the environment asks for.
fn port(variable: &Variables) -> Result<Option<u16>, RanksError> {
    if let Some(port) = variable("SMALTI_PORT") {
        return Ok(Some(number("SMALTI_PORT", &port, "a port", 1 << 16)? as u16));
    }
    // MASTER_PORT itself is where torchrun listens.
    let Some(port) = variable("MASTER_PORT") else { return Ok(None) };
    Ok(Some(number("MASTER_PORT", &port, "a port", (1 << 16) - 1)? as u16 + 1))
}

fn torchrun(variable: &Variables, size: usize) -> Result<Meeting, RanksError> {
    let by = "WORLD_SIZE";
    let host =
        variable("MASTER_ADDR").ok_or_else(|| missing("MASTER_ADDR", "the host of rank 0", by, size))?;
    let port = port(variable)?.ok_or_else(|| missing("MASTER_PORT", "a port there", by, size))?;
    let job = variable("SMALTI_JOB").or_else(|| variable("TORCHELASTIC_RUN_ID"));
    Ok(Meeting { host, port, job: job.unwrap_or_default() })
}

fn slurm(variable: &Variables, size: usize) -> Result<Meeting, RanksError> {
    let by = "SLURM_STEP_NUM_TASKS";
    let host = variable("MASTER_ADDR").or_else(|| variable("SLURM_STEP_NODELIST").map(|list| first(&list)));
    let host = host.ok_or_else(|| missing("SLURM_STEP_NODELIST", "the hosts", by, size))?;
    let job =
        variable("SLURM_JOB_ID").ok_or_else(|| missing("SLURM_JOB_ID", "the job's number", by, size))?;
    let port = match port(variable)? {
        Some(port) => port,
        // Jobs that share a host should not meet at one port.
        None => 20_000 + (number("SLURM_JOB_ID", &job, "the job's number", usize::MAX)? % 10_000) as u16,
    };
    let step = variable("SLURM_STEP_ID").unwrap_or_default();
    Ok(Meeting { host, port, job: format!("{job}.{step}") })
}

/// The first host of a list as Slurm writes it: `rack[1-2]node[03,05],login` begins with `rack1node03`.
fn first(list: &str) -> String {
    let (mut host, mut rest) = (String::new(), list);
    while let Some((before, after)) = rest.split_once('[').filter(|(before, _)| !before.contains(',')) {
        let (choices, behind) = after.split_once(']').unwrap_or((after, ""));
        host += before;
        host += choices.split([',', '-']).next().unwrap_or_default();
        rest = behind;
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

    fn meeting(host: &str, port: u16, job: &str) -> Through {
        Through::Tcp(Meeting { host: host.into(), port, job: job.into() })
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
    fn torchrun_says_where_rank_0_is() {
        let through = meeting("host0", 29501, "7");
        let known = Launched { variable: "WORLD_SIZE", size: 8, rank: 5, local: 1, through };
        assert_eq!(of(&TORCHRUN, false), Ok(Some(known.clone())));
        // Within an srun of one task a host.
        let slurm = [("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1")];
        assert_eq!(of(&[&TORCHRUN[..], &slurm].concat(), true), Ok(Some(known)));
        let other = of(&[&TORCHRUN[..], &[("SMALTI_PORT", "1234")]].concat(), false).unwrap().unwrap();
        assert_eq!(other.through, meeting("host0", 1234, "7"));
        assert_eq!(of(&TORCHRUN[..1], false), Ok(None));
        assert_eq!(of(&[("WORLD_SIZE", "1"), ("RANK", "0")], false), Ok(None));
    }

    #[test]
    fn slurm_names_its_hosts() {
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
        assert_eq!(launched.through, meeting("gpu007", 23456, "123456.0"));
        assert_eq!((launched.size, launched.rank, launched.local), (2, 1, 1));
        let with_pmi = [&variables[..], &[("PMI_SIZE", "2"), ("PMI_RANK", "1")]].concat();
        assert_eq!(of(&with_pmi, false), Ok(Some(launched)));
        assert_eq!(of(&variables, true).unwrap().unwrap().through, Through::Mpi);
        assert_eq!(of(&[("SLURM_NTASKS", "4")], false), Ok(None));
        for (list, host) in
            [("a", "a"), ("a,b[1-2]", "a"), ("a[3,5-7]", "a3"), ("r[1-2]n[03,05]x,y", "r1n03x")]
        {
            assert_eq!(first(list), host);
        }
    }

    #[test]
    fn mpi_alone_knows_the_processes_of_mpirun() {
        let variables = [
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_RANK", "0"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "0"),
        ];
        for has_mpi in [false, true] {
            assert_eq!(of(&variables, has_mpi).unwrap().unwrap().through, Through::Mpi);
        }
    }

    #[test]
    fn variables_that_do_not_fit_are_named() {
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
            ("MASTER_ADDR", None, "MASTER_ADDR: expected the host of rank 0, as WORLD_SIZE says"),
            ("MASTER_PORT", None, "MASTER_PORT: expected a port there"),
        ] {
            assert!(changed(name, value).starts_with(message), "{}", changed(name, value));
        }
    }
}
