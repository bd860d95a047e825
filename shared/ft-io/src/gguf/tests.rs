use super::*;

/// A header with one key and one tensor, in the format of version `version`.
fn file(version: u32, key: (&str, u32, &[u8]), tensors: &[&str]) -> Vec<u8> {
    let length =
        |n: usize| if version == 1 { (n as u32).to_le_bytes().to_vec() } else { (n as u64).to_le_bytes().to_vec() };
    let text = |text: &str| [length(text.len()), text.as_bytes().to_vec()].concat();
    let mut bytes = [MAGIC.to_vec(), version.to_le_bytes().to_vec(), length(tensors.len()), length(1)].concat();
    bytes.extend([text(key.0), key.1.to_le_bytes().to_vec(), key.2.to_vec()].concat());
    for name in tensors {
        bytes.extend([text(name), 2u32.to_le_bytes().to_vec(), length(3), length(2)].concat());
        bytes.extend([1u32.to_le_bytes().to_vec(), 64u64.to_le_bytes().to_vec()].concat());
    }
    bytes
}

fn read(bytes: &[u8]) -> Result<Content, String> {
    Content::read(bytes, bytes.len() as u64)
}

#[test]
fn all_versions_are_read() {
    for version in 1..=3 {
        let bytes = file(version, ("a.b", 4, &7u32.to_le_bytes()), &["t"]);
        let content = read(&bytes).unwrap();
        assert_eq!(content.number("a.b"), Some(7));
        let info = TensorInfo { shape: vec![2, 3], kind: 1, offset: 64 };
        assert_eq!(content.tensors["t"], info);
        assert_eq!(content.data_offset, (bytes.len() as u64).next_multiple_of(32));
    }
    assert!(read(&file(4, ("a", 7, &[1]), &[])).unwrap_err().contains("version 4; expected 1, 2 or 3"));
}

#[test]
fn numbers_keep_their_signs() {
    for (kind, bytes, expected) in [
        (1, vec![255], Value::Signed(-1)),
        (3, (-2i16).to_le_bytes().to_vec(), Value::Signed(-2)),
        (5, (-3i32).to_le_bytes().to_vec(), Value::Signed(-3)),
        (11, i64::MIN.to_le_bytes().to_vec(), Value::Signed(i64::MIN)),
        (0, vec![255], Value::Unsigned(255)),
        (10, u64::MAX.to_le_bytes().to_vec(), Value::Unsigned(u64::MAX)),
        (6, 1.5f32.to_le_bytes().to_vec(), Value::F32(1.5)),
        (12, 2.5f64.to_le_bytes().to_vec(), Value::F64(2.5)),
        (7, vec![1], Value::Bool(true)),
    ] {
        assert_eq!(read(&file(3, ("x", kind, &bytes), &[])).unwrap().metadata["x"], expected, "{kind}");
    }
}

#[test]
fn lists_are_taken_apart_when_asked_for() {
    let texts = [8u32.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), b"ab".to_vec()];
    let texts = [texts.concat(), 3u64.to_le_bytes().to_vec(), b"c\0\0".to_vec()].concat();
    let content = read(&file(3, ("t", 9, &texts), &[])).unwrap();
    assert_eq!(content.strings("t").unwrap(), ["ab", "c"]);
    assert_eq!(content.numbers("t"), None);
    let numbers = [4u32.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), 5u32.to_le_bytes().to_vec()].concat();
    let numbers = [numbers, 6u32.to_le_bytes().to_vec()].concat();
    let content = read(&file(3, ("n", 9, &numbers), &[])).unwrap();
    assert_eq!(content.numbers("n").unwrap(), [5, 6]);
    assert_eq!(content.floats("n"), None);
}

#[test]
fn hostile_headers_are_refused_in_words() {
    let zero = read(&file(3, ("general.alignment", 4, &0u32.to_le_bytes()), &["t"])).unwrap_err();
    assert_eq!(zero, "'general.alignment' is 0, expected a power of two");
    let odd = read(&file(3, ("general.alignment", 10, &3u64.to_le_bytes()), &["t"])).unwrap_err();
    assert!(odd.contains("is 3, expected a power of two"), "{odd}");
    let far = read(&file(3, ("general.alignment", 10, &(1u64 << 63).to_le_bytes()), &["t"])).unwrap();
    assert_eq!(far.data_offset, 1 << 63);
    assert_eq!(read(&file(3, ("x", 7, &[1]), &["t", "t"])).unwrap_err(), "the tensor 't' occurs twice");
    let many = [4u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat();
    assert!(read(&file(3, ("x", 9, &many), &[])).unwrap_err().contains("'x': it is not a whole GGUF file"));
    let texts = [8u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat();
    assert!(read(&file(3, ("x", 9, &texts), &[])).unwrap_err().contains("'x': it is not a whole GGUF file"));
    let lists = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat();
    assert!(read(&file(3, ("x", 9, &lists), &[])).unwrap_err().contains("a list of lists"));
    assert!(read(&file(3, ("x", 99, &[]), &[])).unwrap_err().contains("a value of kind 99"));
    let whole = file(3, ("x", 4, &7u32.to_le_bytes()), &["t"]);
    for len in 0..whole.len() {
        assert!(read(&whole[..len]).is_err(), "{len}");
    }
}
