//! The Engine trait and the engines that run untrusted code.
