//! Parquet files in LeRobot's layout.

mod written;

use smalti_trajectory::lerobot::Info;
use smalti_trajectory::parquet::{has_episode_rows, read};
use smalti_trajectory::{Actions, End, Episode, Images};
use written::{Column, compressed, episode_rows, images, lerobot, minari, parquet as file, png};

/// LeRobot's columns with one replaced or removed.
fn with(name: &'static str, column: Option<Column>) -> Vec<(&'static str, Column)> {
    let others = lerobot().into_iter().filter(|(other, _)| *other != name);
    others.chain(column.map(|column| (name, column))).collect()
}

fn error(columns: &[(&str, Column)]) -> String {
    read(&file(columns, 3, false)).unwrap_err().to_string()
}

#[test]
fn lerobot_columns_become_episodes() {
    for (rows_of_group, zstd) in [(2, false), (3, true), (100, true)] {
        let read = read(&file(&lerobot(), rows_of_group, zstd)).unwrap();
        assert_eq!(
            read.episodes[0],
            Episode {
                observations: vec![0.0, 0.1, 1.0, 1.1, 2.0, 2.1],
                state_dim: 2,
                state_names: vec!["state.0".into(), "state.1".into()],
                images: [("pixels".into(), Images::Encoded(vec![png(0), png(1), png(2)]))].into(),
                actions: Actions::Continuous { values: vec![0.5, -0.5, 1.5], dim: 1 },
                rewards: vec![1.0, 0.0, 2.0],
                end: End::Unknown,
            }
        );
        assert_eq!(read.episodes.len(), 2);
        let skipped: Vec<&str> = read.skipped.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(skipped, ["language.bytes"]);
    }
}

#[test]
fn every_codec_is_read() {
    use parquet::basic::Compression::{BROTLI, GZIP, LZ4, LZ4_RAW, UNCOMPRESSED};
    let plain = read(&file(&lerobot(), 2, false)).unwrap().episodes;
    for codec in [UNCOMPRESSED, BROTLI(Default::default()), GZIP(Default::default()), LZ4, LZ4_RAW] {
        assert_eq!(read(&compressed(&lerobot(), 2, codec)).unwrap().episodes, plain, "{codec:?}");
    }
}

#[test]
fn a_row_may_be_an_episode() {
    for (rows_of_group, zstd) in [(1, true), (2, false)] {
        let bytes = file(&episode_rows(), rows_of_group, zstd);
        assert!(has_episode_rows(&bytes));
        let read = read(&bytes).unwrap();
        let one = |observations: &[f32], actions: &[u32], rewards: &[f32], end| Episode {
            observations: observations.to_vec(),
            state_dim: 2,
            state_names: vec![],
            images: Default::default(),
            actions: Actions::Discrete(actions.to_vec()),
            rewards: rewards.to_vec(),
            end,
        };
        assert_eq!(
            read.episodes,
            [
                one(&[1.0, 2.0, 3.0, 4.0], &[0, 1], &[1.0, 2.0], End::Terminated),
                one(&[7.0, 8.0], &[2], &[3.0], End::Unknown)
            ]
        );
        assert_eq!(read.skipped, [("id".to_string(), "unknown column")]);
    }
    assert!(!has_episode_rows(&file(&lerobot(), 3, false)));
    assert!(!has_episode_rows(b"PAR1 and no more"));
}

#[test]
fn the_names_of_jat_are_known() {
    let steps = |start: f32, n: usize| (0..n).map(|step| vec![start + step as f32]).collect::<Vec<_>>();
    let columns = [
        ("continuous_observations", Column::Nested(vec![steps(0.0, 2), steps(5.0, 3)])),
        ("continuous_actions", Column::Nested(vec![steps(10.0, 2), steps(15.0, 3)])),
        ("rewards", Column::Lists(vec![vec![1.0; 2], vec![2.0; 3]])),
    ];
    let read = read(&file(&columns, 2, false)).unwrap();
    assert_eq!(read.episodes[1].observations, [5.0, 6.0, 7.0]);
    assert_eq!(read.episodes[1].actions, Actions::Continuous { values: vec![15.0, 16.0, 17.0], dim: 1 });
    assert_eq!((read.episodes.len(), read.episodes[0].rewards.len()), (2, 2));
}

