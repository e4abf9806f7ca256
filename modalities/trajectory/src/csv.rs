//! Episodes as CSV: a header, then one time step in each row.
//!
//! ```csv
//! episode,obs.position,obs.velocity,action,reward,terminated
//! 0,0.5,2.0,1,1.0,0
//! 0,0.7,2.1,0,1.0,1
//! 1,0.1,0.0,1,1.0,0
//! ```
//!
//! Columns may be in any order; one column for the boundaries of episodes is enough:
//!
//! | column | content |
//! | --- | --- |
//! | `obs.NAME` (also `obs`, `observation.NAME`) | a number of the state; the state has them in the columns' order |
//! | `action`, or `action.NAME` for several | discrete if all numbers are whole, otherwise continuous |
//! | `reward` | optional: the reward of the action |
//! | `episode` | a number, the same at each step of an episode |
//! | `step` | optional: the step in the episode, from 0 |
//! | `terminated` | optional: 1 or `true` if the environment ended the episode, otherwise 0 or `false` |
//! | `truncated` | optional: the same for a time limit |
//! | `done` | optional: the same for any end |
//!
//! `timestamp`, `index` and `task_index` are ignored, an index of pandas is skipped; any other column is an error. A
//! continuous action whose values are all whole must be written with a decimal point, `1.0`, at least once.

use crate::table::{self, Column, INDEX, Role, role};
use crate::{Read, TrajectoryError};
use ::csv::{ByteRecord, ErrorKind, ReaderBuilder, Trim};
use std::collections::HashSet;

/// The maximal length of the first line for detecting the format.
const LONGEST_HEADER: usize = 1 << 16;

/// Whether the first line has names of columns of steps.
pub(crate) fn is_csv(bytes: &[u8]) -> bool {
    let header = &bytes[..bytes.len().min(LONGEST_HEADER)];
    let line = header.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let names = line.trim_start_matches('\u{feff}').split(',').map(|name| name.trim().trim_matches('"'));
    let step = |name: &str| matches!(role(name), Role::State(_) | Role::Action(_) | Role::Reward);
    line.contains(',') && names.into_iter().any(step)
}

/// Read the episodes of a CSV file.
///
/// # Errors
/// [`TrajectoryError`], with the line if possible, if a row is too long or too short, a cell is not a number, a column
/// is missing, unknown or duplicate, or rows are not episodes.
pub fn read(bytes: &[u8]) -> Result<Read, TrajectoryError> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(bytes);
    let (mut columns, skipped) = header(reader.byte_headers().map_err(csv_error)?)?;
    let mut row = ByteRecord::new();
    while reader.read_byte_record(&mut row).map_err(csv_error)? {
        let line = row.position().map_or(0, |position| position.line() as usize);
        let cells = columns.iter_mut().zip(&row).filter_map(|(column, cell)| Some((column.as_mut()?, cell)));
        for (column, cell) in cells {
            let (value, whole) = number(cell).ok_or_else(|| {
                let found = String::from_utf8_lossy(&cell[..cell.len().min(40)]).into_owned();
                let problem = format!("column {:?} is {found:?}; it must be a number", column.name);
                TrajectoryError::Line { line, problem }
            })?;
            column.values.push(value);
            column.whole &= whole;
        }
    }
    let columns: Vec<Column> = columns.into_iter().flatten().collect();
    if columns.iter().all(|column| column.values.is_empty()) {
        return Err(TrajectoryError::Empty);
    }
    Ok(Read { episodes: table::episodes(columns)?, skipped })
}

/// The columns, which are `None` if they are skipped, with the reason.
type Header = (Vec<Option<Column>>, Vec<(String, &'static str)>);

fn header(names: &ByteRecord) -> Result<Header, TrajectoryError> {
    let invalid = |problem| Err(TrajectoryError::Line { line: 1, problem });
    let (mut columns, mut skipped): Header = (Vec::with_capacity(names.len()), vec![]);
    let mut seen = HashSet::new();
    for (number, name) in names.iter().enumerate() {
        let name = String::from_utf8_lossy(name).into_owned();
        match role(&name) {
            Role::Unknown => {
                return invalid(format!(
                    "column {name:?} is unknown; expected obs.NAME, action, action.NAME, reward, episode, step, \
                     terminated, truncated or done"
                ));
            }
            Role::Index => {
                let name = if name.is_empty() { format!("column {}", number + 1) } else { name };
                skipped.push((name, INDEX));
                columns.push(None);
                continue;
            }
            _ => {}
        }
        if !seen.insert(name.clone()) {
            return invalid(format!("column {name:?} occurs twice"));
        }
        columns.push(Some(Column { name, dim: 1, whole: true, ..Column::default() }));
    }
    Ok((columns, skipped))
}

/// A cell's number, and whether it is written as an integer.
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

fn csv_error(error: ::csv::Error) -> TrajectoryError {
    let line = error.position().map_or(1, |position| position.line() as usize);
    let problem = match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("expected {expected_len} cells, as in the header; found {len}")
        }
        _ => error.to_string(),
    };
    TrajectoryError::Line { line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actions, End, Episode};
    use std::collections::BTreeMap;

    fn read(bytes: &[u8]) -> Result<Vec<Episode>, TrajectoryError> {
        super::read(bytes).map(|read| read.episodes)
    }

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
    fn an_index_of_pandas_is_skipped() {
        for (name, skipped) in
            [("", "column 1"), ("Unnamed: 0", "Unnamed: 0"), ("__index_level_0__", "__index_level_0__")]
        {
            let mut rows = TWO.lines().enumerate();
            let header = rows.next().map(|(_, header)| format!("{name},{header}\n")).unwrap();
            let file: String =
                std::iter::once(header).chain(rows.map(|(i, row)| format!("{i},{row}\n"))).collect();
            assert!(is_csv(file.as_bytes()));
            let found = super::read(file.as_bytes()).unwrap();
            assert_eq!(Ok(found.episodes), read(TWO.as_bytes()));
            assert_eq!(found.skipped, [(skipped.to_string(), INDEX)]);
        }
    }

    #[test]
    fn quotes_spaces_and_line_ends_of_any_type_are_read() {
        let odd =
            TWO.replace(',', " , ").replace("obs.x", "x").replace(" x ", "\"obs.x\"").replace('\n', "\r\n");
        assert!(is_csv(odd.as_bytes()));
        assert_eq!(read(odd.as_bytes()), read(TWO.as_bytes()));
        let marked = format!("\u{feff}{TWO}\n\n");
        assert!(is_csv(marked.as_bytes()));
        assert_eq!(read(marked.as_bytes()), read(TWO.as_bytes()));
    }

    #[test]
    fn whole_actions_are_discrete() {
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
    fn errors_have_the_line() {
        let cases = [
            ("obs,colour\n0,1\n", "line 1: column \"colour\" is unknown; expected obs.NAME"),
            ("obs,obs\n0,1\n", "line 1: column \"obs\" occurs twice"),
            ("obs,reward\n0,1\n0\n", "line 3: expected 2 cells, as in the header; found 1"),
            ("obs,reward\n0,1\n0,left\n", "line 3: column \"reward\" is \"left\"; it must be a number"),
            ("obs,reward\n0,1\n0,\n", "line 3: column \"reward\" is \"\"; it must be a number"),
            ("obs,reward\n", "expected at least 1 episode; found 0"),
            ("obs,reward\n0,1\n", "no column for episode boundaries (such as \"episode_starts\")"),
            ("episode,reward\n0,1\n", "no column for states (such as \"observations\")"),
            ("episode,obs,reward\n0,0,1\n", "no column for actions (such as \"actions\")"),
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
