//! A figure of each contender, and the tables made of them.

use crate::contender::{Samples, Who};

/// What the samples of a figure count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    KiB,
    Seconds,
    Milliseconds,
    /// How often something happened.
    Count,
    /// So many times something else.
    Times,
}

/// What ours is to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// So many times better than a peer.
    Times(f64, Who),
    /// At most this part of a peer's.
    PartOf(f64, Who),
    /// No sample is more than so much, in the figure's unit.
    AtMost(f64),
    /// The median is no more than so much, in the figure's unit: a single time is also what else the machine does.
    Usually(f64),
}

/// One thing measured, for everybody.
pub(crate) struct Figure {
    name: String,
    unit: Unit,
    /// Smaller is better.
    pub(crate) samples: Samples,
    goals: Vec<Goal>,
    ran: Vec<String>,
}

const PEERS: [Who; 3] = [Who::Runit, Who::S6, Who::Floor];

impl Who {
    /// The name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Svkit => "svkit",
            Self::Runit => "runit",
            Self::S6 => "s6",
            Self::Floor => "floor",
        }
    }
}

impl Unit {
    fn format(self, value: f64) -> String {
        match self {
            Self::KiB => format!("{value:.0} KiB"),
            Self::Seconds => format!("{value:.3} s"),
            Self::Milliseconds => format!("{:.2} ms", value * 1000.0),
            Self::Count => format!("{value:.0}"),
            Self::Times => format!("{value:.2} times"),
        }
    }
}

impl Figure {
    /// What was measured.
    pub(crate) fn new(name: impl Into<String>, unit: Unit, samples: Samples) -> Self {
        Self { name: name.into(), unit, samples, goals: Vec::new(), ran: Vec::new() }
    }

    /// What is to be reached.
    pub(crate) fn goals(self, goals: &[Goal]) -> Self {
        Self { goals: goals.to_vec(), ..self }
    }

    /// What each of them ran, one entry each.
    pub(crate) fn ran(self, ran: Vec<String>) -> Self {
        Self { ran, ..self }
    }

    /// The median, if this contender took part.
    fn median(&self, who: Who) -> Option<f64> {
        let (_, samples) = self.samples.iter().find(|(other, _)| *other == who)?;
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted.get(middle).copied()
        } else {
            Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
        }
    }

    /// The largest sample, if this contender took part.
    fn most(&self, who: Who) -> Option<f64> {
        let (_, samples) = self.samples.iter().find(|(other, _)| *other == who)?;
        samples.iter().copied().max_by(f64::total_cmp)
    }

    fn ratio(&self, who: Who) -> Option<f64> {
        // Beside nothing there is no ratio.
        Some(self.median(who)? / self.median(Who::Svkit)?).filter(|ratio| ratio.is_finite())
    }

    /// The goal in words, and whether it is reached; only the words if that is not known.
    fn outcome(&self, goal: Goal) -> String {
        let (words, reached) = match goal {
            Goal::Times(times, who) => {
                (format!("{times}x {}", who.name()), self.ratio(who).map(|ratio| ratio >= times))
            }
            Goal::PartOf(part, who) => (
                format!("{part} of {} at most", who.name()),
                self.ratio(who).map(|ratio| 1.0 / ratio <= part),
            ),
            Goal::Usually(most) => (
                format!("{} at most", self.unit.format(most)),
                self.median(Who::Svkit).map(|value| value <= most),
            ),
            Goal::AtMost(most) => (
                format!("{} at most, in all samples", self.unit.format(most)),
                self.most(Who::Svkit).map(|value| value <= most),
            ),
        };
        match reached {
            Some(true) => format!("{words}: reached"),
            Some(false) => format!("{words}: MISSED"),
            None => words,
        }
    }

    /// The cells of its row.
    fn row(&self) -> Vec<String> {
        let mut row = vec![self.name.clone()];
        row.push(self.median(Who::Svkit).map_or_else(String::new, |value| self.unit.format(value)));
        for peer in PEERS {
            row.push(match (self.median(peer), self.ratio(peer)) {
                (Some(value), Some(ratio)) => format!("{} ({ratio:.2}x)", self.unit.format(value)),
                (Some(value), None) => self.unit.format(value),
                _ => String::new(),
            });
        }
        let outcomes: Vec<String> = self.goals.iter().map(|goal| self.outcome(*goal)).collect();
        row.push(outcomes.join(", "));
        row.push(self.samples.first().map_or(0, |(_, samples)| samples.len()).to_string());
        row
    }
}

fn header() -> Vec<String> {
    let mut header = vec!["median".to_owned(), Who::Svkit.name().to_owned()];
    header.extend(PEERS.map(|peer| peer.name().to_owned()));
    header.extend(["goals".to_owned(), "samples".to_owned()]);
    header
}

/// The figures for a terminal.
pub(crate) fn table(figures: &[Figure]) -> String {
    let rows: Vec<_> = [header()].into_iter().chain(figures.iter().map(Figure::row)).collect();
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let ran = |figure: &Figure| format!("\n{}\n    {}\n", figure.name, figure.ran.join("\n    "));
    let table: String = rows.iter().map(line).collect();
    table + &with_commands(figures).map(ran).collect::<String>()
}

/// The figures for a document.
pub(crate) fn markdown(figures: &[Figure]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header = header();
    let rule = vec!["---".to_owned(); header.len()];
    let rows = figures.iter().map(|figure| line(&figure.row()));
    let table: String = [line(&header), line(&rule)].into_iter().chain(rows).collect();
    let ran = |figure: &Figure| format!("\n- {}\n\n      {}\n", figure.name, figure.ran.join("\n      "));
    table + &with_commands(figures).map(ran).collect::<String>()
}

fn with_commands(figures: &[Figure]) -> impl Iterator<Item = &Figure> {
    figures.iter().filter(|figure| !figure.ran.is_empty())
}
