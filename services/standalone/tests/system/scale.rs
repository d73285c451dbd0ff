//! Sizes at their bounds, text of every kind, and many tools.

mod many;
mod sizes;
mod unicode;
