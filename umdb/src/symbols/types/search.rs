//! Types by name, and types of variables.

use std::collections::HashMap;

use gimli::{
    AttributeValue, DW_AT_declaration, DW_AT_location, DW_AT_signature, DW_AT_type,
    EntriesTreeNode, Operation, Unit, UnitType, constants as tag,
};

use super::{
    Types,
    decode::{Entry, is_set},
    place_of,
};
use crate::symbols::lines::Section;

/// Namespaces and structures are searched so deep.
const DEPTH_MAX: usize = 16;

/// A name as it was typed: `struct ns::name`.
struct Wanted {
    keyword: Option<&'static str>,
    /// Parts between `::`, the last one first.
    path: Vec<String>,
}

/// Words that may stand before a name.
const KEYWORDS: [&str; 4] = ["struct", "union", "enum", "class"];

impl Wanted {
    fn parse(text: &str) -> Self {
        let text = text.trim();
        let keyword = KEYWORDS.into_iter().find(|word| {
            text.strip_prefix(word)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let rest = keyword.map_or(text, |word| &text[word.len()..]);
        let mut path: Vec<String> = parts(rest).into_iter().map(normal).collect();
        path.reverse();
        Self { keyword, path }
    }

    /// Whether an entry in these namespaces, outermost first, is meant.
    fn is(&self, keyword: Option<&str>, name: &str, outer: &[String]) -> bool {
        let is_kind = match (self.keyword, keyword) {
            (None, _) => true,
            // A class and a structure are the same to a linker and to programmers.
            (Some("struct" | "class"), Some("struct" | "class")) => true,
            (wanted, found) => wanted == found,
        };
        let Some((last, before)) = self.path.split_first() else {
            return false;
        };
        is_kind
            && normal(name.to_owned()) == *last
            && before.len() <= outer.len()
            && before.iter().zip(outer.iter().rev()).all(|(a, b)| a == b)
    }
}

/// The parts of a name between `::`, but not within angle brackets.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_i32;
    let mut rest = name.trim();
    while let Some(c) = rest.chars().next() {
        if depth == 0
            && let Some(behind) = rest.strip_prefix("::")
        {
            parts.push(String::new());
            rest = behind;
            continue;
        }
        depth += i32::from(c == '<') - i32::from(c == '>');
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Words of a name in one order: `unsigned long` and `long unsigned int` are the same.
#[must_use]
pub fn normal(name: String) -> String {
    const WORDS: [&str; 6] = ["unsigned", "signed", "long", "short", "int", "char"];
    let mut words: Vec<&str> = name.split_whitespace().collect();
    if words.len() < 2 || !words.iter().all(|word| WORDS.contains(word)) {
        return name.trim().to_owned();
    }
    words.retain(|word| *word != "int");
    if !words.contains(&"char") {
        words.retain(|word| *word != "signed");
    }
    words.sort_unstable();
    if words.is_empty() {
        "int".to_owned()
    } else {
        words.join(" ")
    }
}

/// The word before the name of what an entry declares; none for a type without such a word, nothing for no type.
fn kind(entry: &Entry) -> Option<Option<&'static str>> {
    match entry.tag() {
        tag::DW_TAG_structure_type => Some(Some("struct")),
        tag::DW_TAG_class_type => Some(Some("class")),
        tag::DW_TAG_union_type => Some(Some("union")),
        tag::DW_TAG_enumeration_type => Some(Some("enum")),
        tag::DW_TAG_typedef | tag::DW_TAG_base_type => Some(None),
        _ => None,
    }
}

impl Types {
    /// The place of the type with a name. A name without namespaces is found in any.
    pub(in crate::symbols) fn named(&self, name: &str) -> Option<u64> {
        if let Some(&known) = self.found.borrow().get(name) {
            return known;
        }
        let wanted = Wanted::parse(name);
        let found = (0..self.units.len()).find_map(|index| {
            let unit = self.unit(index)?;
            let mut tree = unit.entries_tree(None).ok()?;
            let root = tree.root().ok()?;
            self.search(unit, root, &wanted, &mut Vec::new())
        });
        self.found.borrow_mut().insert(name.to_owned(), found);
        found
    }

    fn search(
        &self,
        unit: &Unit<Section>,
        node: EntriesTreeNode<'_, '_, Section>,
        wanted: &Wanted,
        outer: &mut Vec<String>,
    ) -> Option<u64> {
        let mut children = node.children();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            let is_namespace = entry.tag() == tag::DW_TAG_namespace;
            let kind = kind(entry);
            if kind.is_none() && !is_namespace {
                continue;
            }
            let name = self.name(unit, entry).unwrap_or_default();
            if let Some(keyword) = kind
                && wanted.is(keyword, &name, outer)
                && let Some(place) = self.definition(unit, entry)
            {
                return Some(place);
            }
            if entry.has_children() && outer.len() < DEPTH_MAX {
                outer.push(name);
                let found = self.search(unit, child, wanted, outer);
                outer.pop();
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Where a type is defined: here, or for a declaration in the unit that its signature names. A unit of one type declares
    /// the namespaces that it stands in and, within these, the type.
    fn definition(&self, unit: &Unit<Section>, entry: &Entry) -> Option<u64> {
        let here = place_of(&unit.header, entry.offset());
        if !is_set(entry, DW_AT_declaration) {
            return Some(here);
        }
        if let Some(place) = self.reference(unit, entry, DW_AT_signature) {
            return Some(place);
        }
        let UnitType::Type { type_offset, .. } = unit.header.type_() else {
            return None;
        };
        let defined = unit.entry(type_offset).ok()?;
        let declared = self.reference(unit, &defined, gimli::DW_AT_specification);
        (declared == Some(here)).then(|| place_of(&unit.header, type_offset))
    }

    /// The place of the type of the variable at an address, as the file counts it.
    pub(in crate::symbols) fn of_variable(&self, address: u64) -> Option<u64> {
        let variables = self.variables.get_or_init(|| {
            let mut variables = HashMap::new();
            for index in 0..self.units.len() {
                if let Some(unit) = self.unit(index) {
                    self.add_variables(unit, &mut variables);
                }
            }
            variables
        });
        variables.get(&address).copied()
    }

    /// Variables with a fixed address, those of functions too.
    fn add_variables(&self, unit: &Unit<Section>, variables: &mut HashMap<u64, u64>) {
        let mut entries = unit.entries();
        while let Ok(Some(entry)) = entries.next_dfs() {
            if entry.tag() != tag::DW_TAG_variable {
                continue;
            }
            let Some(address) = self.address_of(unit, entry) else {
                continue;
            };
            if let Some(of) = self.declared_type(unit, entry, 0) {
                variables.insert(address, of);
            }
        }
    }

    /// The type of a variable, which its definition may have from its declaration.
    fn declared_type(&self, unit: &Unit<Section>, entry: &Entry, depth: u32) -> Option<u64> {
        if let Some(of) = self.reference(unit, entry, DW_AT_type) {
            return Some(of);
        }
        let at = [gimli::DW_AT_specification, gimli::DW_AT_abstract_origin]
            .into_iter()
            .find_map(|at| self.reference(unit, entry, at))
            .filter(|_| depth < 4)?;
        let (unit, at) = self.locate(at)?;
        self.declared_type(unit, &unit.entry(at).ok()?, depth + 1)
    }

    fn address_of(&self, unit: &Unit<Section>, entry: &Entry) -> Option<u64> {
        let AttributeValue::Exprloc(expression) = entry.attr_value(DW_AT_location)? else {
            return None;
        };
        let mut operations = expression.operations(unit.encoding());
        let address = match operations.next().ok()?? {
            Operation::Address { address } => address,
            Operation::AddressIndex { index } => self.dwarf.address(unit, index).ok()?,
            _ => return None,
        };
        operations.next().ok()?.is_none().then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_outside_of_brackets() {
        assert_eq!(parts("a::b<c::d>::e"), ["a", "b<c::d>", "e"]);
        assert_eq!(parts("::a"), ["a"]);
        let wanted = Wanted::parse("struct ns::session");
        let outer = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert!(wanted.is(Some("class"), "session", &outer(&["top", "ns"])));
        assert!(!wanted.is(Some("union"), "session", &outer(&["ns"])));
        assert!(!wanted.is(Some("struct"), "session", &outer(&["other"])));
        assert!(!wanted.is(Some("struct"), "session", &[]));
        assert!(Wanted::parse("session").is(Some("struct"), "session", &outer(&["ns"])));
        assert!(!Wanted::parse("structure").is(Some("struct"), "ure", &[]));
    }

    #[test]
    fn words_of_numbers_may_stand_in_any_order() {
        let same = |a: &str, b: &str| normal(a.to_owned()) == normal(b.to_owned());
        assert!(same("unsigned long", "long unsigned int"));
        assert!(same("long int", "signed long"));
        assert!(same("unsigned int", "int unsigned"));
        assert!(!same("signed char", "unsigned char"));
        assert!(!same("long", "long long int"));
        assert!(!same("my type", "type my"));
    }
}
