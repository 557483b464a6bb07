//! What can be checked of the tree by reading it: budgets, words, links, arrows. Nothing is built or run.
//!
//! A number that is over a budget on purpose stands in `exceptions.txt` with its reason; there it can only go
//! down. `GODWIT_REGENERATE=1 cargo test -p godwit-tidy` lowers and removes lines; raising one is done by hand.

mod arrows;
mod budgets;
mod config_keys;
mod exceptions;
mod foreign;
mod links;
mod mutants;
mod prose;
mod reasons;
mod rust;
mod tree;
mod words;
