//! A table of text: columns of even width, numbers to the right.

/// Rows of cells under a head; the first column is left-aligned, the others right.
#[derive(Debug)]
pub struct Table {
    /// A line above it.
    title: Option<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self { title: None, rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub fn title(&mut self, title: &str) {
        self.title = Some(title.to_owned());
    }

    pub fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.to_vec());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(title) = &self.title {
            writeln!(f, "{title}")?;
        }
        let columns = self.rows[0].len();
        let width = |c: usize| self.rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (i, row) in self.rows.iter().enumerate() {
            let first = format!("{:<1$}", row[0], widths[0]);
            let others = row.iter().zip(&widths).skip(1).map(|(cell, width)| format!("{cell:>width$}"));
            let line: Vec<String> = std::iter::once(first).chain(others).collect();
            writeln!(f, "{}", line.join("  ").trim_end())?;
            if i == 0 {
                writeln!(f, "{}", "-".repeat(widths.iter().sum::<usize>() + 2 * (columns - 1)))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["product", "GFLOP/s"]);
        table.row(&["1024×576".into(), "80.1".into()]);
        assert_eq!(table.to_string(), "product   GFLOP/s\n-----------------\n1024×576     80.1\n");
    }
}
