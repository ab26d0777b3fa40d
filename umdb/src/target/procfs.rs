//! What /proc says of a process.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Error, Mapping};

/// A line of /proc/PID/status.
pub(super) fn status_field(pid: u32, field: &str) -> Option<String> {
    field_in(&format!("/proc/{pid}/status"), field)
}

/// A line of /proc/PID/task/TID/status.
pub(super) fn thread_status_field(pid: u32, tid: u32, field: &str) -> Option<String> {
    field_in(&format!("/proc/{pid}/task/{tid}/status"), field)
}

fn field_in(path: &str, field: &str) -> Option<String> {
    let status = fs::read_to_string(path).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Identifiers of the threads, in the kernel's order.
pub(super) fn threads(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut tids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    tids.sort_unstable();
    tids
}

/// State of a thread as a letter: R, S, D, T, t, Z, X.
pub(super) fn thread_state(pid: u32, tid: u32) -> Option<char> {
    let stat = fs::read(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    // The name stands in brackets, and may hold any character.
    let after = stat.iter().rposition(|&byte| byte == b')')?;
    stat.get(after + 2).map(|&state| char::from(state))
}

/// A thread that is dead, or that nobody has heard of.
pub(super) fn has_ended(pid: u32, tid: u32) -> bool {
    matches!(thread_state(pid, tid), None | Some('Z' | 'X' | 'x'))
}

/// Whether a process still has memory: it gives that up before anything else when it ends.
pub(super) fn has_memory(pid: u32) -> bool {
    let sizes = fs::read_to_string(format!("/proc/{pid}/statm"));
    sizes.is_ok_and(|sizes| !sizes.starts_with("0 "))
}

/// A thread by which a process is reached in /proc: a leader that has ended shows nothing there.
pub(super) fn reachable(pid: u32) -> u32 {
    if !has_ended(pid, pid) {
        return pid;
    }
    let mut others = threads(pid).into_iter();
    others.find(|&tid| !has_ended(pid, tid)).unwrap_or(pid)
}

/// Name of a thread.
pub(super) fn thread_name(pid: u32, tid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

/// Number of the system call that a thread is in; "running" when it is on a processor.
pub(super) fn system_call(tid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{tid}/syscall")).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

/// Mappings in order of address.
pub(super) fn mappings(pid: u32) -> Result<Vec<Mapping>, Error> {
    let text = fs::read(format!("/proc/{pid}/maps")).map_err(|error| {
        Error::new(format!(
            "cannot read the mappings of process {pid}: {error}"
        ))
    })?;
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(mapping)
        .collect())
}

/// `start-end perms offset device inode   name`.
fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let _device = fields.next()?;
    let inode = fields.next()?;
    let name = fields.next().map_or("", str::trim_start);
    let has = |letter| permissions.contains(letter);
    let name = match name {
        "" if inode == "0" => None,
        "" => Some(format!("[inode {inode}]")),
        name => Some(name.to_owned()),
    };
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        read: has('r'),
        write: has('w'),
        execute: has('x'),
        shared: has('s'),
        offset,
        name,
    })
}

/// The auxiliary vector.
pub(super) fn auxiliary(pid: u32) -> Vec<(u64, u64)> {
    super::auxiliary_from(&fs::read(format!("/proc/{pid}/auxv")).unwrap_or_default())
}

/// Path of the executable as the process sees it.
pub(super) fn executable(pid: u32) -> Option<String> {
    let path: PathBuf = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(
        path.to_string_lossy()
            .trim_end_matches(" (deleted)")
            .to_owned(),
    )
}

