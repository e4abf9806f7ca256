//! Images in video files, decoded by the program `ffmpeg` in a process of its own.
//!
//! A window of steps is decoded at once, and the windows that were decoded last are kept.

use super::recent::Recent;
use crate::data::DataError;
use smalti_trajectory::Images;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// The longest wait for the next bytes.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest wait for an error message after the images.
const GRACE: Duration = Duration::from_secs(1);
/// The most bytes of images that are decoded at once.
const LARGEST: usize = 1 << 30;
/// Bytes that are read from the process at once, and the number of such pieces that wait.
const PIECE: usize = 1 << 20;
const PIECES: usize = 4;
/// The most bytes of an error message.
const MESSAGE: usize = 2048;

/// The part of a video file with the images of one camera in one episode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Clip {
    pub(super) camera: String,
    /// The file, on this machine.
    pub(super) location: String,
    /// The time of the first image in the file, in seconds.
    pub(super) from: f64,
    /// Images in a second, which are steps.
    pub(super) fps: f64,
    /// In pixels.
    pub(super) height: usize,
    /// In pixels.
    pub(super) width: usize,
}

/// Decodes videos and keeps the images that were decoded last.
pub(super) struct Decoder {
    program: String,
    timeout: Duration,
    recent: Recent<(Clip, Range<usize>), Images>,
}

/// A running process, which is killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self::with("ffmpeg", TIMEOUT)
    }

    fn with(program: &str, timeout: Duration) -> Self {
        Self { program: program.into(), timeout, recent: Recent::new() }
    }

    /// The images of these steps.
    ///
    /// # Errors
    /// [`DataError`] if there is no `ffmpeg`, it fails or takes too long, or the video has fewer images or of another size.
    pub(super) fn images(&self, clip: &Clip, steps: Range<usize>) -> Result<Images, DataError> {
        let has = |(known, kept): &(Clip, Range<usize>)| {
            known == clip && kept.start <= steps.start && steps.end <= kept.end
        };
        if let Some(((_, kept), images)) = self.recent.find(has) {
            return Ok(images.slice(steps.start - kept.start..steps.end - kept.start));
        }
        let refuse = |problem| DataError::tokenize(&clip.location, problem);
        let pixels = self.decode(clip, &steps).map_err(refuse)?;
        let bytes = pixels.len();
        let Clip { height, width, .. } = *clip;
        let images = Images::Frames { height, width, channels: 3, pixels: pixels.into() };
        self.recent.keep((clip.clone(), steps), images.clone(), bytes);
        Ok(images)
    }

    fn decode(&self, clip: &Clip, steps: &Range<usize>) -> Result<Vec<u8>, String> {
        let Clip { height, width, .. } = clip;
        let sides = [steps.len(), *height, *width, 3];
        let expected = sides.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        let expected = expected.filter(|bytes| *bytes <= LARGEST).ok_or_else(|| {
            let n = steps.len();
            format!("{n} images of {height}×{width} pixels are too many at once; use a shorter data.context")
        })?;
        let mut process = self.start(clip, steps)?;
        let (Some(stdout), Some(stderr)) = (process.0.stdout.take(), process.0.stderr.take()) else {
            return Err("ffmpeg has no standard output".into());
        };
        let (pieces, messages) = (pieces(stdout), message(stderr));
        let mut pixels = vec![];
        loop {
            match pieces.recv_timeout(self.timeout) {
                Ok(piece) if pixels.len() + piece.len() <= expected => pixels.extend_from_slice(&piece),
                Ok(_) => {
                    return Err(format!(
                        "expected {} images of {height}×{width} pixels, as meta/info.json has; ffmpeg gave more bytes",
                        steps.len()
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("ffmpeg gave nothing for {} s", self.timeout.as_secs_f64()));
                }
            }
        }
        if pixels.len() == expected {
            return Ok(pixels);
        }
        let (start, end) = (steps.start, steps.end.saturating_sub(1));
        let why = messages.recv_timeout(GRACE).unwrap_or_default();
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        Err(format!(
            "{} at steps {start} to {end}: expected {} images of {height}×{width} pixels ({expected} bytes); ffmpeg gave \
             {} bytes{why}",
            clip.camera,
            steps.len(),
            pixels.len()
        ))
    }

    fn start(&self, clip: &Clip, steps: &Range<usize>) -> Result<Process, String> {
        // A quarter of a step earlier, because times are rounded; the first image at or after this time is the step's.
        let start = (clip.from + (steps.start as f64 - 0.25) / clip.fps).max(0.0);
        let mut command = Command::new(&self.program);
        // Only local files: a video must not name an address.
        command.args(["-v", "error", "-protocol_whitelist", "file", "-ss", &format!("{start:.6}")]);
        command.args(["-i", &format!("file:{}", clip.location), "-frames:v", &steps.len().to_string()]);
        command.args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        started.map(Process).map_err(|e| match e.kind() {
            ErrorKind::NotFound => format!(
                "videos are decoded by the program ffmpeg, and there is none on the PATH; install ffmpeg, or leave out \
                 the camera {}",
                clip.camera
            ),
            _ => format!("ffmpeg cannot be started: {e}"),
        })
    }
}

