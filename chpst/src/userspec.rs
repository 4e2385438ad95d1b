//! Who the program is to be: the argument of `-u` and `-U`.
//!
//! `user` is an account with its own group. `user:group[:group…]` takes the first group as the group id and all of them
//! as the whole group list. With a colon in front, `:uid:gid[:gid…]`, everything is a number and nothing is looked up.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::unistd::{Gid, Uid};
use svlib::diag::Message;
use svlib::sys::user::Identity;

/// The most groups a specification may name, as in runit.
pub const MAX_GROUPS: usize = 60;

/// A parsed user specification; nothing has been looked up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSpec {
    /// `:uid:gid[:gid…]`
    Ids(Identity),
    /// `user[:group…]`
    Names {
        /// The account.
        user: OsString,
        /// Groups in place of the account's own, if any.
        groups: Vec<OsString>,
    },
    /// What `setuidgid` and `envuidgid` take: an account's name, never split at a colon.
    Account(OsString),
}

impl UserSpec {
    /// Reads the argument of `-u` or `-U`.
    ///
    /// Unlike runit, this refuses an empty number (there it is 0, so `:1:` meant root's group), a number that does not
    /// fit (there it wraps around to another user), and a group too many (there it is ignored, or changes nothing).
    ///
    /// # Errors
    ///
    /// The text cannot mean anybody.
    pub fn parse(text: &OsStr) -> Result<Self, BadUserSpec> {
        let bytes = text.as_bytes();
        match bytes.strip_prefix(b":") {
            Some(ids) => parse_ids(ids).ok_or_else(|| BadUserSpec::Ids(OsStr::from_bytes(ids).into())),
            None => parse_names(bytes).ok_or_else(|| match bytes.split(|&byte| byte == b':').count() {
                parts if parts > MAX_GROUPS + 1 => BadUserSpec::TooManyGroups(text.into()),
                _ => BadUserSpec::Names(text.into()),
            }),
        }
    }

    /// The text that `parse` reads.
    pub fn text(&self) -> OsString {
        match self {
            Self::Ids(Identity { uid, groups, .. }) => {
                let mut text = format!(":{uid}");
                groups.iter().for_each(|gid| text += &format!(":{gid}"));
                text.into()
            }
            Self::Names { user, groups } => {
                let mut text = user.clone();
                for group in groups {
                    text.push(":");
                    text.push(group);
                }
                text
            }
            Self::Account(name) => name.clone(),
        }
    }
}

/// A text that cannot mean anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadUserSpec {
    /// Not `uid:gid[:gid…]`: what stood after the leading colon.
    Ids(OsString),
    /// A name is empty.
    Names(OsString),
    /// More than [`MAX_GROUPS`] groups.
    TooManyGroups(OsString),
}

impl Message for BadUserSpec {
    fn append_to(&self, line: &mut Vec<u8>) {
        match self {
            Self::Ids(text) => ("invalid uid/gids: ", text).append_to(line),
            Self::Names(text) => ("unknown user/group: ", text).append_to(line),
            Self::TooManyGroups(text) => ("too many groups: ", text).append_to(line),
        }
    }
}

impl fmt::Display for BadUserSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        self.append_to(&mut line);
        out.write_str(&String::from_utf8_lossy(&line))
    }
}

impl std::error::Error for BadUserSpec {}

fn parse_ids(bytes: &[u8]) -> Option<UserSpec> {
    let mut ids = bytes.split(|&byte| byte == b':').map(parse_id);
    let uid = Uid::from_raw(ids.next()??);
    let groups = ids.map(|id| id.map(Gid::from_raw)).collect::<Option<Vec<_>>>()?;
    let gid = *groups.first()?;
    (groups.len() <= MAX_GROUPS).then_some(UserSpec::Ids(Identity { uid, gid, groups }))
}

/// A decimal number, digits only. The highest is none: to setresuid(2) and its kin it means "leave it as it is".
fn parse_id(digits: &[u8]) -> Option<u32> {
    // The standard parser alone would take a plus sign too.
    let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    digits.parse().ok().filter(|&id| id != u32::MAX)
}

