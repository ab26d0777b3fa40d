//! From a value to its parts: what `a.b->c[3]` means.

use super::{
    args::Dcmd,
    context::{Context, Error},
    show::Printer,
    types::{Kind, Step},
};
use crate::symbols::{Shape, Type, TypeMember, Variants};

/// Where a value is: its type and its address, and for a bitfield its bits.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its type.
    pub kind: Kind,
    /// Its address.
    pub at: u64,
    /// Bits from `at`, and how many.
    pub bits: Option<(u64, u64)>,
}

/// Why steps lead nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nowhere {
    /// The type has no such part.
    #[error("{0}")]
    NoPart(String),
    /// A pointer on the way.
    #[error("failed to read data at {0:x}")]
    Unread(u64),
}

impl From<String> for Nowhere {
    fn from(what: String) -> Self {
        Self::NoPart(what)
    }
}

impl Nowhere {
    /// What a command says of it: a part that no type has was typed in vain.
    pub fn error(&self, dcmd: &Dcmd, what: &str, next: &str) -> Error {
        let what = format!("{}: {what}{self}", dcmd.name);
        match self {
            Self::NoPart(_) => dcmd.senseless(&what, next),
            Self::Unread(_) => Error::with_hint(what, next),
        }
    }
}

impl Printer<'_> {
    /// The part of a value to which steps lead; pointers are followed.
    ///
    /// # Errors
    /// What there is not.
    pub fn step(&mut self, mut place: Place, steps: &[Step]) -> Result<Place, Nowhere> {
        for step in steps {
            let mut found = self.found(&place)?;
            if let Shape::Pointer(to) = &found.shape {
                let to = to.clone().ok_or_else(|| "void has no members".to_owned())?;
                let at = self.number(&place).ok_or(Nowhere::Unread(place.at))?;
                place = Place {
                    kind: to,
                    at,
                    bits: None,
                };
                if let Step::Index(index) = step {
                    let size = self.cx.type_size(&place.kind).unwrap_or(0);
                    place.at = at.wrapping_add(index.wrapping_mul(size));
                    continue;
                }
                found = self.found(&place)?;
            }
            place = self.part(&place, &found, step)?;
        }
        Ok(place)
    }

    fn found(&self, place: &Place) -> Result<Type<Kind>, String> {
        self.cx
            .resolved(&place.kind)
            .ok_or_else(|| format!("{} is not defined here", self.cx.type_name(&place.kind)))
    }

    fn part(&mut self, place: &Place, found: &Type<Kind>, step: &Step) -> Result<Place, String> {
        match (step, &found.shape) {
            (Step::Index(index), Shape::Array(of, counts)) => {
                // What is left of the dimensions counts as one element.
                let below: u64 = counts.iter().skip(1).flatten().product();
                let size = self.cx.type_size(of).unwrap_or(0).wrapping_mul(below);
                let kind = match counts.len() {
                    0 | 1 => of.clone(),
                    _ => Kind::Array(Box::new(of.clone()), below),
                };
                Ok(Place {
                    kind,
                    at: place.at.wrapping_add(index.wrapping_mul(size)),
                    bits: None,
                })
            }
            (
                Step::Member(name),
                Shape::Struct {
                    members, variants, ..
                },
            ) => self
                .member(place, members, variants.as_ref(), name, 0)
                .ok_or_else(|| format!("{} has no member {name}", self.cx.type_name(&place.kind))),
            (Step::Member(name), _) => {
                let of = self.cx.type_name(&place.kind);
                Err(format!("{of} is no structure: it has no member {name}"))
            }
            (Step::Index(_), _) => Err(format!("{} is no array", self.cx.type_name(&place.kind))),
        }
    }

    /// The member with a name, also of structures without name, of base classes and of variants.
    fn member(
        &self,
        place: &Place,
        members: &[TypeMember<Kind>],
        variants: Option<&Variants<Kind>>,
        name: &str,
        depth: u32,
    ) -> Option<Place> {
        let of_variants = variants.into_iter().flat_map(|variants| &variants.list);
        let own = members
            .iter()
            .find(|member| member.name.as_deref() == Some(name));
        let variant = of_variants
            .map(|(_, member)| member)
            .find(|member| member.name.as_deref() == Some(name));
        if let Some(member) = own.or(variant) {
            return part(self.cx, place, member);
        }
        let is_open = |member: &&TypeMember<Kind>| {
            member
                .name
                .as_deref()
                .is_none_or(|name| name.starts_with('<'))
        };
        let mut inner = members.iter().filter(is_open).filter(|_| depth < 8);
        inner.find_map(|member| {
            let place = part(self.cx, place, member)?;
            let Shape::Struct {
                members, variants, ..
            } = self.cx.resolved(&place.kind)?.shape
            else {
                return None;
            };
            self.member(&place, &members, variants.as_ref(), name, depth + 1)
        })
    }
}

/// Where a member of a value is; none for a virtual base class where the value does not say.
pub fn part(cx: &Context<'_>, place: &Place, member: &TypeMember<Kind>) -> Option<Place> {
    let offset = match member.below {
        None => member.offset,
        Some(below) => {
            let memory = &cx.target.memory;
            let table = memory.read_u64(place.at)?;
            memory.read_u64(table.wrapping_sub(below))?
        }
    };
    let at = place.at.wrapping_add(offset);
    Some(Place {
        kind: member.of.clone(),
        at,
        bits: member
            .bits
            .map(|(first, count)| (first.wrapping_sub(member.offset.wrapping_mul(8)) & 7, count)),
    })
}
