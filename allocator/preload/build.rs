//! Linker options of libumem.so.

fn main() {
    // Its constructor runs before those of other libraries: the fork handlers that are registered first prepare
    // last, and those of other libraries may allocate.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,initfirst");
    println!("cargo:rerun-if-changed=build.rs");
}
