//! What the stories' own harnesses share: which stories were asked for, and how a run ends.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::part::Part;
use crate::slice;

/// The stories that a command line asks for, by their numbers: those of a commit's slice (`--slice COMMIT`), those of a part
/// of all (`--part K/N`), those with one of the words in their name, or all. `stories` has the class and the name of each. Options of the usual
/// harness have no meaning here, and are refused: each would otherwise tell every story.
pub fn wanted(stories: &[(&str, &str)], words: &[String]) -> Result<Vec<usize>> {
    if let [option, commit] = words
        && option == "--slice"
    {
        let classes: Vec<&str> = stories.iter().map(|(class, _)| *class).collect();
        return Ok(slice::of(commit, &classes));
    }
    if let [option, part] = words
        && option == "--part"
    {
        let part: Part = part.parse().map_err(anyhow::Error::msg)?;
        return Ok(part.share(stories.len()).collect());
    }
    if let Some(option) = words.iter().find(|word| word.starts_with('-')) {
        bail!("{option}: only PART-OF-A-NAME..., or --slice COMMIT or --part K/N alone");
    }
    let has = |part: &str| stories.iter().any(|(_, name)| name.contains(part));
    if let Some(part) = words.iter().find(|part| !has(part)) {
        bail!("no story has {part:?} in its name");
    }
    let fits = |name: &str| words.is_empty() || words.iter().any(|part| name.contains(part.as_str()));
    Ok((0..stories.len())
        .filter(|index| fits(stories[*index].1))
        .collect())
}

/// The last lines of a run, like those of the usual harness, and its exit code. A run of no story has failed.
pub fn conclude(run: usize, failed: &[&str], all: usize, took: Duration) -> (String, ExitCode) {
    let (verdict, code) = match failed.is_empty() && run > 0 {
        true => ("ok", ExitCode::SUCCESS),
        false => ("FAILED", ExitCode::FAILURE),
    };
    let names: String = failed.iter().map(|name| format!("    {name}\n")).collect();
    let heading = if failed.is_empty() { "" } else { "\nfailures:\n" };
    let (passed, failed, filtered) = (run - failed.len(), failed.len(), all - run);
    let seconds = took.as_secs_f64();
    let text = format!(
        "{heading}{names}\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         {filtered} filtered out; finished in {seconds:.2}s\n"
    );
    (text, code)
}

#[cfg(test)]
mod tests {
    use super::{conclude, wanted};
    use std::time::Duration;

    const STORIES: [(&str, &str); 3] = [("a", "one_is_told"), ("a", "two_are_told"), ("b", "none_is")];

    fn of(words: &[&str]) -> Result<Vec<usize>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).into()).collect();
        wanted(&STORIES, &words).map_err(|error| error.to_string())
    }

    #[test]
    fn stories_are_found_by_parts_of_their_names() {
        assert_eq!(of(&[]), Ok(vec![0, 1, 2]));
        assert_eq!(of(&["told"]), Ok(vec![0, 1]));
        assert_eq!(of(&["one", "none"]), Ok(vec![0, 2]));
        // Before the hosts are switched on for nothing.
        let no = of(&["told", "nothing"]).unwrap_err();
        assert_eq!(no, "no story has \"nothing\" in its name");
    }

    #[test]
    fn an_option_that_means_nothing_is_refused_and_tells_no_story() {
        for words in [
            &["--list"][..],
            &["--slice"],
            &["--slice", "abc", "--list"],
            &["one", "--nocapture"],
        ] {
            let no = of(words).unwrap_err();
            assert!(no.contains("PART-OF-A-NAME"), "{words:?}: {no}");
        }
        assert!(of(&["--slice", "abc"]).is_ok());
        assert_eq!(of(&["--part", "2/2"]), Ok(vec![1, 2]));
        assert!(of(&["--part", "3/2"]).unwrap_err().contains("no part"));
    }

    #[test]
    fn a_run_that_fails_names_what_failed_and_one_of_nothing_has_failed() {
        let end = |run, failed: &[&str]| conclude(run, failed, 3, Duration::from_secs(1)).0;
        assert!(end(2, &[]).starts_with("\ntest result: ok. 2 passed; 0 failed;"));
        assert!(
            end(2, &["one"]).starts_with("\nfailures:\n    one\n\ntest result: FAILED. 1 passed; 1 failed;")
        );
        assert!(end(0, &[]).contains("FAILED. 0 passed; 0 failed;"));
    }
}
