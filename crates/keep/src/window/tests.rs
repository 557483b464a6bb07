use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const ROOM: usize = 1 << 20;

/// The frame of that number.
fn frame(number: u32) -> Vec<u8> {
    [&[0; 14], number.to_be_bytes().as_slice()].concat()
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().unwrap())
}

/// A tap, who reads it, and the window that looks on.
struct Model {
    window: Window<Vec<u8>>,
    emulated: bool,
    now: Instant,
    /// Of the tap.
    ring: VecDeque<u32>,
    length: usize,
    counted: Counted,
    /// The emulator throws the next away: its guest is called stopped, and its processors are not.
    throws: bool,
    /// Of the emulator: read, and not taken by the guest.
    untaken: Option<u32>,
    stopped: bool,
    sent: u32,
    got: BTreeSet<u32>,
}

impl Model {
    fn new(emulated: bool, counted: u64) -> Model {
        Model {
            window: Window::new(u64::from(emulated), ROOM),
            emulated,
            now: Instant::now(),
            ring: VecDeque::new(),
            length: 500,
            counted: Counted {
                read: counted,
                dropped: 3,
            },
            throws: false,
            untaken: None,
            stopped: false,
            sent: 0,
            got: BTreeSet::new(),
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn arrive(&mut self) {
        self.window.seen(Some(frame(self.sent)), self.now);
        match self.ring.len() < self.length {
            true => self.ring.push_back(self.sent),
            false => self.counted.dropped += 1,
        }
        self.sent += 1;
    }

    /// Whoever reads the tap gets a turn.
    fn turn(&mut self) {
        while let Some(next) = self.ring.front().copied() {
            match (self.stopped, self.emulated, self.untaken) {
                (false, ..) => drop(self.got.insert(next)),
                (true, true, None) if self.throws => self.throws = false,
                (true, true, None) => self.untaken = Some(next),
                (true, ..) => return,
            }
            self.ring.pop_front();
            self.counted.read += 1;
        }
    }

    fn count(&mut self) {
        self.window.counted(self.counted, self.now);
    }

    fn stop(&mut self) {
        self.turn();
        self.stopped = true;
    }

    fn hear(&mut self) {
        self.window.stopped(self.now);
    }

    fn kept(&mut self) -> Vec<u32> {
        let frames = std::iter::from_fn(|| self.window.next());
        frames.map(|(frame, _)| number(&frame)).collect()
    }

    /// What the guest did not get.
    fn missed(&self) -> Vec<u32> {
        (0..self.sent).filter(|sent| !self.got.contains(sent)).collect()
    }
}

#[test]
fn what_was_read_is_not_kept_and_what_was_not_is() {
    for emulated in [false, true] {
        let mut model = Model::new(emulated, 1000);
        model.count();
        for _ in 0..40 {
            model.arrive();
            model.pass(1);
            model.turn();
            model.count();
        }
        assert_eq!(model.kept(), [0; 0], "the guest runs");
        model.pass(1001);
        model.stop();
        model.arrive();
        model.turn();
        model.arrive();
        model.pass(3);
        model.hear();
        model.arrive();
        model.count();
        model.pass(6);
        model.count();
        assert_eq!(model.kept(), [40, 41, 42]);
        assert_eq!(model.missed(), [40, 41, 42]);
        // What comes later goes the same way, at once.
        model.arrive();
        assert_eq!(model.kept(), [43]);
    }
}

#[test]
fn the_one_that_an_emulator_read_for_a_guest_that_stood_still_is_kept() {
    let mut model = Model::new(true, 0);
    for _ in 0..5 {
        model.arrive();
        model.turn();
        model.count();
    }
    model.pass(1001);
    model.stop();
    model.hear();
    model.pass(50);
    model.arrive();
    model.turn();
    model.count();
    model.pass(20);
    model.count();
    // It was read: until another waits behind it nobody can know that it was not taken.
    assert_eq!(model.kept(), [0; 0]);
    model.arrive();
    model.turn();
    model.pass(6);
    model.count();
    assert_eq!(model.kept(), [5, 6]);
}

/// However late the stop is heard of: another one waits, so it was not taken.
#[test]
fn the_one_that_an_emulator_read_is_kept_though_the_stop_is_heard_of_late() {
    let mut model = Model::new(true, 0);
    for _ in 0..5 {
        model.arrive();
        model.turn();
        model.count();
    }
    model.stop();
    for _ in 0..2 {
        model.arrive();
        model.turn();
    }
    model.pass(1500);
    model.hear();
    model.count();
    assert_eq!(model.kept(), [5, 6]);
}

/// Nobody can tell: so the last that the guest got comes twice where there was no such one.
#[test]
fn the_one_that_an_emulator_threw_away_as_its_guest_stopped_is_kept() {
    for throws in [true, false] {
        let mut model = Model::new(true, 0);
        for _ in 0..5 {
            model.arrive();
            model.turn();
            model.count();
        }
        model.stop();
        model.throws = throws;
        for _ in 0..3 {
            model.arrive();
            model.turn();
        }
        model.hear();
        model.pass(6);
        model.count();
        assert_eq!(model.missed(), [5, 6, 7]);
        let kept = if throws { vec![5, 6, 7] } else { vec![4, 5, 6, 7] };
        assert_eq!(model.kept(), kept);
    }
}

#[test]
fn where_none_waits_the_last_is_kept_if_it_came_about_when_the_guest_stopped() {
    let kept = |before_ms| {
        let mut model = Model::new(true, 0);
        model.arrive();
        model.turn();
        model.count();
        model.pass(before_ms);
        model.stop();
        model.hear();
        model.count();
        model.window.close();
        model.kept()
    };
    assert_eq!(kept(1001), [0; 0]);
    assert_eq!(kept(999), [0]);
}

#[test]
fn frames_of_others_count_and_are_not_kept() {
    let mut model = Model::new(false, 0);
    model.count();
    model.stop();
    model.hear();
    model.count();
    let now = model.now;
    model.window.seen(None, now);
    model.arrive();
    model.window.seen(None, now);
    model.pass(10);
    model.count();
    assert_eq!(model.kept(), [0]);
}

#[test]
fn without_room_the_newest_are_dropped_and_counted() {
    let mut model = Model::new(false, 0);
    model.window.room = 18 * 3;
    model.count();
    for _ in 0..5 {
        // What was read makes room.
        model.arrive();
        model.turn();
        model.count();
    }
    assert_eq!(model.window.no_room(), 0);
    model.stop();
    model.hear();
    model.count();
    for _ in 0..5 {
        model.arrive();
    }
    assert_eq!(model.window.no_room(), 2);
    assert_eq!(model.kept(), [5, 6, 7]);
}

#[test]
fn what_the_tap_dropped_because_the_guest_stood_still_is_kept() {
    let mut model = Model::new(false, 0);
    model.count();
    model.stop();
    model.hear();
    model.count();
    for _ in 0..600 {
        model.arrive();
        model.count();
    }
    assert_eq!(model.counted.dropped, 103);
    assert_eq!(model.kept(), Vec::from_iter(0..600));
}

/// One that was taken from here is none of what is left, and is the guest's all the same.
#[test]
fn what_a_guest_that_goes_on_has_is_what_its_tap_had_room_for() {
    for emulated in [false, true] {
        let mut model = Model::new(emulated, 40);
        model.length = 3;
        model.arrive();
        model.turn();
        model.count();
        assert_eq!(model.window.goes_on(), None, "it never stopped");
        model.pass(1001);
        model.stop();
        model.hear();
        model.count();
        (0..6).for_each(|_| model.arrive());
        model.turn();
        model.pass(10);
        model.count();
        let first = model.window.next().map(|(frame, _)| number(&frame));
        assert_eq!(first, Some(1));
        let returned = model.window.goes_on();
        let dropped = 3;
        let length = frame(0).len() as u64;
        let (frames, bytes) = (5, 5 * length);
        assert_eq!(
            returned,
            Some(Returned {
                frames,
                bytes,
                dropped
            })
        );
        assert_eq!(model.window.goes_on(), None, "once");
        assert!(model.window.next().is_none());
    }
}

#[test]
fn what_is_nobodys_business_takes_no_room() {
    let mut window = Window::<Vec<u8>>::new(0, ROOM);
    let now = Instant::now();
    for _ in 0..MOST_ENTRIES + 10 {
        window.seen(None, now);
    }
    let none = Counted { read: 0, dropped: 0 };
    window.counted(none, now);
    assert_eq!(window.entries.len(), 0, "as many were read as were seen at first");
    window.stopped(now);
    window.counted(none, now);
    for _ in 0..MOST_ENTRIES {
        window.seen(None, now);
    }
    assert_eq!(window.entries.len(), 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive,
    Turn,
    Count,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Arrive),
        2 => Just(Step::Turn),
        3 => Just(Step::Count),
        1 => (0_u64..20).prop_map(Step::Pass),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..40)
}

fn play(model: &mut Model, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Arrive => model.arrive(),
            Step::Turn => model.turn(),
            Step::Count => model.count(),
            Step::Pass(ms) => model.pass(*ms),
        }
    }
}

