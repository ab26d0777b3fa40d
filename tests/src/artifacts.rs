//! The two programs under test, and the folders that tests work in.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Folder that already has both files; nothing is built then.
const GIVEN: &str = "UMEM_ARTIFACTS";

/// The files under test.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// `libumem.so`.
    pub library: PathBuf,
    /// `umdb`.
    pub umdb: PathBuf,
}

/// The files under test as a release build has them, built at the first call if need be.
pub fn artifacts() -> &'static Artifacts {
    static FOUND: OnceLock<Artifacts> = OnceLock::new();
    FOUND.get_or_init(|| {
        let folder = env::var_os(GIVEN).map_or_else(build, PathBuf::from);
        Artifacts {
            library: must_exist(folder.join("libumem.so")),
            umdb: must_exist(folder.join("umdb")),
        }
    })
}

/// The checkout.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the workspace")
}

/// Folder of cargo's output.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(
        || workspace().join("target"),
        // Cargo reads a relative path from where it was started, which is the workspace.
        |given| workspace().join(given),
    )
}

/// Folder of compiled victims and of locks.
pub fn work_dir() -> PathBuf {
    let folder = target_dir().join("umem-tests");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    folder
}

/// Holds the lock of this name against other test processes until it is dropped.
#[must_use]
pub fn lock(name: &str) -> File {
    let path = work_dir().join(format!("{name}.lock"));
    File::create(&path)
        .and_then(|file| file.lock().map(|()| file))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn build() -> PathBuf {
    let _lock = lock("build");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The whole workspace, as everybody builds it: for a part of it cargo would choose other features of the
    // dependencies, and build everything once more.
    let output = Command::new(cargo)
        .args(["build", "--release", "--workspace"])
        .arg("--target-dir")
        .arg(target_dir())
        .current_dir(workspace())
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "the release build failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target_dir().join("release")
}

fn must_exist(file: PathBuf) -> PathBuf {
    file.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
