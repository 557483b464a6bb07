//! The comparison as tables of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use godwit_rig::losses::Loss;

use super::{FIGURES, Moves};
use crate::bench::median;

/// Steps in their order; what a way does not have stays empty.
const STEPS: [&str; 10] = [
    "before",
    "reserve",
    "queue",
    "fail-over",
    "unplug",
    "transfer",
    "plug",
    "fail-back",
    "between",
    "after",
];

/// Figures with medians and spread, then the losses by step.
pub(super) fn text(all: &[Moves], rate: u32) -> String {
    let mut text = format!(
        "Median of all moves of a way, and in brackets the least and the most. {rate} datagrams a second each way.\n\n"
    );
    head(&mut text, all, "");
    for figure in &FIGURES {
        let _ = write!(text, "| {} |", figure.name);
        for moves in all {
            let _ = write!(text, " {} |", shown(moves.values(figure), figure.digits));
        }
        text.push('\n');
    }
    let _ = write!(text, "| step in which that stall began |");
    for moves in all {
        let steps: Vec<&str> = moves.seen.iter().map(|seen| seen.stall_step.as_str()).collect();
        let _ = write!(text, " {} |", counted(&steps));
    }
    text.push('\n');
    let _ = write!(text, "| moves, and failed ones |");
    for moves in all {
        let _ = write!(text, " {}, {} |", moves.seen.len(), moves.failed.len());
    }
    text.push_str(
        "\n\nLost by step, sums of all moves: to the guest + from the guest, of those sent in the step.\n\n",
    );
    head(&mut text, all, "step");
    for step in STEPS {
        let _ = write!(text, "| {step} |");
        for moves in all {
            let _ = write!(text, " {} |", lost(moves, step));
        }
        text.push('\n');
    }
    text.push_str("\nLongest gap from the guest that began in the step, ms, as above.\n\n");
    head(&mut text, all, "step");
    for step in STEPS {
        let _ = write!(text, "| {step} |");
        for moves in all {
            let gaps = moves.seen.iter().filter_map(|seen| seen.gaps.get(step));
            let _ = write!(text, " {} |", shown(gaps.copied().collect(), 0));
        }
        text.push('\n');
    }
    text
}

fn head(text: &mut String, all: &[Moves], first: &str) {
    let names: Vec<&str> = all.iter().map(|moves| moves.way.name()).collect();
    let _ = writeln!(text, "| {first} | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
}

/// How often each, the most frequent first.
fn counted(words: &[&str]) -> String {
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    for word in words {
        *all.entry(word).or_default() += 1;
    }
    let mut all = Vec::from_iter(all);
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told: Vec<String> = all
        .into_iter()
        .map(|(word, count)| format!("{word} {count}"))
        .collect();
    told.join(", ")
}

fn shown(values: Vec<f64>, digits: usize) -> String {
    if values.is_empty() {
        return "–".into();
    }
    let (least, most) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
    format!("{:.digits$} ({least:.digits$}–{most:.digits$})", median(values))
}

fn lost(moves: &Moves, step: &str) -> String {
    let mut sums: BTreeMap<&str, Loss> = BTreeMap::new();
    for (name, loss) in moves.seen.iter().flat_map(|seen| &seen.losses) {
        let sum = sums.entry(name).or_default();
        *sum = sum.plus(*loss);
    }
    sums.get(step).map_or_else(
        || "–".into(),
        |loss| {
            let sent = loss.to_guest.0 + loss.from_guest.0;
            format!("{} + {} of {sent}", loss.to_guest.1, loss.from_guest.1)
        },
    )
}

#[cfg(test)]
mod tests {
    use godwit_rig::rivals::{Seen, Way};

    use super::*;

    #[test]
    fn medians_stand_beside_least_and_most() {
        assert_eq!(shown(vec![3.0, 1.0, 2.0], 0), "2 (1–3)");
        assert_eq!(shown(Vec::new(), 0), "–");
    }

    #[test]
    fn words_are_counted() {
        assert_eq!(counted(&["plug", "transfer", "transfer"]), "transfer 2, plug 1");
        assert_eq!(counted(&[]), "");
    }

    #[test]
    fn every_way_has_a_column_and_every_figure_a_row() {
        let loss = Loss {
            to_guest: (10, 3),
            from_guest: (9, 0),
        };
        let seen = Seen {
            total_s: 4.0,
            losses: [("transfer".to_owned(), loss)].into(),
            ..Seen::default()
        };
        let moves = |way, seen| Moves {
            way,
            seen,
            failed: Vec::new(),
        };
        let all = [
            moves(Way::Godwit, vec![seen.clone(), seen]),
            moves(Way::VirtioOnly, Vec::new()),
        ];
        let text = text(&all, 100);
        assert!(
            text.contains("|  | godwit | virtio-only |\n|---|---|---|\n"),
            "{text}"
        );
        assert!(text.contains("| transfer | 6 + 0 of 38 | – |"), "{text}");
        assert!(text.contains("| lost to the guest | 3 (3–3) | – |"), "{text}");
        assert!(
            text.contains("| command to its end, s | 4.0 (4.0–4.0) | – |"),
            "{text}"
        );
    }
}
