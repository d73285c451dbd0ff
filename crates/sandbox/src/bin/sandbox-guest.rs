//! The isolate engine's child as a program of its own, for the tests of this crate. The products
//! start themselves instead.

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = sandbox::isolate::run_child_if_asked().unwrap_or(2);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
