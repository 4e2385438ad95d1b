//! JSON lines: any bytes make one valid object, which has them.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use svlib::tai64n::Tai64n;
use svlogd::format::{Precision, Stamper, Style};
use svlogd::json::{self, Part};

fuzz_target!(|input: &[u8]| {
    let Some((&[part, service_length, ref time @ ..], rest)) = input.split_first_chunk::<14>() else {
        return;
    };
    let (service, message) = rest.split_at(usize::from(service_length).min(rest.len()));
    let (seconds, nanos) = time.split_at(8);
    let seconds = i64::from_be_bytes(seconds.try_into().unwrap());
    let nanos = u32::from_be_bytes(nanos.try_into().unwrap());
    let mut stamper = Stamper::new(Style::Rfc3339(Precision::Us), |_| 0);
    let time = stamper.stamp(Tai64n::from_unix(seconds, nanos)).trim_ascii_end();
    let part = match part % 3 {
        0 => Part::Whole,
        1 => Part::More(2),
        _ => Part::Last(3),
    };

    let mut inside = Vec::new();
    assert_eq!(json::append_string(&mut inside, service), str::from_utf8(service).is_ok());
    let mut output = Vec::new();
    json::append_object(&mut output, time, &inside, message, part);
    assert_eq!(output.iter().position(|&byte| byte == b'\n'), Some(output.len() - 1));

    let object: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(object["time"], str::from_utf8(time).unwrap());
    assert_eq!(object["service"], *String::from_utf8_lossy(service));
    assert_eq!(object["message"], *String::from_utf8_lossy(message));
    match object.get("message_base64") {
        None => assert!(str::from_utf8(message).is_ok()),
        Some(exact) => assert_eq!(STANDARD.decode(exact.as_str().unwrap()).unwrap(), message),
    }
    let (number, more) = match part {
        Part::Whole => (None, None),
        Part::More(number) => (Some(number), Some(true)),
        Part::Last(number) => (Some(number), None),
    };
    assert_eq!(object.get("part").and_then(Value::as_u64), number);
    assert_eq!(object.get("more").and_then(Value::as_bool), more);
});
