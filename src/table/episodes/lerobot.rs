//! What the descriptions of a LeRobot data set say of its episodes: tasks, splits and videos.

use super::video::Clip;
use crate::data::{DataError, Files};
use crate::table::parquet::{self, is_parquet};
use crate::table::{Table, rows};
use smalti_contract::Value;
use smalti_trajectory::lerobot::{INFO, Info, Video};
use smalti_trajectory::{Episode, TrajectoryError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The description of an episode.
#[derive(Clone, Debug, Default)]
pub(super) struct Details {
    pub(super) task: Option<String>,
    pub(super) split: Option<String>,
    /// The videos by camera.
    pub(super) videos: BTreeMap<String, Clip>,
}

/// The episodes of the data set, each with its file.
type Episodes = [(String, Result<Episode, TrajectoryError>)];

/// The field of a task's number.
const TASK: &str = "task_index";

/// Names and the reasons why they are left out.
type Skipped = Vec<(String, &'static str)>;

/// The descriptions of all episodes in order, and what cannot be read, with the reason.
///
/// # Errors
/// [`DataError`] if `meta/info.json` cannot be read.
pub(super) fn details(files: &Files, all: &Episodes) -> Result<(Vec<Details>, Skipped), DataError> {
    let refuse = |e| DataError::tokenize(&files.location(INFO), e);
    let info = Info::parse(&files.read(INFO)?).map_err(refuse)?;
    let mut skipped = vec![];
    let episodes = all.len();
    let list = list(files, episodes).unwrap_or_else(|why| {
        skipped.push((files.location("meta/episodes"), why));
        None
    });
    // The row of each episode in the list, by the number of the episode.
    let mut order: Vec<(f64, Option<usize>)> = match &list {
        None => (0..episodes).map(|episode| (episode as f64, None)).collect(),
        Some(list) => (0..episodes)
            .map(|row| (number(list.as_ref(), row, "episode_index").unwrap_or(row as f64), Some(row)))
            .collect(),
    };
    order.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut details: Vec<Details> = order
        .iter()
        .map(|&(number, row)| Details {
            task: list.as_deref().zip(row).and_then(|(list, row)| task(list, row)),
            split: info.split(number as usize).map(str::to_string),
            videos: BTreeMap::new(),
        })
        .collect();
    if details.iter().any(|details| details.task.is_none()) {
        match tasks(files, &info, all) {
            Ok(tasks) => details.iter_mut().zip(tasks).for_each(|(details, task)| {
                details.task = details.task.take().or(task);
            }),
            Err(why) => skipped.push((files.location("meta/tasks"), why)),
        }
    }
    for video in &info.videos {
        let of_episode = |&(number, row): &(f64, Option<usize>)| {
            clip(files, &info, video, number as usize, list.as_deref().zip(row))
        };
        match order.iter().map(of_episode).collect::<Result<Vec<Clip>, _>>() {
            Ok(clips) => details.iter_mut().zip(clips).for_each(|(details, clip)| {
                details.videos.insert(video.camera.clone(), clip);
            }),
            Err(why) => skipped.push((video.feature.clone(), why)),
        }
    }
    Ok((details, skipped))
}

/// The table of the episodes, if the data set has one; or the reason why it is left out.
fn list(files: &Files, episodes: usize) -> Result<Option<Arc<dyn Table>>, &'static str> {
    let is_list = |path: &&String| {
        let is_table = rows::is_table(path) || is_parquet(path);
        path.starts_with("meta/episodes") && is_table && !path.contains("stats")
    };
    let locations: Vec<String> =
        files.list().iter().filter(is_list).map(|path| files.location(path)).collect();
    if locations.is_empty() {
        return Ok(None);
    }
    let table = read(files, locations).map_err(|_| "tasks cannot be read")?;
    match table.len() == episodes {
        true => Ok(Some(table)),
        false => Err("the numbers of tasks and of episodes differ"),
    }
}

fn read(files: &Files, locations: Vec<String>) -> Result<Arc<dyn Table>, DataError> {
    match locations.iter().all(|location| is_parquet(location)) {
        true => parquet::read(files.name(), &locations),
        false => rows::read(files.name(), locations, None, rows::Reading::default()),
    }
}

/// The task of each episode by the number of its first step's task; empty if the data set has no list of tasks.
fn tasks(files: &Files, info: &Info, all: &Episodes) -> Result<Vec<Option<String>>, &'static str> {
    let read = |is: &dyn Fn(&str) -> bool| {
        let paths = files.list().iter().filter(|path| is(path.as_str()));
        let locations: Vec<String> = paths.map(|path| files.location(path)).collect();
        let some = !locations.is_empty();
        some.then(|| read(files, locations).map_err(|_| "the numbers of tasks cannot be read")).transpose()
    };
    let is_list = |path: &str| path.starts_with("meta/tasks") && (rows::is_table(path) || is_parquet(path));
    let Some(list) = read(&is_list)? else { return Ok(vec![]) };
    // In version 3, the texts are an index of pandas, whose name varies.
    let field = list.fields().iter().find(|field| *field != TASK).ok_or("the list of tasks has no texts")?;
    let text = |row: usize| {
        let number = number(list.as_ref(), row, TASK).unwrap_or(row as f64);
        Some((number, list.value(row, field).ok()?.into_text().ok()?))
    };
    let texts: Vec<(f64, String)> = (0..list.len()).filter_map(text).collect();
    if let [(_, only)] = &texts[..] {
        return Ok(vec![Some(only.clone()); all.len()]);
    }
    let Some(steps) = read(&|path: &str| info.is_data(path))? else { return Ok(vec![]) };
    let (mut start, mut tasks) = (0, vec![]);
    for (_, episode) in all {
        let first = if start < steps.len() { number(steps.as_ref(), start, TASK) } else { None };
        tasks.push(texts.iter().find(|(task, _)| Some(*task) == first).map(|(_, text)| text.clone()));
        start += episode.as_ref().map_err(|_| "an episode before is corrupt")?.len();
    }
    Ok(tasks)
}

