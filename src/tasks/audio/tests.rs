use super::*;
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
