//! The client against a small scripted cluster, in virtual time: what a caller is told, and what reaches the logs.

mod consuming;
mod fake;
mod orders;
mod producing;
mod streams;
mod world;