proptest! {
    /// Whatever happens in which order: the guest gets each frame at one of the two hosts, and twice none; behind an emulator
    /// two at most: one that it may have thrown away, and one more if it was slow to read, or where none waits at the end.
    #[test]
    fn nothing_is_lost(emulated: bool, throws: bool, before in steps(), unheard in steps(), after in steps(), waits: bool) {
        let mut model = Model::new(emulated, 77);
        // The guest keeps up: once nothing was on its way when it was counted.
        model.count();
        play(&mut model, &before);
        model.stop();
        model.throws = throws;
        play(&mut model, &unheard);
        model.hear();
        play(&mut model, &after);
        if waits {
            for _ in 0..2 {
                model.arrive();
                model.turn();
            }
        }
        model.count();
        model.pass(6);
        model.turn();
        model.count();
        model.window.close();
        let (kept, missed) = (model.kept(), model.missed());
        let twice: Vec<u32> = kept.iter().filter(|kept| model.got.contains(kept)).copied().collect();
        prop_assert!(missed.iter().all(|missed| kept.contains(missed)), "missed {missed:?}, kept {kept:?}");
        prop_assert!(kept.is_sorted());
        prop_assert!(twice.len() <= 2 * usize::from(emulated), "twice {twice:?} of {kept:?}");
    }
}
