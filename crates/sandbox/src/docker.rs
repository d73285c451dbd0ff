//! The engine `docker`: one container for each call, from a pool of containers that wait with the
//! guest agent attached. Any image with `node` works; nothing is baked in.

mod call;
mod daemon;
mod frames;
mod guest;
mod images;
mod pool;
mod profile;
mod reaper;
mod seccomp;
mod verdict;
