//! Runs calls in sandboxes.
