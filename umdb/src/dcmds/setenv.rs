//! `::setenv`: the environment of the programs that umdb starts.

use super::{Context, Dcmd, Error, Group, Invocation, Run};
use crate::report::{Cell, Item, List, Report, Sentence};

pub(super) const DCMD: Dcmd = Dcmd {
    name: "setenv",
    group: Group::Session,
    operands: "[NAME=VALUE | NAME VALUE]",
    summary: "set a variable of the environment of shell commands and the pager",
    help: HELP,
    see: &["unsetenv", "getenv"],
    run: Run::Report(run),
    ..Dcmd::PLAIN
};

const HELP: &str = "\
Sets a variable in the environment of the programs that umdb starts: those behind !
and the pager. PAGER and SHELL say from then on which programs these are. Without
words it lists what was changed.

    > ::setenv

    > ::setenv PAGER=\"less -S\"

    > ::setenv LC_ALL=C; ::walk umem_cache ! sort

Nothing is written to the target: its own environment, which ::getenv shows, stays as
it is. The first ::setenv of a session says so. To give a program another environment,
start it with one: env NAME=VALUE umdb run -- PROGRAM.";

/// Said once in a session, for in mdb it is the target's environment that changes.
pub(super) const NOTE: &str = "this concerns shell commands and the pager alone: the environment of the target, which ::getenv \
                               shows, is not changed";

fn run(cx: &Context<'_>, invocation: &Invocation) -> Result<Report, Error> {
    let (name, value) = match &invocation.operands[..] {
        [] => return Ok(list(cx)),
        [word] => word
            .split_once('=')
            .ok_or_else(|| DCMD.misused(format!("expected = and a value behind \"{word}\"")))?,
        [name, value] => (name.as_str(), value.as_str()),
        [_, _, third, ..] => {
            return Err(DCMD.misused(format!(
                "unexpected argument \"{third}\": a value with blanks needs quotes"
            )));
        }
    };
    check_name(&DCMD, name)?;
    if value.contains('\0') {
        return Err(DCMD.misused("a value holds no zero byte"));
    }
    Ok(change(cx, &DCMD, name, Some(value.to_owned())))
}

/// Whether a variable can be called so.
pub(super) fn check_name(dcmd: &Dcmd, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(dcmd.misused(format!(
            "expected the name of a variable, not \"{}\"",
            name.escape_debug()
        )));
    }
    Ok(())
}

/// Changes a variable (None takes it away), and says once what that does not change.
pub(super) fn change(cx: &Context<'_>, dcmd: &Dcmd, name: &str, value: Option<String>) -> Report {
    let mut changes = cx.state().environment.borrow_mut();
    let mut report = Report::default();
    if changes.is_empty() {
        report.warn(format!("{}: {NOTE}", dcmd.name));
    }
    changes.insert(name.to_owned(), value);
    report
}

fn list(cx: &Context<'_>) -> Report {
    let changes = cx.state().environment.borrow();
    let items = changes.iter().map(|(name, value)| {
        let name = Sentence::new().value("name", Cell::text(name));
        Item::from(match value {
            Some(value) => name.words("=").value("value", Cell::text(value)),
            None => name.words(" is taken away").hidden("value", Cell::Unknown),
        })
    });
    Report::of(List {
        key: "environment",
        items: items.collect(),
        ..List::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        analysis::Cancel,
        dcmds::{Context, Run, find},
        heap::synthetic::victim,
        render::write_text,
        symbols::Symbols,
    };

    #[test]
    fn what_programs_get_is_set_and_taken_away() {
        let (mut builder, _) = victim();
        builder.publish();
        let (target, heap, cancel) = (builder.target(), builder.heap(), Cancel::new());
        let symbols = Symbols::new(&target);
        let cx = Context::new(&target, &symbols, &heap, &cancel);
        let run = |name: &str, words: &[&str]| {
            let dcmd = find(name).unwrap();
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let Run::Report(run) = dcmd.run else {
                panic!("{name}")
            };
            dcmd.parse(None, &words).and_then(|words| run(&cx, &words))
        };
        // The first change of a session says what is not changed, the others do not.
        let first = run("setenv", &["A=b=c"]).unwrap();
        assert!(first.warnings[0].what.contains("the target"));
        assert!(run("setenv", &["B", "x y"]).unwrap().warnings.is_empty());
        run("unsetenv", &["C", "B"]).unwrap();
        let all = write_text(&run("setenv", &[]).unwrap());
        assert_eq!(all, "A=b=c\nB is taken away\nC is taken away\n");
        for wrong in [
            &["A"][..],
            &["=x"],
            &["", "x"],
            &["a=b", "x"],
            &["a", "b", "c"],
        ] {
            let error = run("setenv", wrong).unwrap_err();
            assert!(error.ends_loop(), "{wrong:?}: {error}");
        }
        assert!(run("unsetenv", &[]).is_err() && run("unsetenv", &["a=b"]).is_err());
    }
}