/// Why a copy of a process might not find room: what its control groups, or the machine, have left is little beside
/// what it may write while the copy lives.
pub(super) fn lack_of_memory(pid: u32) -> Option<String> {
    let kibibytes = |text: &str| text.split_whitespace().next()?.parse::<u64>().ok();
    let used = status_field(pid, "RssAnon")
        .as_deref()
        .and_then(kibibytes)?
        << 10;
    let needed = used / SHARE;
    let left = group_headroom(pid)
        .into_iter()
        .chain(machine_headroom())
        .min()?;
    (left < needed).then(|| {
        format!(
            "only {} MiB of memory are left, and it has {} MiB that it may write to meanwhile",
            left >> 20,
            used >> 20
        )
    })
}

/// A process is expected to write to less than this part of its memory while its copy lives.
const SHARE: u64 = 4;

fn machine_headroom() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// What the strictest memory limit above a process leaves. Pages of files that nobody used lately make room.
fn group_headroom(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let lines = text.lines();
    lines
        .filter_map(|line| HIERARCHIES.iter().find_map(|kind| kind.headroom(line)))
        .min()
}

/// Control groups of one of their two versions.
struct Hierarchy {
    /// The field of a line of /proc/PID/cgroup that names it.
    name: &'static str,
    /// Where it is mounted.
    root: &'static str,
    limit: &'static str,
    used: &'static str,
    /// A line of `memory.stat`.
    unused_files: &'static str,
}

const HIERARCHIES: [Hierarchy; 2] = [
    Hierarchy {
        name: "",
        root: "/sys/fs/cgroup",
        limit: "memory.max",
        used: "memory.current",
        unused_files: "inactive_file ",
    },
    Hierarchy {
        name: "memory",
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        unused_files: "total_inactive_file ",
    },
];

impl Hierarchy {
    /// For a line `number:controllers:path` of this hierarchy.
    fn headroom(&self, line: &str) -> Option<u64> {
        let mut fields = line.splitn(3, ':').skip(1);
        let is_ours = fields.next()?.split(',').any(|name| name == self.name);
        let path = fields.next().filter(|_| is_ours)?.trim_start_matches('/');
        let groups = Path::new(self.root).join(path);
        let groups = groups
            .ancestors()
            .take_while(|group| group.starts_with(self.root));
        groups.filter_map(|group| self.left(group)).min()
    }

    fn left(&self, group: &Path) -> Option<u64> {
        let read = |name| fs::read_to_string(group.join(name)).ok();
        let number = |name| read(name)?.trim().parse::<u64>().ok();
        let limit = number(self.limit)?;
        let files = read("memory.stat").and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(self.unused_files))?;
            line.parse().ok()
        });
        let used = number(self.used)?.saturating_sub(files.unwrap_or(0));
        Some(limit.saturating_sub(used))
    }
}

/// Command line, its words separated by blanks.
pub(super) fn arguments(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = bytes
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty())
        .collect();
    let text = words
        .iter()
        .map(|word| String::from_utf8_lossy(word))
        .collect::<Vec<_>>()
        .join(" ");
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let file =
            mapping("7f00-8f00 r-xp 00001000 08:01 42                 /usr/lib/a b.so").unwrap();
        assert_eq!(
            (file.start, file.end, file.offset),
            (0x7f00, 0x8f00, 0x1000)
        );
        assert_eq!(file.name.as_deref(), Some("/usr/lib/a b.so"));
        assert!(file.read && !file.write && file.execute && !file.shared);
        assert_eq!(
            mapping("1000-2000 rw-s 00000000 00:00 0 ").unwrap().name,
            None
        );
        assert_eq!(
            mapping("1000-2000 rw-p 00000000 00:00 0 [heap]")
                .unwrap()
                .name
                .as_deref(),
            Some("[heap]")
        );
        assert_eq!(mapping("nonsense"), None);
    }

    #[test]
    fn our_own_mappings() {
        let all = mappings(std::process::id()).unwrap();
        let here = our_address();
        assert!(
            all.iter()
                .any(|m| m.start <= here && here < m.end && m.execute)
        );
        assert!(threads(std::process::id()).len() > 1);
    }

    fn our_address() -> u64 {
        our_own_mappings as *const () as u64
    }
}
