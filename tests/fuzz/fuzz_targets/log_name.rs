//! Names in a log directory: a name is svlogd's own, byte for byte, or not its business, and never deleted or counted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use svlib::log_name::LogName;
use svlib::tai64n::Tai64n;

fuzz_target!(|bytes: &[u8]| {
    if let Some(name) = LogName::parse(bytes) {
        assert_eq!(name.to_string().as_bytes(), bytes);
    }
    if let Some(stamp) = Tai64n::parse_label(bytes) {
        assert!(stamp.label().eq_ignore_ascii_case(bytes));
    }
    // A label is made of the input, so that the fuzzer need not guess 24 digits.
    if let Some((stamp, suffix)) = bytes.split_first_chunk() {
        let stamp = Tai64n::from_bytes(*stamp);
        assert_eq!(Tai64n::parse_label(&stamp.label()), Some(stamp));
        let text = [&stamp.label()[..], suffix].concat();
        if let Some(name) = LogName::parse(&text) {
            assert_eq!((name.time, name.to_string().as_bytes()), (stamp, &text[..]));
        }
    }
});
