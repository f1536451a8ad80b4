//! What a partition folds beside its records.

pub mod producers;