/// A thread that reads the images; it is not joined, because it ends with the process.
fn pieces(mut stdout: ChildStdout) -> Receiver<Vec<u8>> {
    let (send, pieces) = sync_channel(PIECES);
    thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            match stdout.read(&mut piece) {
                Ok(0) => return,
                Ok(bytes) => piece.truncate(bytes),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            }
            if send.send(piece).is_err() {
                return;
            }
        }
    });
    pieces
}

/// The start of the process's error messages, in one line.
fn message(mut stderr: ChildStderr) -> Receiver<String> {
    let (send, message) = sync_channel(1);
    thread::spawn(move || {
        let mut bytes = vec![];
        // Without an end of the pipe there is no message, which is not an error of its own.
        let _ = stderr.by_ref().take(MESSAGE as u64).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = send.send(text.split_whitespace().collect::<Vec<_>>().join(" "));
        // The rest is read, so that the process does not wait.
        let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    });
    message
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use smalti_trajectory::Image;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    /// A decoder whose `ffmpeg` is a shell script, in a folder.
    fn decoder(script: &str, timeout: Duration) -> (TempDir, Decoder) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ffmpeg");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let decoder = Decoder::with(program.to_str().unwrap(), timeout);
        (folder, decoder)
    }

    fn clip() -> Clip {
        let (camera, location) = ("images.top".into(), "/data/file 0.mp4".into());
        Clip { camera, location, from: 2.5, fps: 10.0, height: 1, width: 2 }
    }

    /// Images whose bytes are their number, and a list of the arguments.
    const COUNTS: &str = "echo \"$@\" >> \"$(dirname \"$0\")/calls\"\n\
        for i in $(seq \"${10}\"); do printf \"$i$i$i$i$i$i\"; done";

    #[test]
    fn a_window_is_decoded_at_once_and_kept() {
        let (folder, decoder) = decoder(COUNTS, TIMEOUT);
        let images = decoder.images(&clip(), 4..7).unwrap();
        assert_eq!(images.len(), 3);
        assert_eq!(images.get(1), Some(Image::Frame { height: 1, width: 2, channels: 3, pixels: b"222222" }));
        let kept = decoder.images(&clip(), 5..6).unwrap();
        assert_eq!(kept, images.slice(1..2));
        decoder.images(&clip(), 6..8).unwrap();
        decoder.images(&Clip { from: 0.0, ..clip() }, 0..1).unwrap();
        let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        let call = |start: &str, n: usize| {
            format!(
                "-v error -protocol_whitelist file -ss {start} -i file:/data/file 0.mp4 -frames:v {n} -f rawvideo -pix_fmt \
                 rgb24 -"
            )
        };
        // 2.5 s and 4 steps of 0.1 s, minus a quarter of a step.
        assert_eq!(
            calls.lines().collect::<Vec<_>>(),
            [call("2.875000", 3), call("3.075000", 2), call("0.000000", 1)]
        );
    }

    #[test]
    fn a_process_that_fails_is_named() {
        let error = |script: &str, timeout: Duration| {
            let (_folder, decoder) = decoder(script, timeout);
            decoder.images(&clip(), 0..2).unwrap_err().to_string()
        };
        assert_eq!(
            error("printf 123456; echo 'moov atom not found' >&2; exit 1", TIMEOUT),
            "/data/file 0.mp4: images.top at steps 0 to 1: expected 2 images of 1×2 pixels (12 bytes); ffmpeg gave 6 bytes: \
             moov atom not found"
        );
        assert_eq!(
            error("while :; do echo 1234567890; done", TIMEOUT),
            "/data/file 0.mp4: expected 2 images of 1×2 pixels, as meta/info.json has; ffmpeg gave more bytes"
        );
        assert_eq!(
            error("exec sleep 600", Duration::from_millis(50)),
            "/data/file 0.mp4: ffmpeg gave nothing for 0.05 s"
        );
        let none = Decoder::with("no-such-ffmpeg", TIMEOUT);
        let error = none.images(&clip(), 0..1).unwrap_err().to_string();
        assert!(error.contains("install ffmpeg, or leave out the camera images.top"), "{error}");
        let huge = Clip { height: usize::MAX, ..clip() };
        assert!(none.images(&huge, 0..2).unwrap_err().to_string().contains("too many at once"));
    }
}
