//! The program's own types, from DWARF.
//!
//! A type is decoded when it is asked for, one entry at a time: what it is made of are [`TypeId`]s. Names are searched
//! for unit by unit, and what was found is kept.

mod decode;
mod search;

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    sync::Arc,
};

use gimli::{Unit, UnitHeader, UnitOffset, UnitType};

use super::lines::{Dwarf, Section};
pub use search::normal;

/// A type of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeId {
    /// Index of the module in [`super::Symbols`].
    pub(super) module: u32,
    /// Where its entry is, see [`place_of`].
    pub(super) offset: u64,
}

/// A type. `R` names the types that it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type<R> {
    /// As a program writes it; none for what has no name.
    pub name: Option<String>,
    /// Bytes of a value, where known.
    pub size: Option<u64>,
    /// What it is.
    pub shape: Shape<R>,
}

/// What a type is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape<R> {
    /// Nothing, or something that we do not know.
    Unknown,
    /// A number.
    Base(Encoding),
    /// An address; of nothing known for `void *`.
    Pointer(Option<R>),
    /// A function.
    Function,
    /// Elements in a row; no count where it is not known.
    Array(R, Vec<Option<u64>>),
    /// A structure or class (`struct`) or union.
    Struct {
        /// `struct`, `class` or `union`.
        keyword: &'static str,
        /// Its members in order of declaration.
        members: Vec<Member<R>>,
        /// Of an enum of Rust: which members there are at a time.
        variants: Option<Variants<R>>,
    },
    /// A structure of which only the name is known here.
    Declared(&'static str),
    /// Names of numbers.
    Enum(Vec<(String, i128)>),
    /// Another name, or a qualifier: `const`.
    Alias(&'static str, Option<R>),
}

/// What the bits of a number mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// With sign.
    Signed,
    /// Without.
    Unsigned,
    /// IEEE 754.
    Float,
    /// Zero is false.
    Boolean,
    /// A character of one byte.
    Character,
    /// A character of Unicode.
    Unicode,
    /// Something else.
    Other,
}

/// A member of a structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<R> {
    /// Its name; none for an anonymous structure.
    pub name: Option<String>,
    /// Bytes from the start of the structure.
    pub offset: u64,
    /// Its type.
    pub of: R,
    /// Of a virtual base class, which stands where the value itself says: bytes below the table that its first
    /// word leads to, where the offset is that counts instead of `offset`.
    pub below: Option<u64>,
    /// For a bitfield: bits from the start of the structure, and how many.
    pub bits: Option<(u64, u64)>,
}

/// The variants of an enum of Rust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variants<R> {
    /// What says which variant it is; none where there is only one.
    pub discriminant: Option<Member<R>>,
    /// Value of the discriminant, none for all others, and the variant as a member.
    pub list: Vec<(Option<u64>, Member<R>)>,
}

impl<R> Member<R> {
    fn map<S>(self, make: &impl Fn(R) -> S) -> Member<S> {
        Member {
            name: self.name,
            offset: self.offset,
            of: make(self.of),
            below: self.below,
            bits: self.bits,
        }
    }
}

impl<R> Type<R> {
    /// The same with other names for the types that it is made of.
    pub fn map<S>(self, make: impl Fn(R) -> S) -> Type<S> {
        let shape = match self.shape {
            Shape::Unknown => Shape::Unknown,
            Shape::Base(encoding) => Shape::Base(encoding),
            Shape::Pointer(to) => Shape::Pointer(to.map(&make)),
            Shape::Function => Shape::Function,
            Shape::Array(of, counts) => Shape::Array(make(of), counts),
            Shape::Declared(keyword) => Shape::Declared(keyword),
            Shape::Enum(values) => Shape::Enum(values),
            Shape::Alias(word, to) => Shape::Alias(word, to.map(&make)),
            Shape::Struct {
                keyword,
                members,
                variants,
            } => Shape::Struct {
                keyword,
                members: members
                    .into_iter()
                    .map(|member| member.map(&make))
                    .collect(),
                variants: variants.map(|variants| Variants {
                    discriminant: variants.discriminant.map(|member| member.map(&make)),
                    list: variants
                        .list
                        .into_iter()
                        .map(|(value, member)| (value, member.map(&make)))
                        .collect(),
                }),
            },
        };
        Type {
            name: self.name,
            size: self.size,
            shape,
        }
    }
}

/// A unit, once it was read; nothing when it could not be.
type Lazy = OnceCell<Option<Unit<Section>>>;

/// The types of one module.
pub(super) struct Types {
    dwarf: Arc<Dwarf>,
    /// Units in order of offset, each read when it is first needed.
    units: Vec<(UnitHeader<Section>, Lazy)>,
    /// What was found by name.
    found: RefCell<HashMap<String, Option<u64>>>,
    /// Where the types are that are named by a signature, read when first needed.
    signatures: OnceCell<HashMap<u64, u64>>,
    /// Types of variables by address, read when first needed.
    variables: OnceCell<HashMap<u64, u64>>,
}

/// Set in places that are in `.debug_types`.
const IN_TYPES: u64 = 1 << 62;

/// Where an entry is: its offset in `.debug_info`, or with [`IN_TYPES`] that in `.debug_types`.
fn place_of(header: &UnitHeader<Section>, at: UnitOffset) -> u64 {
    start_of(header).saturating_add(at.0 as u64)
}

fn start_of(header: &UnitHeader<Section>) -> u64 {
    let in_types = header.debug_types_offset();
    let in_types = in_types.map(|offset| IN_TYPES | offset.0 as u64);
    in_types.unwrap_or_else(|| {
        header
            .debug_info_offset()
            .map_or(0, |offset| offset.0 as u64)
    })
}

impl Types {
    pub(super) fn new(dwarf: Arc<Dwarf>) -> Self {
        let mut units = Vec::new();
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            units.push((header, OnceCell::new()));
        }
        let mut headers = dwarf.type_units();
        while let Ok(Some(header)) = headers.next() {
            units.push((header, OnceCell::new()));
        }
        Self {
            dwarf,
            units,
            found: RefCell::default(),
            signatures: OnceCell::new(),
            variables: OnceCell::new(),
        }
    }

    fn unit(&self, index: usize) -> Option<&Unit<Section>> {
        let (header, unit) = self.units.get(index)?;
        unit.get_or_init(|| self.dwarf.unit(header.clone()).ok())
            .as_ref()
    }

    /// The unit that holds a place, and where it is there.
    fn locate(&self, place: u64) -> Option<(&Unit<Section>, UnitOffset)> {
        let after = self
            .units
            .partition_point(|(header, _)| start_of(header) <= place);
        let unit = self.unit(after.checked_sub(1)?)?;
        let at = place.checked_sub(start_of(&unit.header))?;
        let at = UnitOffset(usize::try_from(at).ok()?);
        at.is_in_bounds(&unit.header).then_some((unit, at))
    }

    /// The place of the type with a signature.
    fn signed(&self, signature: u64) -> Option<u64> {
        let signatures = self.signatures.get_or_init(|| {
            let of_unit = |(header, _): &(UnitHeader<Section>, Lazy)| match header.type_() {
                UnitType::Type {
                    type_signature,
                    type_offset,
                } => Some((type_signature.0, place_of(header, type_offset))),
                _ => None,
            };
            self.units.iter().filter_map(of_unit).collect()
        });
        signatures.get(&signature).copied()
    }
}
