//! Results: a table for people, one JSON object for machines.

pub use crate::inspect::rounded as number;

use crate::train::is_count;
use anyhow::Result;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::IsTerminal;

/// The most columns of a table where there is no terminal.
const WIDTH: u16 = 120;

/// An error with its causes, on one line; if a GPU's memory is full, with advice first.
pub fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    // Many errors quote their cause already.
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    // The errors of the CUDA driver and of cuBLAS.
    match ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"].iter().any(|full| message.contains(full))
    {
        true => format!(
            "the GPU's memory is full; use smaller batches (--batch, if the command has it) or shorter inputs, or \
             compute with --device cpu: {message}"
        ),
        false => message,
    }
}

/// Prints on standard error in one write, because several processes may print at a time.
pub fn note(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Prints one JSON object on standard output.
pub fn json(value: &Value) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints a table; numbers are aligned right.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    println!("{}", laid_out(header, rows));
}

/// Prints a table with sentences, which are wrapped where standard output is no terminal.
pub fn wrapped_table(header: &[&str], rows: &[Vec<String>]) {
    let mut table = laid_out(header, rows);
    if !std::io::stdout().is_terminal() {
        table.set_width(WIDTH);
    }
    println!("{table}");
}

fn laid_out(header: &[&str], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(header);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for row in rows {
        let cells = row.iter().map(|text| {
            let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
            let side = if number { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(side)
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    table
}

/// Prints a table of answers, if there are any.
pub fn answers(header: &[&str], rows: &[Vec<String>]) {
    if !rows.is_empty() {
        table(header, rows);
    }
}

/// Prints the samples that are skipped, on standard error.
pub fn not_used(problems: &[String]) {
    const SHOWN: usize = 20;
    problems.iter().take(SHOWN).for_each(|problem| eprintln!("not used: {problem}"));
    if problems.len() > SHOWN {
        eprintln!("and {} more are not used", problems.len() - SHOWN);
    }
}

/// The value of a metric; a number of samples has no decimals.
pub fn metric(name: &str, value: f64) -> String {
    if is_count(name) { format!("{value:.0}") } else { number(value) }
}
