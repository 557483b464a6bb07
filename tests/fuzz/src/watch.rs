//! An input that is never over would hold up the run without a word: it is written down, and the process ends.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// No input takes so long, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(120);

/// Looks at one target, from a thread of its own.
pub(crate) struct Watch(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    input: Option<Vec<u8>>,
    /// Inputs so far.
    count: u64,
    over: bool,
}

impl Watch {
    pub(crate) fn begin(target: &str) -> Watch {
        let shared = Arc::new((Mutex::<State>::default(), Condvar::new()));
        let (seen, target) = (Arc::clone(&shared), target.to_owned());
        std::thread::spawn(move || look(&seen, &target));
        Watch(shared)
    }

    pub(crate) fn over<T>(&self, input: &[u8], work: impl FnOnce() -> T) -> T {
        {
            let mut state = self.state();
            state.count += 1;
            state.input = Some(input.to_owned());
        }
        let done = work();
        self.state().input = None;
        done
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.state().over = true;
        self.0.1.notify_all();
    }
}

fn look((state, changed): &(Mutex<State>, Condvar), target: &str) {
    let mut before = None;
    loop {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(state, LONGEST, |state| !state.over);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.over {
            return;
        }
        if let Some(input) = state.input.as_ref().filter(|_| before == Some(state.count)) {
            let file = crate::keep(target, "endless", input);
            crate::tell(&format!("{target}: no end after {LONGEST:?}: {}", file.display()));
            std::process::abort();
        }
        before = Some(state.count);
    }
}
