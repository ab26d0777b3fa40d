//! What users of mdb may type that is not here, and what to do instead.

/// Names as typed, and the next step.
const ABSENT: [(&[&str], &str); 10] = [
    (
        &["$s"],
        "a symbol covers the addresses within its size, always",
    ),
    (
        &["$w"],
        "rows end where the terminal does; ::set -o autowrap lets them go on",
    ),
    (&["$V"], "::dis knows the one processor that there is"),
    (
        &["::typelist", "::typedef"],
        "::print and ::sizeof find types by their name in the program's debug information",
    ),
    (&["::version"], "umdb --version says it"),
    (&["::term"], "$TERM says it"),
    (
        &["::uniq"],
        "::sort -u gives each address once; ! uniq works on text",
    ),
    (
        &["::dmods", "::load", "::unload", "::which"],
        "there are no modules; ::dcmds and ::walkers list all that is there",
    ),
    (
        &[
            "::attach", "::run", "::cont", "::step", "::next", "::kill", "::bp", "::wp",
            "::events", "::evset",
        ],
        "a process is not run or changed here: umdb -p PID looks at one, umdb run starts one",
    ),
    (&["::write"], "nothing is written to the target"),
];

/// What to do instead of a command of mdb that is not here.
pub fn instead(name: &str) -> Option<&'static str> {
    let found = ABSENT.iter().find(|(names, _)| names.contains(&name));
    found.map(|&(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dcmds::{find, find_shorthand};

    #[test]
    fn what_is_absent_is_absent() {
        for (names, _) in ABSENT {
            for name in names {
                assert!(find_shorthand(name).is_none(), "{name}");
                assert!(find(name.trim_start_matches(':')).is_none(), "{name}");
            }
        }
        assert_eq!(instead("::nothing"), None);
    }
}
