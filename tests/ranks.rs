//! Two ranks, started with torchrun's variables or by `mpirun`, train the same model as one process with twice the batch. If a
//! rank dies, the job ends with an error, and resumes later.

#![cfg(all(
    target_os = "linux",
    feature = "text",
    feature = "image",
    feature = "audio",
    feature = "trajectory"
))]

mod support;

use candle_core::{Device, Tensor};
use serde_json::Value;
use smalti::train::{METRICS_FILE, STATE_FILE, checkpoint, log};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Ran, TINY, ran, smalti, text};
use tempfile::TempDir;

/// Without clipping, the first moment after one step is a tenth of the gradient.
const SMOOTH: &str = "--set train.max_grad_norm=0 --set train.warmup_steps=5 --set train.learning_rate=0.01 --set train.log_every=1 --set train.eval_every=7 \
                      --set train.eval_samples=2";
const LONG: &str = "--set data.source=a.txt --set outputs.text.context=16 --set train.max_steps=400 --set train.checkpoint_every=5 \
                    --set train.log_every=1 --set train.batch_tokens=70 --set train.workers=1";

fn place() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), text()).unwrap();
    folder
}

/// The launcher of two processes.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// The test itself, with torchrun's variables.
    Torchrun,
    #[cfg(feature = "mpi")]
    Mpirun,
}

/// Two processes of one run, or their launcher.
struct Job {
    by: By,
    processes: Vec<Child>,
}

impl By {
    /// Start `program` twice.
    fn start(self, program: &Path, folder: &Path, line: &str) -> Job {
        let start = |command: &mut Command| {
            command.current_dir(folder).args(line.split_whitespace()).env_remove("RUST_BACKTRACE");
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let processes = match self {
            By::Torchrun => {
                let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                let rank = |rank: &str| {
                    let mut command = Command::new(program);
                    command.env("RANK", rank).env("WORLD_SIZE", "2").env("MASTER_ADDR", "localhost");
                    start(command.env("MASTER_PORT", (port - 1).to_string()))
                };
                vec![rank("0"), rank("1")]
            }
            #[cfg(feature = "mpi")]
            By::Mpirun => {
                let mut command = Command::new("mpirun");
                command.args("-np 2 --allow-run-as-root --oversubscribe".split(' ')).arg(program);
                vec![start(&mut command)]
            }
        };
        Job { by: self, processes }
    }

    fn train(self, folder: &Path, line: &str) -> Job {
        self.start(Path::new(env!("CARGO_BIN_EXE_smalti")), folder, line)
    }

    fn trained(self, folder: &Path, line: &str) -> Ran {
        let ran = self.train(folder, line).ended();
        assert_eq!(ran.code, Some(0), "{line}\n{}", ran.err);
        ran
    }
}

impl Job {
    /// The greatest exit code, and the output of both, rank 0 first.
    fn ended(self) -> Ran {
        let mut all = Ran { code: Some(0), out: String::new(), err: String::new() };
        for process in self.processes {
            let output = process.wait_with_output().unwrap();
            all.code = all.code.max(Some(output.status.code().unwrap_or(i32::MAX)));
            all.out += &String::from_utf8_lossy(&output.stdout);
            all.err += &String::from_utf8_lossy(&output.stderr);
        }
        all
    }

