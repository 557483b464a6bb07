//! Tables that fit the terminal: columns give way by cutting or by wrapping, and what identifies a thing never does.

use crate::output::clean;

/// Two blanks between columns.
const GAP: usize = 2;
/// Cutting or wrapping below this makes a column useless.
const NARROWEST: usize = 6;

/// What a column does when the terminal is too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Stays as it is.
    Keep,
    /// Is cut, with "…" at the end.
    Cut,
    /// Goes on in the next line.
    Wrap,
}

/// One cell: lines of clean text.
#[derive(Debug, Default)]
pub(crate) struct Cell(Vec<String>);

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell(vec![clean(text).into_owned()])
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::from(text.as_str())
    }
}

impl From<Vec<String>> for Cell {
    fn from(lines: Vec<String>) -> Cell {
        Cell(lines.iter().map(|line| clean(line).into_owned()).collect())
    }
}

/// Head and rows.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(String, Fit); N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [(&str, Fit); N]) -> Table<N> {
        Table {
            columns: columns.map(|(title, fit)| (clean(title).into_owned(), fit)),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    /// The table's lines, not wider than `width` as far as the columns allow.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let widths = self.widths(width);
        let head = std::array::from_fn(|i| vec![self.columns[i].0.clone()]);
        let mut lines = draw(&head, &widths);
        for row in &self.rows {
            let fitted = std::array::from_fn(|i| fit(&row[i], self.columns[i].1, widths[i]));
            lines.extend(draw(&fitted, &widths));
        }
        lines
    }

    fn widths(&self, limit: Option<usize>) -> [usize; N] {
        let mut widths = std::array::from_fn(|i| {
            let cells = self.rows.iter().flat_map(|row| &row[i].0).map(|line| chars(line));
            cells.max().unwrap_or(0).max(chars(&self.columns[i].0))
        });
        let Some(limit) = limit else { return widths };
        let room = limit.saturating_sub(GAP * N.saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            // The widest of those that can give way, by one.
            let least = |i: usize| NARROWEST.max(chars(&self.columns[i].0));
            let giving = (0..N).filter(|&i| self.columns[i].1 != Fit::Keep && widths[i] > least(i));
            let Some(widest) = giving.max_by_key(|&i| widths[i]) else {
                break;
            };
            widths[widest] -= 1;
        }
        widths
    }
}

fn draw<const N: usize>(cells: &[Vec<String>; N], widths: &[usize; N]) -> Vec<String> {
    let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let line = |n: usize| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let text = cell.get(n).map_or("", String::as_str);
            line.push_str(text);
            line.push_str(&" ".repeat(width.saturating_sub(chars(text)) + GAP));
        }
        line.truncate(line.trim_end().len());
        line
    };
    (0..height).map(line).collect()
}

fn fit(cell: &Cell, fit: Fit, width: usize) -> Vec<String> {
    match fit {
        Fit::Keep => cell.0.clone(),
        Fit::Cut => cell.0.iter().map(|line| cut(line, width)).collect(),
        Fit::Wrap => cell.0.iter().flat_map(|line| wrap(line, width)).collect(),
    }
}

fn cut(text: &str, width: usize) -> String {
    if chars(text) <= width {
        return text.into();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Breaks between words; a word that is too long is broken itself.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        let line = lines.last().map_or(0, |line| chars(line));
        if line > 0 && line + 1 + rest.len() > width {
            lines.push(String::new());
        } else if line > 0 {
            lines.last_mut().into_iter().for_each(|line| line.push(' '));
        }
        while rest.len() > width {
            let tail = rest.split_off(width);
            lines
                .last_mut()
                .into_iter()
                .for_each(|line| line.extend(rest.drain(..)));
            lines.push(String::new());
            rest = tail;
        }
        lines
            .last_mut()
            .into_iter()
            .for_each(|line| line.extend(rest.drain(..)));
    }
    lines
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birds() -> Table<3> {
        let mut table = Table::new([("ID", Fit::Keep), ("NAME", Fit::Cut), ("DETAIL", Fit::Wrap)]);
        table.row([
            "0198c0de".into(),
            "bar-tailed-godwit".into(),
            "flies eleven thousand kilometres".into(),
        ]);
        table.row(["0198ffff".into(), "\x1b[31mknot\n".into(), Cell::default()]);
        table
    }

    #[test]
    fn as_wide_as_needed() {
        insta::assert_snapshot!(birds().lines(None).join("\n"), @"
        ID        NAME               DETAIL
        0198c0de  bar-tailed-godwit  flies eleven thousand kilometres
        0198ffff  [31mknot
        ");
    }

    #[test]
    fn columns_give_way() {
        insta::assert_snapshot!(birds().lines(Some(38)).join("\n"), @"
        ID        NAME           DETAIL
        0198c0de  bar-tailed-g…  flies eleven
                                 thousand
                                 kilometres
        0198ffff  [31mknot
        ");
    }

    #[test]
    fn every_width_is_kept_as_far_as_possible() {
        for width in 0..80 {
            let lines = birds().lines(Some(width));
            let widest = lines.iter().map(|line| chars(line)).max().unwrap();
            assert!(widest <= width.max(8 + 6 + 6 + 2 * GAP), "{widest} in {width}");
            assert!(
                lines.iter().any(|line| line.starts_with("0198c0de")),
                "an id was cut"
            );
        }
    }

    #[test]
    fn words_longer_than_a_line_are_broken() {
        assert_eq!(wrap("ab cdefghijk l", 4), ["ab", "cdef", "ghij", "k l"]);
        assert_eq!(wrap("abcd efgh", 4), ["abcd", "efgh"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