#[test]
fn images_of_an_episode_are_a_list() {
    for rows_of_group in [1, 2] {
        let read = read(&file(&images(), rows_of_group, true)).unwrap();
        assert_eq!((read.episodes.len(), read.episodes[0].state_dim), (2, 0));
        assert_eq!(read.episodes[0].images[""], Images::Encoded(vec![png(0), png(1)]));
        assert_eq!(read.episodes[1].images[""], Images::Encoded(vec![png(2)]));
    }
    let mut missing = images();
    missing[0].1 = Column::ImageLists(vec![vec![png(0).to_vec(); 2], vec![vec![]]]);
    assert_eq!(
        error(&missing),
        "Parquet: image_observations: no image in step 2; it must have bytes, as other steps have"
    );
}

#[test]
fn the_last_row_of_minari_is_an_observation() {
    let read = smalti_trajectory::minari::read(&file(&minari(), 2, false)).unwrap();
    let [episode] = &read.episodes[..] else { panic!("{} episodes", read.episodes.len()) };
    assert_eq!((&episode.observations[..], episode.state_dim), (&[1.0, 2.0, 3.0, 4.0][..], 2));
    assert_eq!(episode.actions, Actions::Discrete(vec![2, 1]));
    assert_eq!((&episode.rewards[..], episode.end), (&[0.5, 1.5][..], End::Terminated));
}

#[test]
fn bytes_in_lists_of_lists_are_images() {
    let frame = |step: i32| vec![vec![step, 1, 2], vec![3, 4, 5]];
    let pixels = Column::Pixels((0..5).map(frame).collect());
    let read = read(&file(&with("observation.pixels", Some(pixels)), 2, false)).unwrap();
    let Images::Frames { height: 2, width: 3, channels: 1, pixels } = &read.episodes[1].images["pixels"]
    else {
        panic!("{:?}", read.episodes[1].images)
    };
    assert_eq!(pixels[..], [3, 1, 2, 3, 4, 5, 4, 1, 2, 3, 4, 5]);
    let error_of =
        |frames: Vec<Vec<Vec<i32>>>| error(&with("observation.pixels", Some(Column::Pixels(frames))));
    let turned = vec![vec![0, 1], vec![2, 3], vec![4, 5]];
    assert_eq!(
        error_of(vec![frame(0), frame(1), turned, frame(3), frame(4)]),
        "Parquet: observation.pixels: row 2: expected steps with lists of the same lengths as the first"
    );
    assert_eq!(
        error_of(vec![vec![vec![0, 1], vec![2]]; 5]),
        "Parquet: observation.pixels: expected images, lists of the same lengths"
    );
    assert_eq!(
        error_of(vec![vec![vec![256]]; 5]),
        "Parquet: observation.pixels: pixels must be from 0 to 1, or whole numbers from 0 to 255; found 256"
    );
}

#[test]
fn ragged_episodes_are_named() {
    let with = |name: &str, column: Column| {
        let mut columns = episode_rows();
        let at = columns.iter().position(|(known, _)| *known == name).unwrap();
        columns[at].1 = column;
        error(&columns)
    };
    assert_eq!(
        with("rewards", Column::Lists(vec![vec![1.0; 2], vec![3.0; 2]])),
        "episode 1: rewards must have 1 steps, as actions has; found 2"
    );
    let short = Column::Nested(vec![vec![vec![1.0, 2.0]; 3], vec![vec![1.0, 2.0]; 4]]);
    assert_eq!(
        with("observations", short),
        "episode 1: observations must have 2 steps, as actions has; found 4"
    );
    let narrow = Column::Nested(vec![vec![vec![1.0, 2.0]; 3], vec![vec![1.0]; 2]]);
    assert_eq!(
        with("observations", narrow),
        "Parquet: observations: row 1: expected steps of 2 numbers, as the first; found 1"
    );
}

#[test]
fn an_index_of_pandas_is_skipped() {
    let index = ("__index_level_0__", Column::Integers(vec![0, 1, 2, 3, 4]));
    let read = read(&file(&[lerobot(), vec![index]].concat(), 5, false)).unwrap();
    assert_eq!(read.episodes.len(), 2);
    assert_eq!(read.skipped.last().map(|(name, _)| name.as_str()), Some("__index_level_0__"));
}

#[test]
fn a_description_gives_the_names_of_elements() {
    let info = r#"{"codebase_version": "v3.0", "total_episodes": 2, "total_frames": 5,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "features": {"observation.state": {"dtype": "float32", "names": ["pan", "lift"]}}}"#;
    let info = Info::parse(info.as_bytes()).unwrap();
    let read = info.read(&file(&lerobot(), 5, false)).unwrap();
    assert_eq!(read.episodes[1].state_names, ["state.pan", "state.lift"]);
}