fn parse_names(bytes: &[u8]) -> Option<UserSpec> {
    let mut names = bytes.split(|&byte| byte == b':').map(|name| OsString::from_vec(name.to_vec()));
    let user = names.next()?;
    let groups: Vec<_> = names.collect();
    let named = !user.is_empty() && groups.iter().all(|group| !group.is_empty());
    (named && groups.len() <= MAX_GROUPS).then_some(UserSpec::Names { user, groups })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<UserSpec, String> {
        UserSpec::parse(OsStr::new(text)).map_err(|bad| bad.to_string())
    }

    fn ids(uid: u32, gids: &[u32]) -> UserSpec {
        let groups: Vec<_> = gids.iter().copied().map(Gid::from_raw).collect();
        UserSpec::Ids(Identity { uid: Uid::from_raw(uid), gid: groups[0], groups })
    }

    fn names(user: &str, groups: &[&str]) -> UserSpec {
        UserSpec::Names { user: user.into(), groups: groups.iter().map(OsString::from).collect() }
    }

    #[test]
    fn numbers() {
        let last = u32::MAX - 1;
        for (text, expected) in [
            (":1:2", ids(1, &[2])),
            (":0:0", ids(0, &[0])),
            (":01:002", ids(1, &[2])),
            (":1:2:3:2", ids(1, &[2, 3, 2])),
            (":4294967294:4294967294", ids(last, &[last])),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            ":",
            "1",
            "1:",
            ":1",
            "1:2:",
            "1:2::3",
            "a:b",
            "1:2x",
            "-1:1",
            "1:-1",
            "+1:1",
            "0x1:1",
            " 1:1",
            "1:1 ",
            "4294967295:1",
            "1:4294967295",
            "1:2:4294967295",
            "4294967296:1",
            "1:4294967296",
            "99999999999999999999999:1",
        ] {
            assert_eq!(parse(&format!(":{text}")), Err(format!("invalid uid/gids: {text}")));
        }
    }

    #[test]
    fn accounts_and_groups() {
        for (text, expected) in [
            ("nobody", names("nobody", &[])),
            ("nobody:log", names("nobody", &["log"])),
            ("nobody:log:tty", names("nobody", &["log", "tty"])),
            // A number without the colon in front is a name.
            ("65534:0", names("65534", &["0"])),
            (" nobody", names(" nobody", &[])),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["", "nobody:", "nobody::log", "nobody:log:"] {
            assert_eq!(parse(text), Err(format!("unknown user/group: {text}")));
        }
    }

    #[test]
    fn sixty_groups_and_no_more() {
        for (start, refusal) in
            [(":1", "invalid uid/gids: 1:7:7:"), ("nobody", "too many groups: nobody:7:7:")]
        {
            let sixty = format!("{start}{}", ":7".repeat(60));
            assert!(parse(&sixty).is_ok());
            let message = parse(&format!("{sixty}:7")).unwrap_err();
            assert!(message.starts_with(refusal), "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_specification_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let text = OsString::from_vec(bytes);
            match UserSpec::parse(&text) {
                Ok(spec) => prop_assert_eq!(UserSpec::parse(&spec.text()), Ok(spec)),
                Err(bad) => prop_assert!(!bad.to_string().is_empty()),
            }
        }

        #[test]
        fn numbers_round_trip(uid in 0..u32::MAX, gids in prop::collection::vec(0..u32::MAX, 1..=MAX_GROUPS)) {
            let spec = ids(uid, &gids);
            prop_assert_eq!(UserSpec::parse(&spec.text()), Ok(spec));
        }

        #[test]
        fn names_round_trip(
            user in "[^:\0]{1,8}",
            groups in prop::collection::vec("[^:\0]{1,8}", 0..=MAX_GROUPS),
        ) {
            let groups: Vec<_> = groups.iter().map(String::as_str).collect();
            let text = OsString::from([&[user.as_str()], &groups[..]].concat().join(":"));
            let spec = names(&user, &groups);
            prop_assert_eq!(spec.text(), text.clone());
            prop_assert_eq!(UserSpec::parse(&text), Ok(spec));
        }
    }
}
