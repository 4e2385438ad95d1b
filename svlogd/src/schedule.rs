//! Rotation on the wall clock (`rotate`): when it is next, whatever the clock does meanwhile.
//!
//! A time of day is reached once: where the clocks go forward over it, at that moment; where they go back over it, the
//! first time. Hours go on as they do: only the minutes of a zone's offset matter to an hourly rotation.

use crate::config::setting::{ClockRotation, Period, Zone};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// 1970 began on a Thursday, four days before a Monday.
const FIRST_MONDAY: i64 = 4 * DAY;

/// The clocks of no two places are further apart, and no zone changes its offset twice within twice this time.
const FURTHEST_OFFSET: i64 = 26 * HOUR;

/// A clock set back over a time of day by no more than this does not make it come again: what corrects a clock, and a
/// leap second, are not to leave a file of a few lines.
const CORRECTION: i64 = 60;

/// The next rotation on a wall clock that may be set back and forth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    rotation: ClockRotation,
    last: Option<i64>,
    due: i64,
}

impl Schedule {
    /// The first rotation after `now`. Times are Unix seconds, within the years that a calendar has; `offset_at` is what
    /// the local zone adds to them at a time.
    pub fn new(rotation: ClockRotation, now: i64, offset_at: impl Fn(i64) -> i32) -> Self {
        Self { rotation, last: None, due: next(rotation, now, offset_at) }
    }

    /// When it is time to look again, in Unix seconds. A clock that is set in between is a reason to look at once.
    pub fn due(&self) -> i64 {
        self.due
    }

    /// Whether the time has come; then the next one is set. The time may also have come nearer: the clock was set back.
    pub fn take_due(&mut self, now: i64, offset_at: impl Fn(i64) -> i32) -> bool {
        let next = next(self.rotation, now, offset_at);
        let reached = self.due <= now;
        if reached {
            self.last = Some(self.due);
            self.due = next;
        } else if self.last != Some(next) || next - now > CORRECTION {
            self.due = next;
        }
        reached
    }
}

/// The first time after `after` at which the clock reaches a time of `rotation`.
fn next(rotation: ClockRotation, after: i64, offset_at: impl Fn(i64) -> i32) -> i64 {
    let offset_at = |time| match (rotation.zone, rotation.period) {
        (Zone::Utc, _) => 0,
        (Zone::Local, Period::Hourly) => i64::from(offset_at(time)).rem_euclid(HOUR),
        (Zone::Local, Period::Daily | Period::Weekly) => i64::from(offset_at(time)),
    };
    let time_of_day = i64::from(rotation.hour) * HOUR + i64::from(rotation.minute) * 60;
    let (period, first) = match rotation.period {
        Period::Hourly => (HOUR, time_of_day),
        Period::Daily => (DAY, time_of_day),
        Period::Weekly => (7 * DAY, FIRST_MONDAY + time_of_day),
    };
    let local = after + offset_at(after);
    let mut reading = local - (local - first).rem_euclid(period);
    loop {
        reading += period;
        let time = first_reading(reading, offset_at);
        if time > after {
            return time;
        }
    }
}

