//! A fuzzer that finds nothing has to be able to find something.

use super::*;

const TARGET: Target<'_> = Target {
    name: "itself",
    words: &["deadline"],
    most: 300,
};

fn fuzz<'a, T>(one: &'a dyn Fn(&[u8]) -> T) -> Fuzz<'a, T> {
    Fuzz {
        target: TARGET,
        one,
        watch: Watch::begin(TARGET.name),
    }
}

fn budget(seed: u64) -> Budget {
    Budget {
        inputs: 2000,
        time: Duration::from_secs(3600),
        seed,
    }
}

#[test]
fn the_same_seed_makes_the_same_inputs() {
    let tried = |seed| {
        let all = std::cell::RefCell::new(Vec::new());
        let one = |input: &[u8]| all.borrow_mut().push(input.to_owned());
        fuzz(&one).all(vec![b"deadline = 10".to_vec()], budget(seed));
        all.into_inner()
    };
    let first = tried(7);
    assert_eq!(first, tried(7));
    assert_ne!(first, tried(8));
    assert!(first.iter().all(|input| input.len() <= TARGET.most));
}

#[test]
fn what_fails_deep_inside_is_found_and_made_small() {
    // Each kind of outcome leads to the next: by chance alone three numbers and a word would hardly come together.
    let steps = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let good = [
            text.contains("deadline"),
            text.contains("4096"),
            text.contains('\u{202e}'),
        ];
        good.iter().take_while(|step| **step).count()
    };
    let found = std::cell::Cell::new(false);
    let one = |input: &[u8]| {
        found.set(found.get() || steps(input) == 3);
        steps(input)
    };
    fuzz(&one).all(vec![b"10".to_vec()], budget(1));
    assert!(found.get());
    let fails = |input: &[u8]| assert!(steps(input) < 3);
    let mut input = b"x".repeat(100);
    input.extend("deadline 4096 \u{202e} and more".bytes());
    let one = fuzz(&fails);
    let small = one.smaller(input, |shorter| one.outcome(shorter).is_err());
    assert_eq!(small.len(), "deadline4096\u{202e}".len());
}

#[test]
fn what_led_to_something_new_is_handed_over_to_be_kept() {
    let one = |input: &[u8]| String::from_utf8_lossy(input).contains("deadline");
    let new = fuzz(&one).all(vec![b"10".to_vec()], budget(1));
    let [(kind, input)] = &Vec::from_iter(new)[..] else {
        panic!("one kind is new, and that of the seed is not");
    };
    let one = fuzz(&one);
    let small = one.smaller(input.clone(), |shorter| one.input(shorter) == *kind);
    assert_eq!(small, b"deadline");
}

#[test]
fn what_once_failed_is_tried_before_anything_else() {
    let place = std::env::temp_dir().join(format!("godwit-fuzz-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("failed-2"), "two").unwrap();
    fs::write(place.join("failed-1"), "one").unwrap();
    assert_eq!(corpus(&place), [b"one", b"two"]);
    fs::remove_dir_all(&place).unwrap();
    assert!(corpus(&place).is_empty());
}
