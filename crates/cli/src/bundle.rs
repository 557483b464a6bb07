//! What is in a support bundle, and in which form. Pure but for [`host`], which reads this host.

pub(crate) mod archive;
pub(crate) mod host;
pub(crate) mod redact;

/// No part is larger; of logs the end is kept.
pub(crate) const LARGEST: usize = 4 << 20;

/// One file of the bundle, or why it is not there.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its name in the bundle.
    pub(crate) name: String,
    /// The text, cleared of secrets; or one sentence.
    pub(crate) text: Result<String, String>,
}

impl Part {
    pub(crate) fn new(name: &str, text: Result<String, String>) -> Part {
        let text = text.map(|text| redact::text(end(&text)));
        Part {
            name: name.into(),
            text,
        }
    }

    /// What cannot be asked of another host over the network.
    pub(crate) fn elsewhere(name: &str) -> Part {
        Part::new(
            name,
            Err("it is on the host that was asked: type godwit support-bundle there".into()),
        )
    }
}

/// The last lines of it, [`LARGEST`] bytes at most.
fn end(text: &str) -> &str {
    let Some(over) = text.len().checked_sub(LARGEST).filter(|over| *over > 0) else {
        return text;
    };
    // A line is whole or not there.
    let from = text.as_bytes()[over..].iter().position(|byte| *byte == b'\n');
    from.and_then(|line| text.get(over + line + 1..)).unwrap_or("")
}

/// What is in the bundle and what is not, for whoever opens it.
pub(crate) fn contents(head: &str, parts: &[Part]) -> String {
    let mut text = format!("{head}\n\nCollected:\n");
    for part in parts.iter().filter(|part| part.text.is_ok()) {
        text.push_str(&format!("  {}\n", part.name));
    }
    text.push_str("\nNot collected:\n");
    let mut all = true;
    for part in parts {
        if let Err(why) = &part.text {
            all = false;
            text.push_str(&format!("  {}: {why}\n", part.name));
        }
    }
    if all {
        text.push_str("  (nothing)\n");
    }
    text.push_str(
        "\nKeys and certificates are never read. Values that look like secrets are replaced by (left out).\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_too_long_the_last_whole_lines_are_kept() {
        assert_eq!(end("a\nb\n"), "a\nb\n");
        let long = format!("first\n{}\nlast\n", "x".repeat(LARGEST - 8));
        assert!(
            end(&long).starts_with('x') && end(&long).ends_with("\nlast\n"),
            "whole lines"
        );
        let one = "y".repeat(LARGEST + 1);
        assert_eq!(end(&one), "");
        let letters = "\u{e9}\n".repeat(LARGEST / 2);
        assert!(end(&letters).len() <= LARGEST && end(&letters).starts_with('\u{e9}'));
    }

    #[test]
    fn what_is_missing_is_named_with_its_reason() {
        let parts = [
            Part::new("guests.json", Ok("{}".into())),
            Part::new("audit.jsonl", Err("there is none".into())),
        ];
        let text = contents("godwit 1", &parts);
        assert!(text.contains("Collected:\n  guests.json\n"), "{text}");
        assert!(
            text.contains("Not collected:\n  audit.jsonl: there is none\n"),
            "{text}"
        );
        assert!(contents("", &parts[..1]).contains("Not collected:\n  (nothing)\n"));
    }
}
