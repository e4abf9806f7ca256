//! The data that ships and is synthetic: telephone keys and cart-pole episodes, each a pure function of a seed.
//!
//! ```text
//! cargo run --release --example shipped_data     # writes data/touchtone.tar and data/cartpole-mixed.npz again
//! ```
//!
//! Only IEEE arithmetic, sine and logarithm in software, and an integer generator are used, so every machine writes the same
//! bytes; a test compares them with the files.

mod cartpole;
mod npz;
mod touchtone;

use std::io;

/// The files by name, with their contents.
fn files() -> io::Result<[(&'static str, Vec<u8>); 2]> {
    Ok([("touchtone.tar", touchtone::tar()?), ("cartpole-mixed.npz", cartpole::npz()?)])
}

fn main() -> io::Result<()> {
    for (name, bytes) in files()? {
        let path = format!("data/{name}");
        std::fs::write(&path, &bytes)?;
        println!("{path}: {} bytes", bytes.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti::data::shipped;

    #[test]
    fn the_files_equal_the_shipped_ones() {
        for (name, bytes) in files().unwrap() {
            let (_, shipped) = shipped::files().iter().find(|(path, _)| *path == name).unwrap();
            assert!(bytes == *shipped, "{name}: {} bytes", bytes.len());
        }
    }
}
