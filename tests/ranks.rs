//! Two processes under `mpirun` train the model that one trains with twice the batch; where one dies, the job ends with a
//! message, and goes on afterwards.

#![cfg(all(
    target_os = "linux",
    feature = "text",
    feature = "image",
    feature = "audio",
    feature = "trajectory"
))]

mod support;

use support::{TINY, ran, smalti, text};

/// What a launcher without MPI has started is refused, where it would be trained twice over.
#[test]
fn several_processes_that_do_not_know_of_one_another_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), text()).unwrap();
    let mut command = smalti(folder.path());
    command.envs([("WORLD_SIZE", "2"), ("RANK", "1")]);
    let refused = ran(command, &format!("train text {TINY} --set data.path=a.txt --out run"));
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{}", refused.err);
    assert!(refused.err.contains("WORLD_SIZE says that 2 processes were started"), "{}", refused.err);
    let says =
        if cfg!(feature = "mpi") { "MPI finds 1; start them with" } else { "build it with `--features mpi`" };
    assert!(refused.err.contains(says), "{}", refused.err);
    assert!(!folder.path().join("run").exists());
}

#[cfg(feature = "mpi")]
mod over_mpi {
    use super::support::{Ran, TINY, ran, smalti, text};
    use candle_core::{Device, Tensor};
    use serde_json::Value;
    use smalti::train::{METRICS_FILE, STATE_FILE, checkpoint, log};
    use std::collections::HashMap;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};
    use tempfile::TempDir;

    /// No clipping, so that the first moment after one step is a tenth of the gradient.
    const SMOOTH: &str = "--set train.clip=0 --set train.warmup=5 --set train.learning_rate=0.01 --set train.log_every=1 --set train.eval_every=7 \
                          --set train.eval_samples=2";

    fn place() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), text()).unwrap();
        folder
    }

    fn two(folder: &Path) -> Command {
        let mut command = Command::new("mpirun");
        command.current_dir(folder).env_remove("RUST_BACKTRACE");
        command
            .args("-np 2 --allow-run-as-root --oversubscribe".split(' '))
            .arg(env!("CARGO_BIN_EXE_smalti"));
        command
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

    /// Two ranks of `settings`, and one process of them with `twice`.
    fn same(settings: &str, twice: &str) {
        let folder = place();
        let train = format!("train {settings} {SMOOTH} --device cpu");
        for steps in [1, 20] {
            let steps = format!("--set train.steps={steps} --out {steps}");
            worked(two(folder.path()), &format!("{train} {steps}-two"));
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
        assert!(one[19] < 0.9 * one[0], "it learns: {one:?}");
    }

    #[test]
    fn two_ranks_are_one_with_twice_the_batch() {
        let text = format!("text {TINY} --set model.dropout=0 --set data.path=a.txt --set data.context=16");
        same(&text, "--set train.batch=8");
    }

    /// The same documents in the same micro-batches, so dropout and the shares of a mix are the same too.
    #[test]
    fn two_ranks_are_one_that_accumulates_twice_as_much() {
        let mix =
            format!("mix {TINY} --set train.batch=8 --set model.dropout=0.2 --set mix.text.data.path=a.txt");
        same(&mix, "--set train.accumulate=2");
    }

    const LONG: &str = "--set data.path=a.txt --set data.context=16 --set train.steps=400 --set train.checkpoint_every=5 \
                        --set train.log_every=1 --set train.batch_tokens=70 --set train.workers=1";

    fn started(folder: &Path, line: &str) -> Child {
        let mut command = two(folder);
        command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
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

    /// The processes that `mpirun` has started.
    fn ranks_of(mpirun: &Child) -> Vec<String> {
        let id = mpirun.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_whitespace().map(str::to_string).collect()
    }

    fn without_clock(run: &Path) -> Vec<Value> {
        let mut lines = log::read(run).unwrap();
        lines.iter_mut().for_each(|line| {
            line.as_object_mut().unwrap().remove("tokens_per_s");
        });
        lines
    }

    #[test]
    fn killed_and_stopped_ranks_end_the_job_and_resume_goes_on() {
        let folder = place();
        let train = format!("train text {TINY} {LONG} --device cpu --out");
        worked(two(folder.path()), &format!("{train} straight"));
        let run = folder.path().join("run");
        let job = started(folder.path(), &format!("{train} run"));
        wait_for_step(&run, 20);
        let ranks = ranks_of(&job);
        assert_eq!(ranks.len(), 2);
        assert!(Command::new("kill").args(["-KILL", &ranks[1]]).status().unwrap().success());
        let ended = job.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr) + String::from_utf8_lossy(&ended.stdout);
        assert!(!ended.status.success() && err.contains("rank 1"), "{:?}: {err}", ended.status);

        let alone = ran(smalti(folder.path()), "train --resume --out run --device cpu");
        assert!(alone.err.contains("it is of 2 ranks; this training has 1"), "{}", alone.err);

        // Asked to stop, one rank tells the other.
        let job = started(folder.path(), "train --resume --out run --device cpu");
        wait_for_step(&run, 100);
        assert!(Command::new("kill").args(["-INT", &ranks_of(&job)[1]]).status().unwrap().success());
        let ended = job.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && err.contains("; --resume goes on"), "{err}");

        worked(two(folder.path()), "train --resume --out run --device cpu");
        let straight = folder.path().join("straight");
        let bytes = |run: &Path| std::fs::read(run.join(STATE_FILE)).unwrap();
        assert!(bytes(&run) == bytes(&straight), "another state");
        assert_eq!(without_clock(&run), without_clock(&straight));
    }

    #[test]
    fn a_rank_that_panics_ends_the_job() {
        let mut command = Command::new("mpirun");
        command
            .args("-np 2 --allow-run-as-root --oversubscribe".split(' '))
            .arg(std::env::current_exe().unwrap());
        let ended = ran(command, "--ignored --nocapture --exact over_mpi::rank_1_panics");
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(
            ended.err.contains("a defect") && ended.err.contains("error: rank 1 has panicked"),
            "{}",
            ended.err
        );
    }

    #[test]
    #[ignore = "is what the test above runs under mpirun"]
    fn rank_1_panics() {
        let ranks = smalti::train::ranks::join().unwrap();
        assert!(ranks.rank() == 0, "a defect");
        ranks.wait();
        assert_eq!(ranks.size(), 2, "rank 0 has not waited");
    }

    /// The folder of a run that is there already is refused by every rank, and no rank waits for another.
    #[test]
    fn an_error_of_a_rank_ends_the_job() {
        let folder = place();
        let train = format!("train text {TINY} {LONG} --set train.steps=2 --device cpu --out run");
        let said = worked(two(folder.path()), &train).out;
        assert_eq!(said.matches("run is at step 2").count(), 1, "rank 0 alone reports: {said}");
        let refused = ran(two(folder.path()), &train);
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        assert!(refused.err.contains(": run holds a run already"), "{}", refused.err);
    }
}
