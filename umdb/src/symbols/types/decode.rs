//! One entry of DWARF as a type.

use gimli::{
    AttributeValue, DW_AT_abstract_origin, DW_AT_bit_offset, DW_AT_bit_size, DW_AT_byte_size,
    DW_AT_const_value, DW_AT_count, DW_AT_data_bit_offset, DW_AT_data_member_location,
    DW_AT_declaration, DW_AT_discr, DW_AT_discr_value, DW_AT_encoding, DW_AT_external, DW_AT_name,
    DW_AT_signature, DW_AT_specification, DW_AT_type, DW_AT_upper_bound, DW_AT_virtuality,
    DebuggingInformationEntry, DwAt, Operation, Unit, UnitOffset, constants as tag,
};

use super::{Encoding, Member, Shape, Type, Types, Variants, place_of};
use crate::symbols::lines::Section;

/// Most children of an entry that are looked at.
const CHILDREN_MAX: usize = 1 << 16;

pub(super) type Entry = DebuggingInformationEntry<Section>;

impl Types {
    /// The type whose entry is at a place; what it is made of are such places.
    pub(in crate::symbols) fn at(&self, place: u64) -> Option<Type<u64>> {
        let (unit, at) = self.locate(place)?;
        let entry = unit.entry(at).ok()?;
        // A declaration of what has a unit of its own.
        if let Some(place) = self.reference(unit, &entry, DW_AT_signature) {
            let (unit, at) = self.locate(place)?;
            return Some(self.decode(unit, &unit.entry(at).ok()?));
        }
        Some(self.decode(unit, &entry))
    }

    fn decode(&self, unit: &Unit<Section>, entry: &Entry) -> Type<u64> {
        let size = number(entry, DW_AT_byte_size);
        let target = || self.reference(unit, entry, DW_AT_type);
        let pointer_size = u64::from(unit.header.address_size());
        let name = self.name(unit, entry);
        let plain = |shape| Type {
            name: name.clone(),
            size,
            shape,
        };
        match entry.tag() {
            tag::DW_TAG_base_type => plain(Shape::Base(encoding(entry, name.as_deref()))),
            tag::DW_TAG_pointer_type
            | tag::DW_TAG_reference_type
            | tag::DW_TAG_rvalue_reference_type
            | tag::DW_TAG_ptr_to_member_type => Type {
                size: size.or(Some(pointer_size)),
                ..plain(Shape::Pointer(target()))
            },
            tag::DW_TAG_subroutine_type => plain(Shape::Function),
            tag::DW_TAG_array_type => match target() {
                Some(of) => plain(Shape::Array(of, self.counts(unit, entry))),
                None => plain(Shape::Unknown),
            },
            tag::DW_TAG_structure_type => plain(self.structure(unit, entry, "struct")),
            tag::DW_TAG_class_type => plain(self.structure(unit, entry, "class")),
            tag::DW_TAG_union_type => plain(self.structure(unit, entry, "union")),
            tag::DW_TAG_enumeration_type => plain(Shape::Enum(self.values(unit, entry))),
            tag::DW_TAG_typedef => plain(Shape::Alias("", target())),
            tag::DW_TAG_const_type => plain(Shape::Alias("const", target())),
            tag::DW_TAG_volatile_type => plain(Shape::Alias("volatile", target())),
            tag::DW_TAG_restrict_type | tag::DW_TAG_atomic_type => {
                plain(Shape::Alias("", target()))
            }
            tag::DW_TAG_unspecified_type => plain(Shape::Unknown),
            _ => plain(Shape::Unknown),
        }
    }

