//! Tables that are printed while their rows still come. Holds a chunk of rows, never all.

use std::io::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};

use crate::failure::Failure;
use crate::output::printable;

/// Rows laid out together.
const CHUNK: usize = 1000;
/// Characters of a cell that are shown: a client id may have 65,535, and would make every other line as long.
const CELL: usize = 250;

/// A table on its way to a stream. Columns are as wide as the widest cell so far.
pub(crate) struct Writer<'a> {
    out: &'a mut dyn Write,
    columns: &'static [&'static str],
    header_is_due: bool,
    widths: Vec<u16>,
    rows: Vec<Vec<String>>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, columns: &'static [&'static str], has_header: bool) -> Self {
        Self { out, columns, header_is_due: has_header, widths: vec![0; columns.len()], rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, cells: Vec<String>) -> Result<(), Failure> {
        self.rows.push(cells);
        if self.rows.len() >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    /// Prints what has come; nothing where nothing came, not even a header.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(NOTHING).force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
        if std::mem::take(&mut self.header_is_due) {
            table.set_header(self.columns);
        }
        for row in self.rows.drain(..) {
            table.add_row(row.iter().map(|cell| shown(cell)));
        }
        for (width, widest) in self.widths.iter_mut().zip(table.column_max_content_widths()) {
            *width = widest.max(*width);
        }
        // The two spaces between columns are padding, which counts as width.
        let constraint = |width: &u16| ColumnConstraint::LowerBoundary(Width::Fixed(width.saturating_add(2)));
        table.set_constraints(self.widths.iter().map(constraint).collect::<Vec<_>>());
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        writeln!(self.out, "{}", table.trim_fmt())?;
        Ok(self.out.flush()?)
    }
}

fn shown(cell: &str) -> String {
    let text = printable(cell);
    match text.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn later_chunks_keep_the_columns_of_the_first() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, &["CLIENTID", "NODE"], true);
        writer.push(vec!["a-long-client-id".into(), "n1".into()]).unwrap();
        writer.flush().unwrap();
        writer.push(vec!["b\n".into(), "n2".into()]).unwrap();
        writer.flush().unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "CLIENTID          NODE\na-long-client-id  n1\nb\\u{a}            n2\n");
    }

    #[test]
    fn a_monstrous_client_id_is_cut() {
        assert_eq!(shown(&"é".repeat(65_535)), format!("{}...", "é".repeat(250)));
    }

    #[test]
    fn a_table_of_nothing_prints_nothing() {
        let mut out = Vec::new();
        Writer::new(&mut out, &["CLIENTID"], true).flush().unwrap();
        assert!(out.is_empty());
    }
}
