//! The layout as a listing: a change of any published structure shows in review as a change of
//! `layout.golden`. Rewrite it with `UMEM_GOLDEN=rewrite cargo test -p umem-layout`.

use std::{fs, path::Path};

#[test]
fn listing_is_the_golden_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("layout.golden");
    let mut listing = String::new();
    umem_layout::write_listing(&mut listing).unwrap();
    if std::env::var_os("UMEM_GOLDEN").is_some_and(|v| v == "rewrite") {
        fs::write(&path, &listing).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    assert_eq!(
        golden,
        listing,
        "published layout changed: raise the version, then rewrite {}",
        path.display()
    );
}

#[test]
fn fields_leave_no_gap() {
    for (name, size, fields) in umem_layout::STRUCTS {
        let mut end = 0;
        for field in *fields {
            assert_eq!(field.offset, end, "{name}.{}", field.name);
            end += field.size;
        }
        assert_eq!(end, *size, "{name}");
    }
}

#[test]
fn shorter_structures_decode_with_their_new_fields_unset() {
    use umem_layout::{Published, Span};
    let mut bytes = [0xff_u8; 0x20];
    assert_eq!(Span::decode(&bytes).kind, u32::MAX);
    bytes[..8].copy_from_slice(&7_u64.to_le_bytes());
    let span = Span::decode(&bytes[..0x18]);
    assert_eq!((span.next, span.size, span.kind), (7, u64::MAX, 0));
}

#[test]
fn size_codes_tell_a_size_from_damage() {
    use umem_layout::{SIZE_CODE_MAX, decode_size, size_code};
    for size in [0, 1, 50, 16384, SIZE_CODE_MAX] {
        assert_eq!(decode_size(size_code(size)), Some(size));
        assert_eq!(decode_size(size_code(size) ^ 1), None);
        let word = umem_layout::redzone_word(size);
        assert_eq!(umem_layout::decode_redzone(word), Some(size));
        assert!(
            word.to_le_bytes().iter().all(|&byte| byte != 0),
            "{word:#x}"
        );
        assert_eq!(umem_layout::decode_redzone(word ^ 1 << 32), None);
    }
}
