//! svlogd's patterns against the slow obvious matcher: the man page's sentences, a byte of the line at a time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use svlib::pattern::Pattern;

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|&byte| byte == b'\n') else { return };
    let (text, line) = (&input[..end], &input[end + 1..]);
    let pattern = Pattern::new(text);
    assert_eq!(pattern.as_bytes(), text.split(|&byte| byte == 0).next().unwrap_or_default());
    assert_eq!(pattern.matches(line), obvious(pattern.as_bytes(), line));
});

fn obvious(mut pattern: &[u8], mut line: &[u8]) -> bool {
    loop {
        (pattern, line) = match (pattern, line) {
            // "A star at the end of pattern matches any string."
            ([b'*'], _) => return true,
            // "… matches any string in the log message that does not include the next character in pattern."
            ([b'*', next, ..], [byte, rest @ ..]) => {
                if byte == next {
                    (&pattern[1..], line)
                } else {
                    (pattern, rest)
                }
            }
            // "A plus matches the next character in pattern in the log message one or more times."
            ([b'+', next, ..], [byte]) => return byte == next,
            ([b'+', next, after @ ..], [byte, rest @ ..]) if byte == next => {
                (if rest.first() == Some(next) { pattern } else { after }, rest)
            }
            ([b'+', ..], _) => return false,
            // "A character not a star and not a plus matches itself."
            ([literal, after @ ..], [byte, rest @ ..]) if literal == byte => (after, rest),
            ([], []) => return true,
            _ => return false,
        };
    }
}
