use super::*;
use crate::config::RunConfig;
use crate::tasks::TaskConfig;

#[test]
fn a_published_front_end_is_named_and_written_out() {
    let overrides = ["data.audio=whisper128", "data.normalize=false"].map(String::from);
    let config = RunConfig::of_preset_or_file("audio", &overrides).unwrap();
    let Some(TaskConfig::Audio(audio)) = &config.data else { panic!("{:?}", config.data) };
    assert_eq!(audio.audio, AudioConfig::whisper(128));
    let written = config.to_toml().unwrap();
    assert!(written.contains("n_mels = 128") && !written.contains("whisper128"), "{written}");
    assert_eq!(RunConfig::parse("run.toml", &written, &[]).unwrap(), config);
    let changed =
        "[data]\nmodality = \"audio\"\n[data.audio]\npreset = \"ast\"\nframes_per_slice = 8\nslice_hop = 8\n";
    let changed = RunConfig::parse("my.toml", changed, &[]).unwrap();
    let Some(TaskConfig::Audio(audio)) = &changed.data else { panic!("{:?}", changed.data) };
    assert_eq!(audio.audio.mel, AudioConfig::ast().mel);
    assert_eq!((audio.audio.frames_per_slice, audio.audio.slice_hop), (8, Some(8)));
    let unknown =
        RunConfig::of_preset_or_file("audio", &["data.audio=wisper".into()]).unwrap_err().to_string();
    assert!(unknown.contains("there is no preset \"wisper\"; there are whisper, whisper128"), "{unknown}");
}

#[test]
fn clips_of_a_manifest_may_be_of_any_format() {
    let files: [(&str, &[u8]); 5] = [
        ("a.flac", include_bytes!("../../../modalities/audio/tests/files/mono.flac")),
        ("b.mp3", include_bytes!("../../../modalities/audio/tests/files/mono.mp3")),
        ("c.ogg", include_bytes!("../../../modalities/audio/tests/files/mono.ogg")),
        ("d.m4a", include_bytes!("../../../modalities/audio/tests/files/stereo.m4a")),
        ("e.aac", include_bytes!("../../../modalities/audio/tests/files/mono.aac")),
    ];
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    let rows = files.map(|(name, _)| format!("{name}\ttone\n")).concat();
    let manifest = folder.path().join("manifest.tsv");
    std::fs::write(&manifest, format!("path\ttext\n{rows}")).unwrap();
    let config = AudioTaskConfig {
        path: manifest.display().to_string(),
        valid: Some("path=a.flac".into()),
        ..AudioTaskConfig::default()
    };
    let (_, splits) = AudioTask::open("audio", 1.0, &config, None).unwrap();
    assert_eq!((splits.train.len(), splits.valid.len()), (4, 1));
    for index in 0..4 {
        let sample = splits.train.sample(index, None).unwrap();
        let slices = sample.inputs[0].1.len();
        // 0.25 s are 25 frames; the bare AAC stream has its encoder's delay before them and silence behind.
        assert_eq!(slices, if index == 3 { 8 } else { 7 }, "{}", files[index + 1].0);
    }
}