    /// Send a signal to a rank.
    fn signal(&self, name: &str, rank: usize) {
        let ranks: Vec<String> = match self.by {
            By::Torchrun => self.processes.iter().map(|process| process.id().to_string()).collect(),
            #[cfg(feature = "mpi")]
            By::Mpirun => {
                let id = self.processes[0].id();
                let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
                children.split_whitespace().map(str::to_string).collect()
            }
        };
        assert_eq!(ranks.len(), 2);
        assert!(Command::new("kill").args([&format!("-{name}"), &ranks[rank]]).status().unwrap().success());
    }
}

fn worked(command: Command, line: &str) -> Ran {
    let ran = ran(command, line);
    assert_eq!(ran.code, Some(0), "{line}\n{}", ran.err);
    ran
}

fn state(run: &Path) -> HashMap<String, Tensor> {
    checkpoint::load(&run.join(STATE_FILE), &Device::Cpu).unwrap().0
}

fn losses(run: &Path) -> Vec<f64> {
    log::read(run).unwrap().iter().filter_map(|line| line["loss"].as_f64()).collect()
}

/// ‖a − b‖/‖b‖ over all first moments.
fn apart(a: &HashMap<String, Tensor>, b: &HashMap<String, Tensor>) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for (name, b) in b.iter().filter(|(name, _)| name.starts_with("adamw.m.")) {
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in values(&a[name]).into_iter().zip(values(b)) {
            difference += f64::from(a - b).powi(2);
            norm += f64::from(b).powi(2);
        }
    }
    (difference / norm).sqrt()
}

/// Compare two ranks with `settings` and one process with `settings` and `twice`.
fn same(by: By, settings: &str, twice: &str) {
    let folder = place();
    let train = format!("train {settings} {SMOOTH} --device cpu");
    for steps in [1, 20] {
        let steps = format!("--set train.max_steps={steps} --out {steps}");
        by.trained(folder.path(), &format!("{train} {steps}-two"));
        worked(smalti(folder.path()), &format!("{train} {twice} {steps}-one"));
    }
    let run = |name: &str| folder.path().join(name);
    let gradient = apart(&state(&run("1-two")), &state(&run("1-one")));
    let (two, one) = (losses(&run("20-two")), losses(&run("20-one")));
    let loss = two.iter().zip(&one).map(|(two, one)| (two - one).abs() / one).fold(0.0, f64::max);
    println!(
        "gradients {gradient:.1e} apart; losses {:.6} and {:.6}, at most {loss:.1e} apart",
        two[19], one[19]
    );
    assert!(gradient < 1e-5, "{gradient}");
    assert!(two.len() == 20 && one.len() == 20 && loss < 1e-4, "{two:?} {one:?}");
    assert!(one[19] < 0.9 * one[0], "the loss decreases: {one:?}");
}

fn two_ranks_equal_one_with_twice_the_batch(by: By) {
    let text =
        format!("text {TINY} --set model.dropout=0 --set data.source=a.txt --set outputs.text.context=16");
    same(by, &text, "--set train.batch_size=8");
}

/// The micro-batches have the same documents, so dropout and the shares of a mix are the same too.
fn two_ranks_equal_one_with_twice_the_accumulation(by: By) {
    let mix = format!(
        "mix {TINY} --set train.batch_size=8 --set model.dropout=0.2 --set mix.text.data.source=a.txt"
    );
    same(by, &mix, "--set train.gradient_accumulation_steps=2");
}

