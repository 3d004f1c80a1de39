//! Tells the linker of macOS that Python's symbols come with the interpreter, for builds by cargo alone.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
