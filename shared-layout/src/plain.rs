//! How a structure is declared, asserted and decoded.

/// A value that any bytes decode to: an unsigned integer, an array of such, or a published structure.
pub trait Plain: Copy {
    /// All bytes zero.
    const ZERO: Self;
    /// Bytes that a value takes.
    const BYTES: usize;
    /// Decodes little-endian bytes from `offset` on. What lies beyond the end of `bytes` reads as zero,
    /// so that a shorter structure of an older minor version decodes with its new fields unset.
    fn decode_at(bytes: &[u8], offset: usize) -> Self;
}

macro_rules! plain_integer {
    ($($int:ty)*) => { $(
        impl Plain for $int {
            const ZERO: Self = 0;
            const BYTES: usize = size_of::<$int>();
            fn decode_at(bytes: &[u8], offset: usize) -> Self {
                bytes
                    .get(offset..)
                    .and_then(|rest| rest.first_chunk::<{ size_of::<$int>() }>())
                    .map_or(0, |chunk| <$int>::from_le_bytes(*chunk))
            }
        }
    )* };
}
plain_integer!(u8 u16 u32 u64);

impl<T: Plain, const N: usize> Plain for [T; N] {
    const ZERO: Self = [T::ZERO; N];
    const BYTES: usize = T::BYTES * N;
    fn decode_at(bytes: &[u8], offset: usize) -> Self {
        core::array::from_fn(|i| T::decode_at(bytes, offset + i * T::BYTES))
    }
}

/// One field of a published structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name as declared.
    pub name: &'static str,
    /// Bytes from the start of the structure.
    pub offset: usize,
    /// Bytes that the field takes.
    pub size: usize,
    /// The Rust type, as declared.
    pub kind: &'static str,
}

/// A structure of the contract.
pub trait Published: Plain {
    /// Index of its size in [`crate::UmemRoot::struct_sizes`].
    const ID: usize;
    /// Its name.
    const NAME: &'static str;
    /// Its fields in order of offset; they leave no gap.
    const FIELDS: &'static [Field];
    /// Decodes one from the start of `bytes`; missing bytes read as zero.
    fn decode(bytes: &[u8]) -> Self {
        Self::decode_at(bytes, 0)
    }
}

/// Declares published structures:
///
/// ```text
/// published! {
///     /// What it is.
///     3 pub struct Span[0x20] {
///         /// What it holds.
///         0x00 next: u64,
///         …
///     }
/// }
/// ```
///
/// expands to a `#[repr(C)]` structure, its [`Plain`] and [`Published`] implementations with a field
/// table, and assertions that size and offsets are as written and that no padding is left implicit.
macro_rules! published {
    ($($(#[$doc:meta])* $id:literal pub struct $name:ident[$size:literal] {
        $($(#[$field_doc:meta])* $offset:literal $field:ident: $kind:ty,)*
    })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Debug, Clone, Copy)]
            pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

            impl $crate::Plain for $name {
                const ZERO: Self = Self { $($field: <$kind as $crate::Plain>::ZERO,)* };
                const BYTES: usize = $size;
                fn decode_at(bytes: &[u8], offset: usize) -> Self {
                    Self { $($field: <$kind as $crate::Plain>::decode_at(bytes, offset + $offset),)* }
                }
            }

            impl $crate::Published for $name {
                const ID: usize = $id;
                const NAME: &'static str = stringify!($name);
                const FIELDS: &'static [$crate::Field] = &[$($crate::Field {
                    name: stringify!($field),
                    offset: $offset,
                    size: size_of::<$kind>(),
                    kind: stringify!($kind),
                },)*];
            }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
                assert!(0 $(+ size_of::<$kind>())* == $size, "implicit padding");
            };
        )*
        pub(crate) const ALL: [(&str, usize, &[$crate::Field]); [$($id),*].len()] = {
            let all = [$((stringify!($name), $size, <$name as $crate::Published>::FIELDS),)*];
            let ids = [$($id),*];
            let mut i = 0;
            while i < ids.len() {
                assert!(ids[i] == i, "structure identifiers count from zero in order");
                i += 1;
            }
            all
        };
    };
}
pub(crate) use published;
