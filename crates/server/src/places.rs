//! Places for connections: so many in all, and so many for each address or user.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Free places are counted by who has the others.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: usize,
    of_one: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    whose: String,
}

impl Places {
    pub(crate) fn new(all: usize, of_one: usize) -> Places {
        let taken = Mutex::default();
        Places(Arc::new(Inner { all, of_one, taken }))
    }

    /// A place for it; without one, why not.
    pub(crate) fn take(&self, whose: String) -> Result<Place, String> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&whose).copied().unwrap_or_default();
        if own >= self.0.of_one {
            return Err(format!("{whose} has {own} connections already"));
        }
        if all >= self.0.all {
            return Err(format!("there are {all} connections already"));
        }
        taken.insert(whose.clone(), own + 1);
        drop(taken);
        let places = self.clone();
        Ok(Place { places, whose })
    }
}

impl Place {
    /// As it was taken.
    pub(crate) fn whose(&self) -> &str {
        &self.whose
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.whose) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cannot_take_the_places_of_all_and_gives_them_back() {
        let places = Places::new(3, 2);
        let take = |whose: &str| places.take(whose.to_owned());
        let (first, _second) = (take("a").unwrap(), take("a").unwrap());
        assert_eq!(take("a").unwrap_err(), "a has 2 connections already");
        let _third = take("b").unwrap();
        assert_eq!(take("c").unwrap_err(), "there are 3 connections already");
        drop(first);
        let _fourth = take("c").unwrap();
        assert_eq!(places.0.taken.lock().unwrap().len(), 3);
    }
}
