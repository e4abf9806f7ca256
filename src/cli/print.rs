//! Results: a table for people, one JSON object for machines.

use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::Value;

/// Prints one JSON object on standard output.
pub fn json(value: &Value) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints a table; every column but the first is aligned right.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    for row in rows {
        let cells = row.iter().enumerate().map(|(i, text)| {
            Cell::new(text).set_alignment(if i == 0 { CellAlignment::Left } else { CellAlignment::Right })
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    println!("{table}");
}

/// A number with as many digits as are worth reading.
pub fn number(x: f64) -> String {
    match x.abs() {
        a if a >= 1000.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        _ => format!("{x:.4}"),
    }
}