#[test]
fn images_are_bytes_or_paths() {
    let read_as = |column: Column| read(&file(&with("observation.pixels", Some(column)), 3, true));
    let images = |column| read_as(column).unwrap().episodes[1].images["pixels"].clone();
    let contents: Vec<Vec<u8>> = (0..5).map(|step| png(step).to_vec()).collect();
    let of = |present: [bool; 5], values: &[Vec<u8>]| {
        let present = present.into_iter().zip(values);
        present.map(|(present, value)| present.then(|| value.clone())).collect::<Vec<_>>()
    };
    let paths: Vec<Vec<u8>> = (0..5).map(|step| format!("images/{step}.png").into_bytes()).collect();
    let embedded = Images::Encoded(vec![png(3), png(4)]);
    let image = |bytes: [bool; 5], path: [bool; 5]| Column::Images(of(bytes, &contents), of(path, &paths));
    assert_eq!(images(image([true; 5], [true, false, true, false, false])), embedded);
    assert_eq!(images(Column::Binary(contents.clone())), embedded);
    let files = Images::Files(vec!["images/3.png".into(), "images/4.png".into()]);
    assert_eq!(images(image([false; 5], [true; 5])), files);

    let error_of = |column| read_as(column).unwrap_err().to_string();
    assert_eq!(
        error_of(image([true, true, true, true, false], [true; 5])),
        "Parquet: observation.pixels: no image in row 4; it must have bytes, as other rows have"
    );
    assert_eq!(
        error_of(image([false; 5], [true, false, true, true, true])),
        "Parquet: observation.pixels: no image in row 1; it must have bytes or a path"
    );
}

#[test]
fn integers_are_discrete_and_rewards_may_be_missing() {
    let mut columns = with("action", Some(Column::Integers(vec![0, 1, 0, 2, 1])));
    columns.retain(|(name, _)| *name != "next.reward");
    let read = read(&file(&columns, 5, false)).unwrap();
    assert_eq!(read.episodes[1].actions, Actions::Discrete(vec![2, 1]));
    assert_eq!((read.episodes[1].len(), read.episodes[1].rewards.len()), (2, 0));
}

#[test]
fn errors_name_the_column() {
    let missing = error(&with("action", None));
    assert!(
        missing.starts_with("no column for actions (such as \"actions\"); found: observation.state"),
        "{missing}"
    );
    let ragged = [1, 1, 1, 2, 1].map(|numbers| vec![0.0; numbers]);
    assert_eq!(
        error(&with("observation.state", Some(Column::Lists(ragged.to_vec())))),
        "Parquet: observation.state: row 3: expected steps of 1 numbers, as the first; found 2"
    );
    let gaps = vec![Some(0.0), None, Some(0.0), Some(0.0), None];
    assert_eq!(
        error(&with("next.reward", Some(Column::Gaps(gaps)))),
        "Parquet: next.reward: a number is missing in row 1"
    );
    assert_eq!(
        error(&with("frame_index", Some(Column::Integers(vec![0, 1, 3, 0, 1])))),
        "frame_index at step 2 is 3; it must be 2, the number of steps since the episode began"
    );
    let whole = file(&lerobot(), 3, false);
    for end in [4, 40, whole.len() / 2, whole.len() - 1] {
        let error = read(&whole[..end]).unwrap_err().to_string();
        assert!(error.starts_with("Parquet: "), "{end} bytes: {error}");
    }
}

#[test]
fn a_schema_that_is_too_deep_is_an_error() {
    // `FileMetaData` in Thrift's compact protocol: `2: schema`, a list of 100 structures `{ 4: name, 5: num_children = 1 }`.
    let group = [0x48, 1, b'a', 0x15, 2, 0];
    let metadata = [&[0x29, 0xfc, 100][..], &group.repeat(100), &[0]].concat();
    let length = (metadata.len() as u32).to_le_bytes();
    let file = [b"PAR1", &metadata[..], &length, b"PAR1"].concat();
    let error = read(&file).unwrap_err().to_string();
    assert!(error.ends_with("its schema has more than 32 levels of lists and groups"), "{error}");
    assert!(!has_episode_rows(&file));
}