/// The first time at which a clock reads `reading` or more.
fn first_reading(reading: i64, offset_at: impl Fn(i64) -> i64) -> i64 {
    let mut change = reading + FURTHEST_OFFSET;
    let mut before = reading - FURTHEST_OFFSET;
    let (old, new) = (offset_at(before), offset_at(change));
    let unchanged = reading - old;
    if old == new {
        return unchanged;
    }
    while change - before > 1 {
        let middle = before + (change - before) / 2;
        if offset_at(middle) == old { before = middle } else { change = middle }
    }
    if unchanged < change { unchanged } else { change.max(reading - new) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::borrow::Cow;

    /// A zone: its offset at first, and the times at which it has another.
    #[derive(Clone, Debug)]
    struct Place {
        first: i32,
        changes: Cow<'static, [(i64, i32)]>,
    }

    impl Place {
        fn offset_at(&self, time: i64) -> i32 {
            self.changes
                .iter()
                .rev()
                .find(|(from, _)| *from <= time)
                .map_or(self.first, |(_, offset)| *offset)
        }
    }

    /// 2026: 01:00 UTC on the last Sundays of March and October.
    const BERLIN: Place =
        Place { first: 3600, changes: Cow::Borrowed(&[(1_774_746_000, 7200), (1_792_890_000, 3600)]) };
    /// 2026: 02:00 local on the second Sunday of March and the first of November.
    const NEW_YORK: Place = Place {
        first: -18_000,
        changes: Cow::Borrowed(&[(1_772_953_200, -14_400), (1_793_512_800, -18_000)]),
    };
    /// 2026: half an hour on 5 April and 4 October, at 02:00 local.
    const LORD_HOWE: Place =
        Place { first: 39_600, changes: Cow::Borrowed(&[(1_775_314_800, 37_800), (1_791_041_400, 39_600)]) };
    /// 2026: 24:00 local on 4 April (back to 23:00) and on 5 September (on to 01:00): at midnight.
    const SANTIAGO: Place = Place {
        first: -10_800,
        changes: Cow::Borrowed(&[(1_775_358_000, -14_400), (1_788_667_200, -10_800)]),
    };
    /// 30 December 2011 did not take place.
    const APIA: Place = Place { first: -36_000, changes: Cow::Borrowed(&[(1_325_239_200, 50_400)]) };
    const KATHMANDU: Place = Place { first: 20_700, changes: Cow::Borrowed(&[]) };
    const PLACES: [&Place; 6] = [&BERLIN, &NEW_YORK, &LORD_HOWE, &SANTIAGO, &APIA, &KATHMANDU];

    fn at(period: Period, hour: u8, minute: u8) -> ClockRotation {
        ClockRotation { period, hour, minute, zone: Zone::Local }
    }

    /// The first `count` rotations after `from`.
    fn rotations(rotation: ClockRotation, place: &Place, from: i64, count: usize) -> Vec<i64> {
        let mut time = from;
        let step = || {
            time = next(rotation, time, |time| place.offset_at(time));
            time
        };
        std::iter::repeat_with(step).take(count).collect()
    }

    #[test]
    fn a_day_of_daylight_saving_is_shorter_or_longer() {
        let midnight = at(Period::Daily, 0, 0);
        // 28 March, 23:00 UTC.
        assert_eq!(
            rotations(midnight, &BERLIN, 1_774_738_799, 2),
            [1_774_738_800, 1_774_738_800 + 23 * HOUR]
        );
        // 24 October, 22:00 UTC.
        assert_eq!(
            rotations(midnight, &BERLIN, 1_792_879_199, 2),
            [1_792_879_200, 1_792_879_200 + 25 * HOUR]
        );
        assert_eq!(
            rotations(midnight, &NEW_YORK, 1_772_945_999, 2),
            [1_772_946_000, 1_772_946_000 + 23 * HOUR]
        );
        assert_eq!(
            rotations(midnight, &NEW_YORK, 1_793_505_599, 2),
            [1_793_505_600, 1_793_505_600 + 25 * HOUR]
        );
    }

    #[test]
    fn a_time_that_does_not_exist_is_reached_when_the_clocks_change() {
        // 02:30, between 02:00 and 03:00.
        assert_eq!(rotations(at(Period::Daily, 2, 30), &BERLIN, 1_774_740_000, 1), [1_774_746_000]);
        assert_eq!(rotations(at(Period::Daily, 2, 30), &NEW_YORK, 1_772_950_000, 1), [1_772_953_200]);
        // Midnight itself: the day begins at 01:00.
        assert_eq!(rotations(at(Period::Daily, 0, 0), &SANTIAGO, 1_788_600_000, 1), [1_788_667_200]);
    }

    #[test]
    fn a_time_that_comes_twice_is_reached_once() {
        let (half_past_two, change) = (at(Period::Daily, 2, 30), 1_792_890_000);
        let first = change - 1800;
        assert_eq!(rotations(half_past_two, &BERLIN, first - 1, 2), [first, first + 25 * HOUR]);
        assert_eq!(
            rotations(half_past_two, &BERLIN, change, 1),
            [first + 25 * HOUR],
            "begun between the two"
        );
        // 24:00 is not reached when the clocks go back to 23:00 at 24:00, but an hour later.
        assert_eq!(rotations(at(Period::Daily, 0, 0), &SANTIAGO, 1_775_300_000, 1), [1_775_358_000 + HOUR]);
    }

    #[test]
    fn a_day_that_does_not_exist_has_no_rotation_of_its_own() {
        let midnight = 1_325_239_200;
        assert_eq!(rotations(at(Period::Daily, 0, 0), &APIA, midnight - 1, 2), [midnight, midnight + DAY]);
    }

    #[test]
    fn weeks_begin_on_monday() {
        // Monday, 30 March 2026, 00:00 in Berlin, a week of 167 hours after the last one.
        let monday = 1_774_821_600;
        assert_eq!(
            rotations(at(Period::Weekly, 0, 0), &BERLIN, monday - 7 * DAY, 2)[..],
            [monday - 167 * HOUR, monday]
        );
        let utc = ClockRotation { zone: Zone::Utc, ..at(Period::Weekly, 6, 30) };
        assert_eq!(next(utc, 0, |_| 12_345), 4 * DAY + 6 * HOUR + 1800, "5 January 1970");
    }

    #[test]
    fn hours_go_on_where_the_clocks_change() {
        for change in [1_774_746_000, 1_792_890_000] {
            let from = change - HOUR - 1;
            let every_hour: Vec<_> = (0..4).map(|hour| change + (hour - 1) * HOUR).collect();
            assert_eq!(rotations(at(Period::Hourly, 0, 0), &BERLIN, from, 4), every_hour);
        }
        // 05:45 from Greenwich: the hours of Kathmandu begin at a quarter past.
        assert_eq!(rotations(at(Period::Hourly, 0, 0), &KATHMANDU, 0, 2), [900, 4500]);
        assert_eq!(rotations(at(Period::Hourly, 0, 15), &KATHMANDU, 0, 2), [1800, 5400]);
    }

    #[test]
    fn a_step_forward_over_many_times_is_one_rotation() {
        let mut schedule = Schedule::new(at(Period::Hourly, 0, 0), 0, |_| 0);
        assert_eq!(schedule.due(), HOUR);
        assert!(!schedule.take_due(HOUR - 1, |_| 0));
        assert!(schedule.take_due(10 * HOUR + 5, |_| 0));
        assert!(!schedule.take_due(10 * HOUR + 5, |_| 0));
        assert_eq!(schedule.due(), 11 * HOUR);
    }

    #[test]
    fn after_a_step_back_the_time_comes_again() {
        let mut schedule = Schedule::new(at(Period::Daily, 0, 0), 100 * DAY - 1, |_| 0);
        assert!(schedule.take_due(100 * DAY, |_| 0));
        assert!(!schedule.take_due(100 * DAY - HOUR, |_| 0), "the clock was an hour fast");
        assert_eq!(schedule.due(), 100 * DAY);
        assert!(!schedule.take_due(3 * DAY + 5, |_| 0));
        assert_eq!(schedule.due(), 4 * DAY, "not after the three months by which the clock was fast");
    }

    #[test]
    fn a_corrected_clock_does_not_rotate_twice() {
        let mut schedule = Schedule::new(at(Period::Daily, 0, 0), DAY - 1, |_| 0);
        assert!(schedule.take_due(DAY, |_| 0));
        for time in [DAY - 2, DAY - 1, DAY, DAY + 1] {
            assert!(!schedule.take_due(time, |_| 0));
            assert_eq!(schedule.due(), 2 * DAY);
        }
        assert!(schedule.take_due(2 * DAY, |_| 0));
    }

    fn rotation() -> impl Strategy<Value = ClockRotation> {
        let period = prop_oneof![Just(Period::Hourly), Just(Period::Daily), Just(Period::Weekly)];
        (period, 0_u8..24, 0_u8..60, any::<bool>()).prop_map(|(period, hour, minute, utc)| ClockRotation {
            period,
            hour: if period == Period::Hourly { 0 } else { hour },
            minute,
            zone: if utc { Zone::Utc } else { Zone::Local },
        })
    }

    /// A zone that never was: with any offset in minutes that a clock can have, and two changes of up to a day.
    fn invented() -> impl Strategy<Value = Place> {
        let (offset, days) = (|most: i32| (-most..=most).prop_map(|minutes| minutes * 60), 3_i64..400);
        (offset(12 * 60), offset(13 * 60), offset(13 * 60), 0_i64..DAY / 60, days, 0_i64..DAY / 60).prop_map(
            |(first, second, third, minute, days, later)| {
                let change = 20_000 * DAY + minute * 60;
                let changes = vec![(change, second), (change + days * DAY + later * 60, third)];
                Place { first, changes: Cow::Owned(changes) }
            },
        )
    }

    /// A zone and a time near one of its changes.
    fn time() -> impl Strategy<Value = (Place, i64)> {
        let place = prop_oneof![(0..PLACES.len()).prop_map(|index| PLACES[index].clone()), invented()];
        (place, -2 * DAY..2 * DAY, any::<prop::sample::Index>()).prop_map(|(place, around, change)| {
            let changes = &place.changes;
            let change = if changes.is_empty() { 0 } else { changes[change.index(changes.len())].0 };
            (place, change + around)
        })
    }

    proptest! {
        /// Against a clock that is looked at each minute: a rotation is where it first reads a time that is due.
        #[test]
        fn a_clock_that_is_watched_agrees(rotation in rotation(), (place, from) in time()) {
            let from = from - from.rem_euclid(60);
            let found = next(rotation, from, |time| place.offset_at(time));
            let period = match rotation.period {
                Period::Hourly => HOUR,
                Period::Daily => DAY,
                Period::Weekly => 7 * DAY,
            };
            let first = i64::from(rotation.hour) * HOUR + i64::from(rotation.minute) * 60
                + if rotation.period == Period::Weekly { FIRST_MONDAY } else { 0 };
            let turn = |time: i64| {
                let offset = match rotation.zone {
                    Zone::Utc => 0,
                    Zone::Local => i64::from(place.offset_at(time)),
                };
                let offset = if rotation.period == Period::Hourly { offset.rem_euclid(HOUR) } else { offset };
                (time + offset - first).div_euclid(period)
            };
            // The highest turn that the clock had shown by `from`.
            let shown = (0..=2 * 24 * 60).map(|minute| turn(from - minute * 60)).max().unwrap();
            let watched = (1..).map(|minute| from + minute * 60).find(|&time| turn(time) > shown);
            prop_assert_eq!(Some(found), watched);
        }

        #[test]
        fn the_next_one_is_later_and_not_far(rotation in rotation(), (place, from) in time()) {
            let times = rotations(rotation, &place, from, 5);
            let longest = match rotation.period {
                Period::Hourly => 2 * HOUR,
                Period::Daily => DAY + FURTHEST_OFFSET,
                Period::Weekly => 7 * DAY + FURTHEST_OFFSET,
            };
            let mut before = from;
            for time in times {
                prop_assert!(time > before && time - before <= longest, "{} after {}", time, before);
                before = time;
            }
        }

        /// Whatever the clock does, what is due next is never further away than from a clock that was not touched.
        #[test]
        fn any_steps_leave_it_on_time(
            rotation in rotation(),
            (place, from) in time(),
            steps in prop::collection::vec(prop_oneof![-5_i64..5, -2 * HOUR..2 * HOUR, -9 * DAY..9 * DAY], 1..40),
        ) {
            let offset_at = |time| place.offset_at(time);
            let mut schedule = Schedule::new(rotation, from, offset_at);
            let mut now = from;
            for step in steps {
                now += step;
                let due = schedule.due();
                prop_assert_eq!(schedule.take_due(now, offset_at), due <= now);
                let untouched = next(rotation, now, offset_at);
                let is_kept = schedule.last == Some(untouched) && untouched - now <= CORRECTION;
                prop_assert!(schedule.due() == untouched || is_kept);
                prop_assert!(schedule.due() > now);
            }
        }
    }
}
