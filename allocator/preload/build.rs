//! Linker options of libumem.so.

fn main() {
    for option in [
        // Its constructor runs before those of other libraries: the fork handlers that are registered first prepare
        // last, and those of other libraries may allocate.
        "-Wl,-z,initfirst",
        // It stays when it is closed: buffers, threads that have yet to end, and our own thread need its code.
        "-Wl,-z,nodelete",
        // A program that is linked with it and runs under another copy gets that one, and not both.
        "-Wl,-soname,libumem.so",
    ] {
        println!("cargo:rustc-cdylib-link-arg={option}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
