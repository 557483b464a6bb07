//! The comparison as a picture (SVG): a panel for each figure, a row for each way, a dot for each move, a line at the median.

use std::fmt::Write;

use super::{FIGURES, Figure, Moves};
use crate::bench::median;

/// Pixels.
const WIDTH: f64 = 760.0;
const LABELS: f64 = 120.0;
const MARGIN: f64 = 30.0;
const ROW: f64 = 20.0;
const TITLE: f64 = 34.0;
const OURS: &str = "#0b6e4f";
const THEIRS: &str = "#8a4f7d";

pub(super) fn svg(all: &[Moves]) -> String {
    let panels: Vec<&Figure> = FIGURES.iter().filter(|figure| figure.plotted).collect();
    let panel = TITLE + ROW * all.len() as f64;
    let height = panel * panels.len() as f64 + MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (figure, index) in panels.into_iter().zip(0_u8..) {
        draw(&mut text, all, figure, f64::from(index) * panel);
    }
    text.push_str("</svg>\n");
    text
}

fn draw(text: &mut String, all: &[Moves], figure: &Figure, top: f64) {
    let most = all
        .iter()
        .flat_map(|moves| moves.values(figure))
        .fold(0.0, f64::max);
    let scale = (WIDTH - LABELS - MARGIN - 40.0) / if most > 0.0 { most } else { 1.0 };
    let at = |value: f64| LABELS + value * scale;
    let digits = figure.digits;
    let _ = writeln!(
        text,
        "<text x=\"8\" y=\"{:.0}\" font-weight=\"bold\">{}</text>",
        top + 24.0,
        figure.name
    );
    for (moves, row) in all.iter().zip(0_u8..) {
        let middle = top + TITLE + ROW * (f64::from(row) + 0.5);
        let colour = if row == 0 { OURS } else { THEIRS };
        let _ = writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\n\
             <line x1=\"{LABELS}\" y1=\"{middle:.0}\" x2=\"{:.0}\" y2=\"{middle:.0}\" stroke=\"#ddd\"/>",
            LABELS - 8.0,
            middle + 4.0,
            moves.way.name(),
            at(most),
        );
        let values = moves.values(figure);
        for value in &values {
            let _ = writeln!(
                text,
                "<circle cx=\"{:.1}\" cy=\"{middle:.0}\" r=\"4\" fill=\"{colour}\" fill-opacity=\"0.4\"/>",
                at(*value)
            );
        }
        if !values.is_empty() {
            let value = median(values);
            let _ = writeln!(
                text,
                "<line x1=\"{0:.1}\" y1=\"{1:.0}\" x2=\"{0:.1}\" y2=\"{2:.0}\" stroke=\"{colour}\" stroke-width=\"3\"/>\n\
                 <text x=\"{3:.1}\" y=\"{4:.0}\" fill=\"{colour}\">{value:.digits$}</text>",
                at(value),
                middle - 8.0,
                middle + 8.0,
                at(most) + 8.0,
                middle + 4.0
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use godwit_rig::rivals::{Seen, Way};

    use super::*;

    #[test]
    fn there_is_a_dot_for_each_move_and_a_panel_for_each_figure() {
        let seen = Seen {
            total_s: 4.0,
            off_vf_s: Some(2.0),
            ..Seen::default()
        };
        let all = [Moves {
            way: Way::Godwit,
            seen: vec![seen.clone(), seen],
            failed: Vec::new(),
        }];
        let text = svg(&all);
        let panels = FIGURES.iter().filter(|figure| figure.plotted).count();
        assert_eq!(text.matches("font-weight=\"bold\"").count(), panels);
        assert_eq!(text.matches("<circle").count(), 2 * panels);
        assert!(!text.contains("NaN") && text.ends_with("</svg>\n"));
    }
}
