//! The programs chpst can be called as.
//!
//! Besides its own name, chpst answers to those of six daemontools programs, also with the letter `d` in front (as in
//! `dsetuidgid`), where the plain name belongs to daemontools itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A program that chpst is when called by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applet {
    /// All of it: every change of process state is an option.
    Chpst,
    /// Takes on the identity of an account.
    Setuidgid,
    /// Puts the ids of an account into the environment.
    Envuidgid,
    /// Puts the files of a directory into the environment.
    Envdir,
    /// Starts a session, and with it a process group.
    Pgrphack,
    /// Holds a lock on a file.
    Setlock,
    /// Sets soft resource limits.
    Softlimit,
}

impl Applet {
    /// Every applet, chpst first.
    pub const ALL: [Self; 7] = [
        Self::Chpst,
        Self::Setuidgid,
        Self::Envuidgid,
        Self::Envdir,
        Self::Pgrphack,
        Self::Setlock,
        Self::Softlimit,
    ];

    /// The program meant by `argv0`: the last component of the path, one leading `d` ignored. Any name that is not an
    /// applet's means chpst, so that a renamed or linked binary works.
    pub fn named(argv0: &OsStr) -> Self {
        let path = argv0.as_bytes();
        let base = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let name = base.strip_prefix(b"d").unwrap_or(base);
        Self::ALL.into_iter().find(|applet| applet.name().as_bytes() == name).unwrap_or(Self::Chpst)
    }

    /// The name, without the leading `d`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chpst => "chpst",
            Self::Setuidgid => "setuidgid",
            Self::Envuidgid => "envuidgid",
            Self::Envdir => "envdir",
            Self::Pgrphack => "pgrphack",
            Self::Setlock => "setlock",
            Self::Softlimit => "softlimit",
        }
    }

    /// What stands on standard error after a usage error, byte for byte runit's.
    pub fn usage(self) -> &'static str {
        match self {
            Self::Chpst => {
                "usage: chpst [-vVP012] [-u user[:group]] [-U user[:group]] [-b argv0] [-e dir] [-/ root] \
                 [-C pwd] [-n nice] [-l|-L lock] [-m n] [-d n] [-o n] [-p n] [-f n] [-c n] [-t n] prog\n\n"
            }
            Self::Setuidgid => "usage: setuidgid account child\n\n",
            Self::Envuidgid => "usage: envuidgid account child\n\n",
            Self::Envdir => "usage: envdir dir child\n\n",
            Self::Pgrphack => "usage: pgrphack child\n\n",
            Self::Setlock => "usage: setlock [ -nNxX ] file program [ arg ... ]\n\n",
            Self::Softlimit => {
                "usage: softlimit [-a allbytes] [-c corebytes] [-d databytes] [-f filebytes] [-l lockbytes] \
                 [-m membytes] [-o openfiles] [-p processes] [-r residentbytes] [-s stackbytes] [-t cpusecs] \
                 child\n\n"
            }
        }
    }

    /// Whether the program takes options at all. One that does not hands every word on, whatever it begins with.
    pub fn has_options(self) -> bool {
        matches!(self, Self::Chpst | Self::Setlock | Self::Softlimit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for (argv0, applet) in [
            ("chpst", Applet::Chpst),
            ("/usr/bin/chpst", Applet::Chpst),
            ("dchpst", Applet::Chpst),
            ("setuidgid", Applet::Setuidgid),
            ("dsetuidgid", Applet::Setuidgid),
            ("./envuidgid", Applet::Envuidgid),
            ("/a/denvdir", Applet::Envdir),
            ("pgrphack", Applet::Pgrphack),
            ("//setlock", Applet::Setlock),
            ("dsoftlimit", Applet::Softlimit),
            // One `d` is ignored, not two; the name is the whole last component.
            ("ddsetlock", Applet::Chpst),
            ("setlock/", Applet::Chpst),
            ("setlock2", Applet::Chpst),
            ("SETLOCK", Applet::Chpst),
            ("d", Applet::Chpst),
            ("", Applet::Chpst),
            ("/", Applet::Chpst),
        ] {
            assert_eq!(Applet::named(OsStr::new(argv0)), applet, "{argv0:?}");
        }
    }

    #[test]
    fn the_usage_begins_with_the_name() {
        for applet in Applet::ALL {
            assert!(applet.usage().starts_with(&format!("usage: {} ", applet.name())));
            assert!(applet.usage().ends_with("\n\n"));
        }
    }

    proptest! {
        #[test]
        fn any_directory_and_any_bytes_will_do(
            directory in prop::collection::vec(any::<u8>(), 0..12),
            which in 0..Applet::ALL.len(),
            prefixed: bool,
        ) {
            let applet = Applet::ALL[which];
            let mut argv0 = directory;
            argv0.push(b'/');
            if prefixed {
                argv0.push(b'd');
            }
            argv0.extend(applet.name().bytes());
            prop_assert_eq!(Applet::named(OsStr::from_bytes(&argv0)), applet);
        }
    }
}
