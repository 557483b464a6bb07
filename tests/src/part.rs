//! A part of a whole run, so that several machines, or several evenings, share one: the parts together leave nothing out.

use std::{fmt, ops::Range, str::FromStr};

/// The K-th of N parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    number: usize,
    of: usize,
}

impl Part {
    /// All of it.
    pub const WHOLE: Part = Part { number: 1, of: 1 };

    /// The numbers, from 0, of those of so many that are in this part: as many in each, up to one, and next to each other.
    pub fn share(self, all: usize) -> Range<usize> {
        let begin = |number| all * number / self.of;
        begin(self.number - 1)..begin(self.number)
    }

    /// What is done once is done in this part.
    pub fn is_first(self) -> bool {
        self.number == 1
    }

    /// What is done at the end is done in this part.
    pub fn is_last(self) -> bool {
        self.number == self.of
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        let numbers = text
            .split_once('/')
            .map(|(number, of)| (number.parse(), of.parse()));
        match numbers {
            Some((Ok(number), Ok(of))) if (1..=of).contains(&number) && of <= 99 => Ok(Part { number, of }),
            _ => Err(format!("{text:?} is no part; the second of three is 2/3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn the_parts_together_are_the_whole() {
        for all in [0, 1, 2, 11, 112] {
            for of in 1..=7 {
                let parts = (1..=of).map(|number| Part { number, of });
                let told: Vec<usize> = parts.clone().flat_map(|part| part.share(all)).collect();
                assert_eq!(told, (0..all).collect::<Vec<_>>(), "{all} in {of}");
                assert!(
                    parts
                        .into_iter()
                        .all(|part| part.share(all).len() <= all.div_ceil(of))
                );
            }
        }
        assert_eq!(Part::WHOLE.share(5), 0..5);
        assert!(Part::WHOLE.is_first() && Part::WHOLE.is_last());
    }

    #[test]
    fn a_part_is_written_as_it_is_read() {
        let part: Part = "2/3".parse().unwrap();
        assert_eq!(part.to_string(), "2/3");
        for no in ["", "2", "0/3", "4/3", "1/0", "-1/2", "2/3/4", "1/100", "a/b"] {
            assert!(no.parse::<Part>().is_err(), "{no}");
        }
    }
}
