//! Opens what is to be looked at: target, names, root record, heap.

use std::sync::Arc;

use crate::{
    heap::Heap,
    layout::{RootError, find_root},
    symbols::Symbols,
    target::{self, Kind, NAMELESS, Target},
};

use super::cli::What;

/// Name of the allocator's file.
pub(super) const LIBRARY: &str = "libumem.so";

/// All that commands work with.
pub(super) struct Opened {
    /// The target.
    pub(super) target: Target,
    /// Names for its addresses.
    pub(super) symbols: Symbols,
    /// Its heap.
    pub(super) heap: Heap,
}

/// Why something could not be opened.
pub(super) struct Failure {
    /// One line.
    pub(super) what: String,
    /// The next step.
    pub(super) hint: Option<String>,
}

impl From<target::Error> for Failure {
    fn from(error: target::Error) -> Self {
        Self {
            what: error.what,
            hint: error.hint,
        }
    }
}

/// Opens a process or a core.
pub(super) fn open(what: &What) -> Result<Opened, Failure> {
    let target = match what {
        What::Process(pid, how) => Target::attach(*pid, *how)?,
        What::Core(core, program, sysroot) => {
            Target::open_core(core, program.as_deref(), sysroot.as_deref())?
        }
    };
    model(target).map_err(|refused| refused.1)
}

/// Finds the allocator in a target and decodes its heap. Gives the target back when there is none.
pub(super) fn model(target: Target) -> Result<Opened, Box<(Target, Failure)>> {
    let symbols = Symbols::new(&target);
    match find_root(&target, &symbols) {
        Ok(root) => {
            let heap = Heap::load(Arc::clone(&target.memory), root);
            let mut target = target;
            let symbols = if name_modules(&mut target, &heap) {
                Symbols::new(&target)
            } else {
                symbols
            };
            target.warnings.extend(missing_heap(&target, &heap));
            Ok(Opened {
                target,
                symbols,
                heap,
            })
        }
        Err(error) => {
            let failure = explain(&target, &error);
            Err(Box::new((target, failure)))
        }
    }
}

/// Gives modules whose names a core has lost those that the library noted when it met them on a stack. Whether there are any.
fn name_modules(target: &mut Target, heap: &Heap) -> bool {
    let mut is_any = false;
    for module in &mut target.modules {
        if !module.path.starts_with(NAMELESS) {
            continue;
        }
        let eras = heap.modules().0.iter().filter(|era| !era.is_over());
        let mut known = eras.map(|era| &era.module);
        let found = known.find(|then| {
            let has_id = module.build_id.as_ref() == Some(&then.build_id);
            then.base == module.start && has_id && !then.path.is_empty()
        });
        if let Some(then) = found {
            let nameless = std::mem::replace(&mut module.path, then.path.clone());
            module.name = then.file_name().to_owned();
            let mappings = target.mappings.iter_mut();
            mappings
                .filter(|mapping| mapping.name.as_ref() == Some(&nameless))
                .for_each(|mapping| mapping.name = Some(then.path.clone()));
            is_any = true;
        }
    }
    is_any
}

/// How much of the heap a core that was cut off lacks.
fn missing_heap(target: &Target, heap: &Heap) -> Option<String> {
    let (all, missing) = target.held_and_missing(&heap.span_ranges());
    (missing > 0).then(|| {
        let percent = (u128::from(missing) * 100).div_ceil(u128::from(all));
        format!("{percent} % of the heap is missing ({missing} of {all} bytes)")
    })
}