    /// The name of an entry, which a definition may have from its declaration.
    pub(super) fn name(&self, unit: &Unit<Section>, entry: &Entry) -> Option<String> {
        if let Some(value) = entry.attr_value(DW_AT_name) {
            let text = self.dwarf.attr_string(unit, value).ok()?;
            return Some(String::from_utf8_lossy(&text).into_owned());
        }
        let origin = [DW_AT_specification, DW_AT_abstract_origin]
            .into_iter()
            .find_map(|at| self.reference(unit, entry, at))?;
        let (unit, at) = self.locate(origin)?;
        let value = unit.entry(at).ok()?.attr_value(DW_AT_name)?;
        let text = self.dwarf.attr_string(unit, value).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// The place to which an attribute leads.
    pub(super) fn reference(&self, unit: &Unit<Section>, entry: &Entry, at: DwAt) -> Option<u64> {
        match entry.attr_value(at)? {
            AttributeValue::UnitRef(offset) => Some(place_of(&unit.header, offset)),
            AttributeValue::DebugInfoRef(offset) => Some(offset.0 as u64),
            AttributeValue::DebugTypesRef(signature) => self.signed(signature.0),
            _ => None,
        }
    }

    /// Calls `each` with the children of an entry.
    fn children(&self, unit: &Unit<Section>, at: UnitOffset, mut each: impl FnMut(&Entry)) {
        let Ok(mut tree) = unit.entries_tree(Some(at)) else {
            return;
        };
        let Ok(root) = tree.root() else { return };
        let mut children = root.children();
        for _ in 0..CHILDREN_MAX {
            match children.next() {
                Ok(Some(child)) => each(child.entry()),
                _ => return,
            }
        }
    }

    /// Elements of each dimension.
    fn counts(&self, unit: &Unit<Section>, entry: &Entry) -> Vec<Option<u64>> {
        let mut counts = Vec::new();
        self.children(unit, entry.offset(), |child| {
            if child.tag() == tag::DW_TAG_subrange_type {
                let last = || number(child, DW_AT_upper_bound).map(|last| last.wrapping_add(1));
                counts.push(number(child, DW_AT_count).or_else(last));
            }
        });
        counts
    }

    fn values(&self, unit: &Unit<Section>, entry: &Entry) -> Vec<(String, i128)> {
        let mut values = Vec::new();
        self.children(unit, entry.offset(), |child| {
            let value = child.attr_value(DW_AT_const_value).and_then(|value| {
                let signed = value.sdata_value().map(i128::from);
                match value {
                    AttributeValue::Udata(value) => Some(i128::from(value)),
                    AttributeValue::Data8(value) => Some(i128::from(value)),
                    _ => signed,
                }
            });
            if let (Some(name), Some(value)) = (self.name(unit, child), value) {
                values.push((name, value));
            }
        });
        values
    }

    fn structure(&self, unit: &Unit<Section>, entry: &Entry, keyword: &'static str) -> Shape<u64> {
        if is_set(entry, DW_AT_declaration) {
            return Shape::Declared(keyword);
        }
        let mut members = Vec::new();
        let mut variants = None;
        self.children(unit, entry.offset(), |child| match child.tag() {
            tag::DW_TAG_member => members.extend(self.member(unit, child)),
            tag::DW_TAG_inheritance => members.extend(self.base(unit, child)),
            tag::DW_TAG_variant_part => variants = Some(self.variants(unit, child)),
            _ => {}
        });
        Shape::Struct {
            keyword,
            members,
            variants,
        }
    }

    /// A member that every value has: none for a static one.
    fn member(&self, unit: &Unit<Section>, entry: &Entry) -> Option<Member<u64>> {
        if is_set(entry, DW_AT_external) || is_set(entry, DW_AT_declaration) {
            return None;
        }
        let of = self.reference(unit, entry, DW_AT_type)?;
        let offset = offset(unit, entry)?;
        let bits = number(entry, DW_AT_bit_size)
            .map(|size| (self.bit_offset(entry, offset, of, size), size));
        Some(Member {
            name: self.name(unit, entry),
            offset: bits.map_or(offset, |(at, _)| at / 8),
            of,
            below: None,
            bits,
        })
    }

    /// Bits from the start of the structure to a bitfield. Before DWARF 4 they are counted from the most significant end
    /// of a unit of storage.
    fn bit_offset(&self, entry: &Entry, offset: u64, of: u64, size: u64) -> u64 {
        if let Some(bits) = number(entry, DW_AT_data_bit_offset) {
            return bits;
        }
        let start = offset.saturating_mul(8);
        match number(entry, DW_AT_bit_offset) {
            None => start,
            Some(from_top) => {
                let storage = number(entry, DW_AT_byte_size)
                    .or_else(|| self.size(of, 0))
                    .unwrap_or(4);
                let below = storage
                    .saturating_mul(8)
                    .wrapping_sub(from_top.wrapping_add(size));
                start.wrapping_add(below)
            }
        }
    }

    /// The part of a value that its base class makes.
    fn base(&self, unit: &Unit<Section>, entry: &Entry) -> Option<Member<u64>> {
        let of = self.reference(unit, entry, DW_AT_type)?;
        let name = self.at(of)?.name?;
        let is_virtual = matches!(
            entry.attr_value(DW_AT_virtuality),
            Some(AttributeValue::Virtuality(tag::DW_VIRTUALITY_virtual))
        );
        let (offset, below) = if is_virtual {
            (0, Some(below_table(unit, entry)?))
        } else {
            (offset(unit, entry)?, None)
        };
        Some(Member {
            name: Some(format!("<{name}>")),
            offset,
            of,
            below,
            bits: None,
        })
    }

    fn variants(&self, unit: &Unit<Section>, entry: &Entry) -> Variants<u64> {
        let discriminant = self.reference(unit, entry, DW_AT_discr).and_then(|place| {
            let (unit, at) = self.locate(place)?;
            self.member(unit, &unit.entry(at).ok()?)
        });
        let mut places = Vec::new();
        self.children(unit, entry.offset(), |child| {
            if child.tag() == tag::DW_TAG_variant {
                places.push((number(child, DW_AT_discr_value), child.offset()));
            }
        });
        let mut list = Vec::new();
        for (value, at) in places {
            self.children(unit, at, |child| {
                if child.tag() == tag::DW_TAG_member {
                    list.extend(self.member(unit, child).map(|member| (value, member)));
                }
            });
        }
        Variants { discriminant, list }
    }

    /// Bytes of a value of a type. Names of names are followed only so far.
    pub(in crate::symbols) fn size(&self, offset: u64, depth: u32) -> Option<u64> {
        let found = self.at(offset).filter(|_| depth < 32)?;
        if found.size.is_some() {
            return found.size;
        }
        match found.shape {
            Shape::Alias(_, Some(of)) => self.size(of, depth + 1),
            Shape::Array(of, counts) => counts
                .iter()
                .try_fold(self.size(of, depth + 1)?, |size, count| {
                    size.checked_mul((*count)?)
                }),
            _ => None,
        }
    }
}

/// An attribute as a number without sign.
pub(super) fn number(entry: &Entry, at: DwAt) -> Option<u64> {
    let value = entry.attr_value(at)?;
    value
        .udata_value()
        .or_else(|| value.sdata_value().map(i64::cast_unsigned))
}

pub(super) fn is_set(entry: &Entry, at: DwAt) -> bool {
    matches!(entry.attr_value(at), Some(AttributeValue::Flag(true)))
}

/// Bytes from the start of the structure to a member; none where they have to be computed (virtual bases).
fn offset(unit: &Unit<Section>, entry: &Entry) -> Option<u64> {
    match entry.attr_value(DW_AT_data_member_location) {
        None => Some(0),
        Some(AttributeValue::Exprloc(expression)) => {
            let mut operations = expression.operations(unit.encoding());
            match (operations.next().ok()??, operations.next().ok()?) {
                (Operation::PlusConstant { value }, None) => Some(value),
                _ => None,
            }
        }
        Some(_) => number(entry, DW_AT_data_member_location),
    }
}

/// For a virtual base class: how far below the table of its class the offset of the base stands. All compilers that follow
/// the Itanium ABI write the same six operations: the first word of the value, less a number, is where to read what is to
/// be added.
fn below_table(unit: &Unit<Section>, entry: &Entry) -> Option<u64> {
    let AttributeValue::Exprloc(expression) = entry.attr_value(DW_AT_data_member_location)? else {
        return None;
    };
    let mut operations = expression.operations(unit.encoding());
    let mut all = Vec::new();
    while let Some(operation) = operations.next().ok()?.filter(|_| all.len() < 7) {
        all.push(operation);
    }
    match all[..] {
        [
            Operation::Pick { index: 0 },
            Operation::Deref { .. },
            Operation::UnsignedConstant { value },
            Operation::Minus,
            Operation::Deref { .. },
            Operation::Plus,
        ] => Some(value),
        _ => None,
    }
}

fn encoding(entry: &Entry, name: Option<&str>) -> Encoding {
    let Some(AttributeValue::Encoding(encoding)) = entry.attr_value(DW_AT_encoding) else {
        return Encoding::Other;
    };
    match encoding {
        tag::DW_ATE_signed => Encoding::Signed,
        tag::DW_ATE_unsigned | tag::DW_ATE_address => Encoding::Unsigned,
        tag::DW_ATE_float => Encoding::Float,
        tag::DW_ATE_boolean => Encoding::Boolean,
        tag::DW_ATE_signed_char | tag::DW_ATE_unsigned_char if name == Some("char") => {
            Encoding::Character
        }
        tag::DW_ATE_signed_char => Encoding::Signed,
        tag::DW_ATE_unsigned_char => Encoding::Unsigned,
        tag::DW_ATE_UTF => Encoding::Unicode,
        _ => Encoding::Other,
    }
}
