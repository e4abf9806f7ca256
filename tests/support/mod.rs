//! Running the program as a user does.

use std::path::Path;
use std::process::Command;

/// The result of a command: its exit code and output.
#[derive(Debug)]
pub struct Ran {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The `smalti` command in a folder, without the backtrace settings of a shell.
pub fn smalti(folder: &Path) -> Command {
    command(env!("CARGO_BIN_EXE_smalti"), folder)
}

/// `smalti` under a limit of the shell, such as `ulimit -v 1000000`; the arguments follow.
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "not every test limits the program")]
pub fn smalti_under(limit: &str, folder: &Path) -> Command {
    let mut shell = command("sh", folder);
    shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_smalti")]);
    shell
}

/// A program in a folder, without the backtrace settings of a shell.
pub fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
    command
}

/// Run a command with the words of `line` to its end.
pub fn ran(mut command: Command, line: &str) -> Ran {
    let output = command.args(line.split_whitespace()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A text of a few dozen windows of 16 characters.
#[allow(dead_code, reason = "not every test trains on text")]
pub fn text() -> String {
    "the quick brown fox jumps over the lazy dog, and again.\n".repeat(12)
}

/// Settings of a model that trains in milliseconds.
#[allow(dead_code, reason = "not every test has a tiny model")]
pub const TINY: &str =
    "--set train.batch_size=4 --set model.d_model=16 --set model.n_layers=1 --set model.attention.n_heads=2";

/// The settings of a policy that acts on the images of the camera `front`.
#[allow(dead_code, reason = "not every test has a camera")]
pub fn image_policy(log: &str, patch_size: usize) -> String {
    format!(
        "[data]\nsource = {log:?}\ncontext = 4\n[data.derived.return_to_go]\nkind = \"return_to_go\"\n\
         field = \"rewards\"\n[inputs.return_to_go]\nmodality = \"numbers\"\nscale = 0\n\
         [inputs.front]\nmodality = \"image\"\npatch_size = {patch_size}\n\
         [outputs.actions]\nhead = \"classify\"\n"
    )
}
