//! The names of old files in a log directory: `@<tai64n>.s`, and what a processor or a compressor makes of them.

use std::fmt;

use crate::tai64n::Tai64n;

/// What an old log file is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// `.s`: complete and safely stored.
    Saved,
    /// `.t`: the unfinished output of a processor, worthless once that is gone.
    Temporary,
    /// `.u`: not yet processed, or left behind by an svlogd that did not end cleanly.
    Unprocessed,
}

/// How the content is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Packing {
    /// Lines of text, as runit writes them.
    Plain,
    /// `.gz`, gzip(1).
    Gzip,
    /// `.zst`, zstd(1).
    Zstd,
}

/// The name of an old log file. Names are ordered by time, as their texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    /// When `current` was rotated.
    pub time: Tai64n,
    /// What happened to the file since.
    pub stage: Stage,
    /// How it is packed.
    pub packing: Packing,
}

impl LogName {
    /// A plain name.
    pub const fn new(time: Tai64n, stage: Stage) -> Self {
        Self { time, stage, packing: Packing::Plain }
    }

    /// The same file at another stage.
    pub const fn at(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    /// The same file packed in another way.
    pub const fn packed(self, packing: Packing) -> Self {
        Self { packing, ..self }
    }

    /// The name a text stands for, `None` if it is no old log file's. Only what [`Display`](fmt::Display) writes is one.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let (label, suffix) = name.split_at_checked(25)?;
        let time = Tai64n::parse_label(label).filter(|time| time.label() == label)?;
        let (stage, packing) = suffix.split_at_checked(2)?;
        let stage = match stage {
            b".s" => Stage::Saved,
            b".t" => Stage::Temporary,
            b".u" => Stage::Unprocessed,
            _ => return None,
        };
        let packing = match packing {
            b"" => Packing::Plain,
            b".gz" => Packing::Gzip,
            b".zst" => Packing::Zstd,
            _ => return None,
        };
        Some(Self { time, stage, packing })
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.time.label();
        f.write_str(str::from_utf8(&label).map_err(|_| fmt::Error)?)?;
        f.write_str(match self.stage {
            Stage::Saved => ".s",
            Stage::Temporary => ".t",
            Stage::Unprocessed => ".u",
        })?;
        f.write_str(match self.packing {
            Packing::Plain => "",
            Packing::Gzip => ".gz",
            Packing::Zstd => ".zst",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = LogName> {
        let stage = prop_oneof![Just(Stage::Saved), Just(Stage::Temporary), Just(Stage::Unprocessed)];
        let packing = prop_oneof![Just(Packing::Plain), Just(Packing::Gzip), Just(Packing::Zstd)];
        (any::<u64>(), any::<u32>(), stage, packing).prop_map(|(seconds, nanos, stage, packing)| LogName {
            time: Tai64n { seconds, nanos },
            stage,
            packing,
        })
    }

    #[test]
    fn other_names_are_not_ours() {
        for text in [
            "current",
            "lock",
            "@",
            "@4000000037c219bf2ef02e94",
            "@4000000037c219bf2ef02e94.",
            "@4000000037c219bf2ef02e94.x",
            "@4000000037c219bf2ef02e94.s.bz2",
            "@4000000037C219BF2EF02E94.s",
            "@4000000037c219bf2ef02e94.s\n",
        ] {
            assert_eq!(LogName::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn the_stage_changes_alone() {
        let name = LogName::parse(b"@4000000037c219bf2ef02e94.u").unwrap();
        assert_eq!(name.at(Stage::Saved).to_string(), "@4000000037c219bf2ef02e94.s");
    }

    #[test]
    fn the_packing_changes_alone() {
        let name = LogName::parse(b"@4000000037c219bf2ef02e94.t").unwrap();
        assert_eq!(name.packed(Packing::Gzip).to_string(), "@4000000037c219bf2ef02e94.t.gz");
        assert_eq!(name.packed(Packing::Zstd).to_string(), "@4000000037c219bf2ef02e94.t.zst");
    }

    proptest! {
        #[test]
        fn names_round_trip(name in name()) {
            prop_assert_eq!(LogName::parse(name.to_string().as_bytes()), Some(name));
        }

        #[test]
        fn names_sort_as_their_texts(a in name(), b in name()) {
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn any_bytes_parse_or_not(bytes: Vec<u8>) {
            if let Some(name) = LogName::parse(&bytes) {
                prop_assert_eq!(name.to_string().into_bytes(), bytes);
            }
        }
    }
}
