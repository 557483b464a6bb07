//! Which stories a quick run tells: one of each class, and of the rest a part that follows from the commit's id, so
//! that a few commits tell them all. Of a large class it is a smaller part, and takes more commits.

use crate::images::Key;

/// Of what is left after one of each class, one in so many.
const PART: u64 = 96;
/// And no more of one class than this.
const MOST: usize = 1;

/// The class of stories that no slice has: what they need takes minutes to make.
pub const LONG_MADE: &str = "long-made";

/// The numbers of the stories that the commit's slice has, in their order. `classes` names the class of each story.
pub fn of(commit: &str, classes: &[&str]) -> Vec<usize> {
    let turn = Key::new().text(commit).0;
    let mut seen: Vec<&str> = Vec::new();
    let mut chosen = Vec::new();
    for class in classes {
        if seen.contains(class) || *class == LONG_MADE {
            continue;
        }
        seen.push(class);
        let of_class: Vec<usize> = (0..classes.len())
            .filter(|index| classes[*index] == *class)
            .collect();
        chosen.push(of_class[(turn % of_class.len() as u64) as usize]);
    }
    let rest = (0..classes.len()).filter(|index| {
        if classes[*index] == LONG_MADE {
            return false;
        }
        let size = classes.iter().filter(|class| **class == classes[*index]).count();
        let part = PART.max(size.div_ceil(MOST) as u64);
        (*index as u64).wrapping_add(turn).is_multiple_of(part)
    });
    chosen.extend(rest);
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::{LONG_MADE, of};

    const CLASSES: [&str; 9] = [
        "refusal", "refusal", "refusal", "move", "move", "move", "move", "failure", "failure",
    ];

    #[test]
    fn every_class_is_in_every_slice() {
        for commit in 0..200 {
            let slice = of(&format!("commit {commit}"), &CLASSES);
            for class in ["refusal", "move", "failure"] {
                assert!(
                    slice.iter().any(|index| CLASSES[*index] == class),
                    "{commit}: {slice:?}"
                );
            }
            assert!(slice.len() < CLASSES.len(), "{slice:?}");
        }
    }

    #[test]
    fn what_takes_long_to_make_is_in_no_slice() {
        let classes = ["move", LONG_MADE, "move"];
        let told = (0..200).map(|commit| of(&format!("commit {commit}"), &classes));
        assert!(
            told.into_iter()
                .all(|slice| !slice.contains(&1) && !slice.is_empty())
        );
    }

    #[test]
    fn a_few_commits_tell_every_story() {
        let mut told = [false; CLASSES.len()];
        for commit in 0..20 {
            of(&format!("{commit:040x}"), &CLASSES)
                .into_iter()
                .for_each(|index| told[index] = true);
        }
        assert_eq!(told, [true; CLASSES.len()]);
    }

    #[test]
    fn a_large_class_has_its_share_and_is_told_in_the_end() {
        let classes = [&CLASSES[..], &["kill"; 33]].concat();
        let mut told = vec![false; classes.len()];
        for commit in 0..100 {
            let slice = of(&format!("{commit:040x}"), &classes);
            let kills = slice.iter().filter(|index| classes[**index] == "kill").count();
            assert!((1..=2).contains(&kills), "{commit}: {slice:?}");
            slice.into_iter().for_each(|index| told[index] = true);
        }
        assert!(told.into_iter().all(|told| told));
    }

    #[test]
    fn a_commit_has_one_slice() {
        assert_eq!(of("8a4a251", &CLASSES), of("8a4a251", &CLASSES));
    }
}