/// What is said when there is no allocator of ours, or none that we understand.
fn explain(target: &Target, error: &RootError) -> Failure {
    let missing = target.warnings.first().cloned();
    match error {
        RootError::NotFound if is_cut_off(target) => Failure {
            what: format!(
                "{}: it is cut off before the heap of {LIBRARY} and before its data",
                subject(target)
            ),
            hint: missing,
        },
        RootError::NotFound => match target.modules.iter().find(|module| module.name.starts_with(LIBRARY)) {
            Some(module) => Failure {
                what: format!("{}: cannot find the root record of {}", subject(target), module.path),
                hint: missing.or_else(|| Some("is this the libumem.so that came with umdb?".to_owned())),
            },
            None => Failure {
                what: format!("{} {} under {LIBRARY}", subject(target), verb(target)),
                hint: Some(missing.unwrap_or_else(|| {
                    format!("start the program with LD_PRELOAD=/path/{LIBRARY} UMEM_DEBUG=default, or with umdb run")
                })),
            },
        },
        RootError::Version { .. } => Failure {
            what: format!("{}: {error}", subject(target)),
            hint: Some(format!("use the umdb that came with this {LIBRARY}")),
        },
        _ => Failure { what: format!("{}: {error}", subject(target)), hint: missing },
    }
}

/// Whether a core lacks memory of the allocator's own file, or of any where it does not name them.
fn is_cut_off(target: &Target) -> bool {
    let is_nameless = |mapping: &&crate::target::Mapping| {
        mapping
            .name
            .as_deref()
            .is_none_or(|name| name.starts_with(NAMELESS))
    };
    if target
        .mappings
        .iter()
        .filter(|mapping| !is_nameless(mapping))
        .count()
        == 0
    {
        return target.held_and_missing(&[(0, u64::MAX)]).1 > 0;
    }
    let is_library = |name: &str| {
        name.rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with(LIBRARY))
    };
    let mut mappings = target.mappings.iter();
    mappings.any(|mapping| {
        mapping.name.as_deref().is_some_and(is_library)
            && target.held_and_missing(&[(mapping.start, mapping.end)]).1 > 0
    })
}

fn subject(target: &Target) -> String {
    match &target.kind {
        Kind::Live { pid } | Kind::Exiting { pid } => format!("process {pid}"),
        Kind::Core { path } => format!("core file {}", path.display()),
        Kind::Synthetic => "the image".to_owned(),
    }
}

fn verb(target: &Target) -> &'static str {
    match target.kind {
        Kind::Live { .. } => "does not run",
        Kind::Exiting { .. } => "did not run",
        Kind::Core { .. } | Kind::Synthetic => "is not of a process that ran",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::synthetic::{ROOT, victim};
    use umem_layout::{LAYOUT_MAJOR, LAYOUT_MINOR};

    /// The message for a victim whose note leads to the root, after something was changed.
    fn message(change: impl FnOnce(&mut crate::heap::synthetic::Builder, &mut Target)) -> String {
        let (mut builder, _) = victim();
        builder.publish();
        let note = crate::heap::synthetic::NOTE;
        let mut target = builder.target();
        let library = target
            .modules
            .iter_mut()
            .find(|module| module.name == LIBRARY)
            .unwrap();
        library.notes = vec![(note, 28)];
        change(&mut builder, &mut target);
        target.memory = Arc::new(builder.image.clone());
        match model(target) {
            Ok(_) => "opened".to_owned(),
            Err(refused) => format!("{}; {}", refused.1.what, refused.1.hint.unwrap_or_default()),
        }
    }

    #[test]
    fn the_note_leads_to_the_heap() {
        assert_eq!(message(|_, _| {}), "opened");
    }

    #[test]
    fn another_layout_is_refused_with_both_versions() {
        let text = message(|builder, _| builder.image.write(ROOT + 8, &[9, 0, 4, 0]));
        let expected = format!(
            "the image: libumem.so publishes layout 9.4, this umdb reads layout {LAYOUT_MAJOR}.{LAYOUT_MINOR}; \
             use the umdb that came with this libumem.so"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_target_without_allocator_is_named() {
        let text = message(|_, target| target.modules.retain(|module| module.is_program));
        assert!(text.starts_with(
            "the image is not of a process that ran under libumem.so; start the program with"
        ));
    }

    #[test]
    fn a_root_record_that_is_not_there_is_named() {
        let text = message(|builder, _| builder.image.write(ROOT, &[0; 8]));
        assert!(
            text.contains("is no root record: its magic is 0x0"),
            "{text}"
        );
    }
}
