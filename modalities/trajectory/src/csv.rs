//! Episodes as CSV: a header, then one time step a row.
//!
//! ```csv
//! episode,obs.position,obs.velocity,action,reward,terminated
//! 0,0.5,2.0,1,1.0,0
//! 0,0.7,2.1,0,1.0,1
//! 1,0.1,0.0,1,1.0,0
//! ```
//!
//! Columns, in any order; of those that tell where an episode begins or ends, one is enough:
//!
//! | column | holds |
//! | --- | --- |
//! | `obs.NAME` (also `obs`, `observation.NAME`) | a number of the state; as many as there are, in their order |
//! | `action`, or `action.NAME` for several | whole numbers throughout: a choice; else a real number |
//! | `reward` | what the action earned |
//! | `episode` | a number, the same at each step of an episode |
//! | `step` | may be left out: counts each episode from 0 |
//! | `terminated` | may be left out: 1 or `true` where the environment ended the episode, else 0 or `false` |
//! | `truncated` | may be left out: the same for a time limit |
//! | `done` | may be left out: the same for an end of whatever sort |
//!
//! `timestamp`, `index` and `task_index` are known and not used; any other column is an error. A continuous action that
//! happens to be whole everywhere is written with a point, `1.0`, at least once.

use crate::table::{self, Column, Rewards, Role, role};
use crate::{Episode, TrajectoryError};
use ::csv::{ByteRecord, ErrorKind, ReaderBuilder, Trim};

/// The longest first line that is looked at to recognise the format.
const LONGEST_HEADER: usize = 1 << 16;

/// True where the first line names columns of steps.
pub(crate) fn is_csv(bytes: &[u8]) -> bool {
    let header = &bytes[..bytes.len().min(LONGEST_HEADER)];
    let line = header.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let names = line.trim_start_matches('\u{feff}').split(',').map(|name| name.trim().trim_matches('"'));
    let step = |name: &str| matches!(role(name), Role::State(_) | Role::Action(_) | Role::Reward);
    line.contains(',') && names.into_iter().any(step)
}

/// The episodes of a CSV file.
///
/// # Errors
/// [`TrajectoryError`] with the line of a row that is too long or too short or a cell that is no number; where a
/// column is missing, unknown or there twice; where rows are not episodes.
pub fn read(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(bytes);
    let mut columns = header(reader.byte_headers().map_err(refused)?)?;
    let mut row = ByteRecord::new();
    while reader.read_byte_record(&mut row).map_err(refused)? {
        let line = row.position().map_or(0, |position| position.line() as usize);
        for (column, cell) in columns.iter_mut().zip(&row) {
            let (value, whole) = number(cell).ok_or_else(|| {
                let found = String::from_utf8_lossy(&cell[..cell.len().min(40)]).into_owned();
                let problem = format!("column {:?} is {found:?}; it must be a number", column.name);
                TrajectoryError::Line { line, problem }
            })?;
            column.values.push(value);
            column.whole &= whole;
        }
    }
    if columns.iter().all(|column| column.values.is_empty()) {
        return Err(TrajectoryError::Empty);
    }
    table::episodes(columns, Rewards::Needed)
}

fn header(names: &ByteRecord) -> Result<Vec<Column>, TrajectoryError> {
    let refuse = |problem| Err(TrajectoryError::Line { line: 1, problem });
    let mut columns: Vec<Column> = Vec::with_capacity(names.len());
    for name in names {
        let name = String::from_utf8_lossy(name).into_owned();
        if role(&name) == Role::Unknown {
            return refuse(format!(
                "column {name:?} is not known; expected obs.NAME, action, action.NAME, reward, episode, step, \
                 terminated, truncated or done"
            ));
        }
        if columns.iter().any(|column| column.name == name) {
            return refuse(format!("column {name:?} is there twice"));
        }
        columns.push(Column { name, dim: 1, whole: true, ..Column::default() });
    }
    Ok(columns)
}

/// A cell's number, and whether it is written as a whole one.
fn number(cell: &[u8]) -> Option<(f64, bool)> {
    match cell {
        b"true" | b"True" | b"TRUE" => return Some((1.0, true)),
        b"false" | b"False" | b"FALSE" => return Some((0.0, true)),
        _ => {}
    }
    let value: f64 = std::str::from_utf8(cell).ok()?.parse().ok()?;
    let digits = cell.strip_prefix(b"-").or_else(|| cell.strip_prefix(b"+")).unwrap_or(cell);
    Some((value, digits.iter().all(u8::is_ascii_digit)))
}

