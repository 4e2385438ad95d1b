//! JSON objects, as far as a status needs them.
//!
//! Names and what services say of themselves may hold any bytes: what is not UTF-8 becomes U+FFFD, and control characters,
//! those from U+007F to U+009F included, are escaped, so that an object is one line and can be looked at on a terminal.

/// An object that grows by one member at a time, in the order they are added.
#[derive(Clone, Debug)]
pub struct Object(String);

impl Object {
    /// Without members yet.
    #[expect(clippy::new_without_default, reason = "an object is begun, not assumed")]
    pub fn new() -> Self {
        Self("{".into())
    }

    /// Adds a string; `null` without one.
    pub fn text(&mut self, key: &str, value: Option<&[u8]>) {
        self.key(key);
        match value {
            Some(value) => append_string(&mut self.0, value),
            None => self.0 += "null",
        }
    }

    /// Adds a number; `null` without one.
    pub fn number(&mut self, key: &str, value: Option<impl Into<i128>>) {
        self.word(key, value.map(|value| value.into().to_string()));
    }

    /// Adds `true` or `false`; `null` if neither is known.
    pub fn flag(&mut self, key: &str, value: Option<bool>) {
        self.word(key, value.map(|value| value.to_string()));
    }

    /// Adds an object; `null` without one.
    pub fn object(&mut self, key: &str, value: Option<Self>) {
        self.word(key, value.map(Self::finish));
    }

    /// The text of the object, on one line, without a newline.
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn word(&mut self, key: &str, value: Option<String>) {
        self.key(key);
        self.0 += value.as_deref().unwrap_or("null");
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        append_string(&mut self.0, key.as_bytes());
        self.0.push(':');
    }
}

fn append_string(output: &mut String, text: &[u8]) {
    output.push('"');
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' | '\\' => output.extend(['\\', character]),
            '\n' => *output += "\\n",
            '\t' => *output += "\\t",
            _ if character.is_control() => *output += &format!("\\u{:04x}", u32::from(character)),
            _ => output.push(character),
        }
    }
    output.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn members_keep_their_order() {
        let mut inner = Object::new();
        inner.number("code", Some(1));
        let mut object = Object::new();
        object.text("name", Some(b"web"));
        object.text("none", None);
        object.number("pid", Some(42));
        object.number("none", None::<i32>);
        object.flag("paused", Some(false));
        object.flag("none", None);
        object.object("exit", Some(inner));
        object.object("none", None);
        let expected = r#"{"name":"web","none":null,"pid":42,"none":null,"paused":false,"none":null,"exit":{"code":1},"none":null}"#;
        assert_eq!(object.finish(), expected);
        assert_eq!(Object::new().finish(), "{}");
    }

    #[test]
    fn strings_are_valid_whatever_they_hold() {
        let mut object = Object::new();
        object.text("name", Some(b"a\"\\\n\t\x1b\x7f\xc2\x9b\xc3\xa9\xff\xfe"));
        assert_eq!(
            object.finish(),
            "{\"name\":\"a\\\"\\\\\\n\\t\\u001b\\u007f\\u009b\u{e9}\u{fffd}\u{fffd}\"}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_line_of_json(bytes: Vec<u8>, number: u64) {
            let mut object = Object::new();
            object.text("text", Some(&bytes));
            object.number("number", Some(number));
            let text = object.finish();
            prop_assert!(!text.contains(char::is_control));
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value["text"].as_str().unwrap(), String::from_utf8_lossy(&bytes));
            prop_assert_eq!(value["number"].as_u64(), Some(number));
        }
    }
}
