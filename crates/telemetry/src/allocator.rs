//! The allocator of every program that speaks through this crate: jemalloc, because it can sample
//! what is allocated, which is what heap profiles are made of. What it is compiled with stands in
//! `.cargo/config.toml` of the repository. It serves Rust's own allocations only: libraries in C
//! (SQLite, QuickJS, aws-lc) keep that of the C library.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
