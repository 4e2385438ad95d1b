//! JSON lines: any bytes make one valid object, which has them.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use svlogd::json::{self, Part};

fuzz_target!(|message: &[u8]| {
    let mut output = Vec::new();
    json::append_object(&mut output, b"time", b"service", message, Part::More(2));
    assert_eq!(output.iter().position(|&byte| byte == b'\n'), Some(output.len() - 1));
    let object: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(object["message"], *String::from_utf8_lossy(message));
    match object.get("message_base64") {
        None => assert!(str::from_utf8(message).is_ok()),
        Some(exact) => assert_eq!(STANDARD.decode(exact.as_str().unwrap()).unwrap(), message),
    }
});
