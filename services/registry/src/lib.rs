//! Tools and every revision of them, kept and watched.