fn task(list: &dyn Table, row: usize) -> Option<String> {
    let text = |value: Value| value.into_text().ok();
    let task = match list.value(row, "tasks").ok()? {
        Value::Series(texts) => texts.into_iter().filter_map(text).collect::<Vec<_>>().join("; "),
        other => text(other)?,
    };
    (!task.is_empty()).then_some(task)
}

fn number(list: &dyn Table, row: usize, field: &str) -> Option<f64> {
    match list.value(row, field) {
        Ok(Value::Number(number)) => Some(number),
        _ => None,
    }
}

/// The part of a video file that has an episode's images; or the reason why there is none.
fn clip(
    files: &Files,
    info: &Info,
    video: &Video,
    episode: usize,
    row: Option<(&dyn Table, usize)>,
) -> Result<Clip, &'static str> {
    if video.height == 0 || video.width == 0 || !(info.fps.is_finite() && info.fps > 0.0) {
        return Err("meta/info.json has no size of its images, or no fps");
    }
    let of = |name: &str| {
        let (list, row) = row?;
        number(list, row, &format!("videos/{}/{name}", video.feature))
    };
    let (path, from) = match (of("chunk_index"), of("file_index"), of("from_timestamp")) {
        (Some(chunk), Some(file), Some(from)) => {
            (info.video_of_chunk(video, chunk as usize, file as usize), from)
        }
        _ => (info.video_of_episode(video, episode), 0.0),
    };
    if !files.contains(&path) {
        return Err("its video files are not there");
    }
    let location = files.location(&path);
    if !Path::new(&location).is_file() {
        return Err("videos in archives and on other machines are not read");
    }
    let camera = video.camera.clone();
    Ok(Clip { camera, location, from, fps: info.fps, height: video.height, width: video.width })
}
