//! The argument of `chpst -u`: it names somebody, within the limits of the system, or it is refused.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use chpst::userspec::{MAX_GROUPS, UserSpec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Numbers are made of the input, so that the fuzzer need not guess ten digits.
    if let Some((number, rest)) = bytes.split_first_chunk() {
        let number = u32::from_le_bytes(*number);
        for text in [format!(":{number}:1"), format!(":1:{number}"), format!(":1:2:{number}")] {
            let known = UserSpec::parse(OsStr::new(&text)).is_ok();
            assert_eq!(known, number != u32::MAX, "{text}");
            check(&[text.as_bytes(), rest].concat());
        }
    }
});

fn check(bytes: &[u8]) {
    let text = OsStr::from_bytes(bytes);
    let spec = match UserSpec::parse(text) {
        Ok(spec) => spec,
        Err(bad) => return assert!(!bad.to_string().is_empty()),
    };
    assert_eq!(UserSpec::parse(&spec.text()).as_ref(), Ok(&spec));
    match spec {
        UserSpec::Ids(identity) => {
            assert!(bytes.starts_with(b":"));
            assert!((1..=MAX_GROUPS).contains(&identity.groups.len()));
            assert_eq!(identity.gid, identity.groups[0]);
            // -1 is no id: to setresuid(2) and setresgid(2) it means "leave it as it is".
            assert_ne!(identity.uid.as_raw(), u32::MAX);
            assert!(identity.groups.iter().all(|gid| gid.as_raw() != u32::MAX));
        }
        UserSpec::Names { user, groups } => {
            assert!(groups.len() <= MAX_GROUPS);
            for name in groups.iter().chain([&user]) {
                assert!(!name.is_empty() && !name.as_bytes().contains(&b':'));
            }
        }
        UserSpec::Account(_) => panic!("only envuidgid and setuidgid mean an account by {text:?}"),
    }
}
