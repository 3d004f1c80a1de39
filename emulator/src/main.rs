//! `pgentra-emulator`: see `README.md`, or run it with `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgentra_emulator::cli::main()
}