fn refused(error: ::csv::Error) -> TrajectoryError {
    let line = error.position().map_or(1, |position| position.line() as usize);
    let problem = match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} cells; the header has {expected_len}")
        }
        _ => error.to_string(),
    };
    TrajectoryError::Line { line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actions, End};
    use std::collections::BTreeMap;

    const TWO: &str = "episode,obs.x,obs.v,action,reward,terminated,truncated\n\
                       4,0.5,2,1,1.0,0,0\n\
                       4,1e-3,3,0,1.5,true,0\n\
                       7,1,4,2,-1,0,1\n";

    #[test]
    fn a_row_is_a_step() {
        assert!(is_csv(TWO.as_bytes()));
        let episodes = read(TWO.as_bytes()).unwrap();
        assert_eq!(
            episodes[0],
            Episode {
                observations: vec![0.5, 2.0, 1e-3, 3.0],
                state_dim: 2,
                state_names: vec!["x".into(), "v".into()],
                images: BTreeMap::new(),
                actions: Actions::Discrete(vec![1, 0]),
                rewards: vec![1.0, 1.5],
                end: End::Terminated,
            }
        );
        assert_eq!((episodes.len(), episodes[1].end), (2, End::TimeLimit));
    }

    #[test]
    fn quotes_spaces_and_line_ends_of_any_sort_are_read() {
        let odd =
            TWO.replace(',', " , ").replace("obs.x", "x").replace(" x ", "\"obs.x\"").replace('\n', "\r\n");
        assert!(is_csv(odd.as_bytes()));
        assert_eq!(read(odd.as_bytes()), read(TWO.as_bytes()));
        let marked = format!("\u{feff}{TWO}\n\n");
        assert!(is_csv(marked.as_bytes()));
        assert_eq!(read(marked.as_bytes()), read(TWO.as_bytes()));
    }

    #[test]
    fn actions_are_what_they_look_like() {
        let of = |header: &str, rows: &str| {
            let file = format!("obs,reward,done,{header}\n{rows}\n");
            read(file.as_bytes()).unwrap().remove(0).actions
        };
        assert_eq!(of("action", "0,0,0,-1\n0,0,1,1.0"), {
            Actions::Continuous { values: vec![-1.0, 1.0], dim: 1 }
        });
        assert_eq!(of("action.a,action.b", "0,0,0,0.5,1\n0,0,1,2,3"), {
            let numbers = Actions::Continuous { values: vec![0.5, 2.0], dim: 1 };
            Actions::Parts([("a".into(), numbers), ("b".into(), Actions::Discrete(vec![1, 3]))].into())
        });
        assert_eq!(of("action.a,action.b", "0,0,0,0.5,1.0"), {
            Actions::Continuous { values: vec![0.5, 1.0], dim: 2 }
        });
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let cases = [
            ("obs,colour\n0,1\n", "line 1: column \"colour\" is not known; expected obs.NAME"),
            ("obs,obs\n0,1\n", "line 1: column \"obs\" is there twice"),
            ("obs,reward\n0,1\n0\n", "line 3: 1 cells; the header has 2"),
            ("obs,reward\n0,1\n0,left\n", "line 3: column \"reward\" is \"left\"; it must be a number"),
            ("obs,reward\n0,1\n0,\n", "line 3: column \"reward\" is \"\"; it must be a number"),
            ("obs,reward\n", "there is no episode"),
            ("obs,reward\n0,1\n", "no column for where episodes begin or end (such as \"episode_starts\")"),
            ("episode,reward\n0,1\n", "no column for states (such as \"observations\")"),
            ("episode,obs,reward\n0,0,1\n", "no column for actions (such as \"actions\")"),
            ("episode,obs,action\n0,0,1\n", "no column for rewards (such as \"rewards\")"),
            (
                "episode,obs,action,reward\n0,0,1,nan\n",
                "episode 0: rewards at step 0 is NaN; it must be finite",
            ),
        ];
        for (file, expected) in cases {
            let found = read(file.as_bytes()).unwrap_err().to_string();
            assert!(found.starts_with(expected), "{found:?} should start with {expected:?}");
        }
        for other in ["nonsense", "{\"observations\": [[1, 2]], \"reward\": 1}", "a,b\n", "reward\n1"] {
            assert!(!is_csv(other.as_bytes()), "{other:?}");
        }
    }
}