fn wait_for_step(run: &Path, step: u64) {
    let started = Instant::now();
    let reached = || {
        let lines = if run.join(METRICS_FILE).exists() { log::read(run).unwrap() } else { vec![] };
        run.join(STATE_FILE).exists() && lines.last().and_then(|l| l["step"].as_u64()) >= Some(step)
    };
    while !reached() {
        assert!(started.elapsed() < Duration::from_secs(120), "step {step} is not reached");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn without_clock(run: &Path) -> Vec<Value> {
    let mut lines = log::read(run).unwrap();
    lines.iter_mut().for_each(|line| {
        line.as_object_mut().unwrap().retain(|key, _| key != "tokens_per_s" && key != "seconds");
    });
    lines
}

fn a_job_with_a_killed_or_stopped_rank_ends_and_resumes(by: By) {
    let folder = place();
    let train = format!("train text {TINY} {LONG} --device cpu --out");
    let resume = "train --resume --out run --device cpu";
    by.trained(folder.path(), &format!("{train} straight"));
    let run = folder.path().join("run");
    let mut line = format!("{train} run");
    for (killed, step) in [(1, 20), (0, 60)] {
        let job = by.train(folder.path(), &line);
        wait_for_step(&run, step);
        job.signal("KILL", killed);
        let ended = job.ended();
        let message = ended.out + &ended.err; // the output of mpirun differs between versions
        assert!(
            ended.code > Some(0) && message.contains(&format!("rank {killed}")),
            "{:?}: {message}",
            ended.code
        );
        line = resume.into();
    }

    let alone = ran(smalti(folder.path()), resume);
    assert!(alone.err.contains("expected 2 ranks, as when it was saved; found 1"), "{}", alone.err);

    // A signal to one rank stops both.
    let job = by.train(folder.path(), resume);
    wait_for_step(&run, 120);
    job.signal("INT", 1);
    let ended = job.ended();
    assert!(ended.code == Some(0) && ended.err.contains("; --resume continues"), "{ended:?}");

    by.trained(folder.path(), resume);
    let straight = folder.path().join("straight");
    let bytes = |run: &Path| std::fs::read(run.join(STATE_FILE)).unwrap();
    assert!(bytes(&run) == bytes(&straight), "another state");
    assert_eq!(without_clock(&run), without_clock(&straight));
}

fn a_rank_that_panics_ends_the_job(by: By) {
    let program = std::env::current_exe().unwrap();
    let folder = std::env::current_dir().unwrap();
    let ended = by.start(&program, &folder, "--nocapture --exact rank_1_panics").ended();
    assert!(ended.code > Some(0), "{ended:?}");
    assert!(!ended.err.contains("has not been ended"), "{ended:?}");
    assert!(ended.err.contains("a defect") && ended.err.contains("error: rank 1 has panicked"), "{ended:?}");
}

/// The test above starts this one twice, by its name; alone it does nothing.
#[test]
fn rank_1_panics() {
    let end = |error: &smalti::train::RanksError| {
        eprintln!("error: {error}");
        std::process::exit(3);
    };
    let ranks = smalti::train::ranks::join(end).unwrap();
    if ranks.world_size() == 1 {
        return;
    }
    assert!(ranks.rank() == 0, "a defect");
    // Blocked, as in a wait for a GPU: only a signal ends it.
    std::thread::sleep(Duration::from_secs(60));
    panic!("rank {} has not been ended", ranks.rank());
}

/// An existing run folder is an error on every rank, and no rank waits for another.
fn an_error_of_a_rank_ends_the_job(by: By) {
    let folder = place();
    let train = format!("train text {TINY} {LONG} --set train.max_steps=2 --device cpu --out run");
    let said = by.trained(folder.path(), &train).out;
    assert_eq!(said.matches("run is at step 2").count(), 1, "rank 0 alone reports: {said}");
    let refused = by.train(folder.path(), &train).ended();
    assert!(refused.code > Some(0) && refused.err.contains(": run holds a run already"), "{refused:?}");
}

macro_rules! tests {
    ($by:expr, $($name:ident)*) => {
        $(#[test] fn $name() { super::$name($by); })*
    };
    ($by:expr) => {
        tests! { $by,
            two_ranks_equal_one_with_twice_the_batch
            two_ranks_equal_one_with_twice_the_accumulation
            a_job_with_a_killed_or_stopped_rank_ends_and_resumes
            a_rank_that_panics_ends_the_job
            an_error_of_a_rank_ends_the_job
        }
    };
}

mod over_tcp {
    tests! { super::By::Torchrun }
}

#[cfg(feature = "mpi")]
mod over_mpi {
    tests! { super::By::Mpirun }
}

/// One rank of two, over TCP.
fn one_rank(folder: &Path, port: u16, rank: &str, line: &str) -> Child {
    let mut command = smalti(folder);
    command.env("RANK", rank).env("WORLD_SIZE", "2").env("MASTER_ADDR", "127.0.0.1");
    command.env("SMALTI_PORT", port.to_string()).env("SMALTI_RANK_TIMEOUT", "2");
    command.args(line.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Ranks whose models or data differ in any setting do not train together.
#[test]
fn ranks_with_other_settings_are_an_error_that_names_the_setting() {
    let folder = place();
    let train = format!("train text {TINY} {LONG} --device cpu --out run");
    for (setting, expected) in [
        ("model.dropout=0.3", "found model.dropout=0.3"),
        ("model.attention.n_heads=1", "found model.attention.n_heads=1"),
        ("model.mlp.activation=relu", "found model.mlp.activation=\"relu\""),
        ("train.label_smoothing=0.1", "found train.label_smoothing=0.1"),
    ] {
        let port = free_port();
        let ranks = ["", &format!(" --set {setting}")];
        let start = |(rank, more): (usize, &&str)| {
            one_rank(folder.path(), port, &rank.to_string(), &format!("{train}{more}"))
        };
        let ranks: Vec<Child> = ranks.iter().enumerate().map(start).collect();
        for rank in ranks {
            let ended = rank.wait_with_output().unwrap();
            let error = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(!ended.status.success() && error.contains(expected), "{setting}: {error}");
        }
        assert!(!folder.path().join("run/run.toml").exists(), "{setting}");
    }
}

#[test]
fn a_frozen_rank_ends_the_job_within_the_stated_time() {
    let folder = place();
    let (port, train) = (free_port(), format!("train text {TINY} {LONG} --device cpu --out run"));
    let train = train.replace("train.max_steps=400", "train.max_steps=1000000");
    let [rank_0, mut rank_1] = ["0", "1"].map(|rank| one_rank(folder.path(), port, rank, &train));
    wait_for_step(&folder.path().join("run"), 5);
    let id = rank_1.id().to_string();
    assert!(Command::new("kill").args(["-STOP", &id]).status().unwrap().success());
    let ended = rank_0.wait_with_output().unwrap();
    rank_1.kill().unwrap();
    rank_1.wait().unwrap();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{error}");
    assert!(error.contains("rank 1 has sent nothing for the time of SMALTI_RANK_TIMEOUT"), "{error}");
}

/// Processes without a rendezvous are an error: each would train a run of its own.
#[test]
fn several_processes_without_a_rendezvous_are_an_error() {
    let folder = place();
    let train = |variables: &[(&str, &str)]| {
        let mut command = smalti(folder.path());
        command.envs(variables.iter().copied());
        let refused = ran(command, &format!("train text {TINY} --set data.source=a.txt --out run"));
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{}", refused.err);
        assert!(!folder.path().join("run").exists());
        refused.err
    };
    let message = train(&[("PMI_SIZE", "2"), ("PMI_RANK", "1")]);
    assert!(message.contains("PMI_SIZE: ") && message.contains("2 processes"), "{message}");
    let what =
        if cfg!(feature = "mpi") { "MPI found 1: start them with" } else { "build it with `--features mpi`" };
    assert!(message.contains(what), "{message}");
    let message = train(&[("WORLD_SIZE", "2"), ("RANK", "1")]);
    assert!(message.contains("MASTER_ADDR: expected the host of rank 0, as WORLD_SIZE is 2"), "{message}");
}

#[test]
#[cfg(not(feature = "nccl"))]
fn several_gpus_that_cannot_train_together_are_an_error() {
    let folder = place();
    let train = |devices: &str| {
        ran(smalti(folder.path()), &format!("train text {TINY} --set data.source=a.txt --out run {devices}"))
    };
    for (devices, code, message) in [
        ("--devices 0,1", 1, "built without it; build it with `--features nccl`"),
        ("--devices 0,1,0", 2, "GPU 0 is named twice"),
        ("--devices one", 2, "expected the number of a GPU; found \"one\""),
        ("--devices 0,1 --device cuda", 2, "cannot be used with"),
    ] {
        let refused = train(devices);
        assert!(refused.code == Some(code) && refused.err.contains(message), "{devices}: {refused:?}");
    }
    assert!(!folder.path().join("run").exists());
}
