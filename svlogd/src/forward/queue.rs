//! What a server has yet to get, and what it may have to get again.
//!
//! A frame stays until the other side's kernel has it, and some time longer: a server that is killed takes with it what it
//! had not read yet. When the connection breaks, all that is here is sent again, each frame from its beginning.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

/// How many bytes a queue takes up at most.
pub const LIMIT: usize = 1 << 20;

/// What a frame takes up beside its bytes, at most: the deque may be half empty, and the allocator has its own share.
const OVERHEAD: usize = 2 * size_of::<Frame>() + 16;

/// How long a frame is kept after it was sent, unless its place is needed.
pub const MEMORY: Duration = Duration::from_secs(5);

/// How often, at most, is looked for what to forget.
const PACE: Duration = Duration::from_secs(1);

/// A frame that has arrived is sent again so often at most after connections that the server ended in good order: it has
/// read the frame by then, so one that closes each connection soon does not get it for ever.
const REPEATS: u8 = 5;

/// A bounded queue of frames, those that were sent first.
#[derive(Default)]
pub struct Queue {
    frames: VecDeque<Frame>,
    size: usize,
    /// So many frames were sent.
    sent: usize,
    /// So many bytes of the next one were sent.
    partial: usize,
    /// So many bytes were sent over this connection.
    position: u64,
    /// So many of them have arrived.
    arrived: u64,
    forget_at: Duration,
}

struct Frame {
    bytes: Box<[u8]>,
    /// The position in the connection after it.
    end: u64,
    sent_at: Duration,
    repeats: u8,
}

impl Queue {
    /// Appends a frame. `false` if there is no place, even without what has arrived.
    pub fn push(&mut self, bytes: Vec<u8>) -> bool {
        let size = bytes.len() + OVERHEAD;
        while self.size + size > LIMIT && self.forget_if(|_| true) {}
        let fits = self.size + size <= LIMIT;
        if fits {
            self.size += size;
            self.frames.push_back(Frame { bytes: bytes.into(), end: 0, sent_at: Duration::ZERO, repeats: 0 });
        }
        fits
    }

    /// Whether a frame of so many bytes can be appended as it is.
    pub fn has_place(&self, length: usize) -> bool {
        self.size + length + OVERHEAD <= LIMIT
    }

    /// Whether everything was sent.
    pub fn is_sent(&self) -> bool {
        self.sent == self.frames.len()
    }

    /// How many frames were not sent whole.
    pub fn waiting(&self) -> usize {
        self.frames.len() - self.sent
    }

    /// How many frames there are, sent ones too.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The next frame to send, whole.
    pub fn next(&self) -> Option<&[u8]> {
        self.frames.get(self.sent).map(|frame| &*frame.bytes)
    }

    /// What is to be sent next, in at most `count` slices.
    pub fn slices(&self, count: usize) -> Vec<IoSlice<'_>> {
        let frames = self.frames.range(self.sent..).take(count).enumerate();
        frames
            .map(|(at, frame)| IoSlice::new(&frame.bytes[if at == 0 { self.partial } else { 0 }..]))
            .collect()
    }

    /// Takes note that the next `count` bytes were sent.
    pub fn advance(&mut self, count: usize, now: Duration) {
        self.position += count as u64;
        self.partial += count;
        while let Some(frame) = self.frames.get_mut(self.sent)
            && self.partial >= frame.bytes.len()
        {
            self.partial -= frame.bytes.len();
            frame.end = self.position - self.partial as u64;
            frame.sent_at = now;
            self.sent += 1;
        }
    }

    /// Takes note that all bytes sent have arrived, except for the last `missing` ones.
    pub fn note_arrival(&mut self, missing: usize) {
        self.arrived = self.arrived.max(self.position.saturating_sub(missing as u64));
    }

    /// Removes the next frame, which is not sent or needs no memory.
    pub fn remove_next(&mut self) {
        if let Some(frame) = self.frames.remove(self.sent) {
            self.size -= frame.bytes.len() + OVERHEAD;
            self.partial = 0;
        }
    }

    /// Forgets what has arrived and was sent long enough before `now`.
    pub fn forget_old(&mut self, now: Duration) {
        while self.forget_if(|frame| frame.sent_at.saturating_add(MEMORY) <= now) {}
        // What is old and has not arrived is looked for less and less often.
        let age = self.frames.front().map_or(Duration::ZERO, |frame| now.saturating_sub(frame.sent_at));
        self.forget_at = now.saturating_add(if age < MEMORY { PACE } else { age });
        if self.frames.is_empty() {
            self.frames.shrink_to(0);
        }
    }

    /// When there may be something to forget.
    pub fn forget_at(&self) -> Option<Duration> {
        let oldest = self.frames.front().filter(|_| self.sent > 0)?;
        Some(oldest.sent_at.saturating_add(MEMORY).max(self.forget_at))
    }

    /// Takes note that the connection is gone: everything is to be sent. `read` if the server had read what arrived.
    pub fn rewind(&mut self, read: bool) {
        let arrived = self.arrived;
        for frame in self.frames.range_mut(..self.sent).filter(|frame| read && frame.end <= arrived) {
            frame.repeats = frame.repeats.saturating_add(1);
        }
        while self.forget_if(|frame| frame.repeats > REPEATS) {}
        (self.sent, self.partial, self.position, self.arrived) = (0, 0, 0, 0);
    }

    /// Whether everything was sent and has arrived.
    pub fn has_arrived(&self) -> bool {
        self.is_sent() && self.frames.back().is_none_or(|last| last.end <= self.arrived)
    }

    /// Removes everything; returns how many frames have not arrived, and were not read by another server before.
    pub fn clear(&mut self) -> usize {
        let Self { sent, arrived, .. } = *self;
        let has_arrived =
            |(at, frame): (usize, &Frame)| at < sent && frame.end <= arrived || frame.repeats > 0;
        let count = self.frames.iter().enumerate().filter(|&frame| !has_arrived(frame)).count();
        *self = Self::default();
        count
    }

    fn forget_if(&mut self, is_old: impl Fn(&Frame) -> bool) -> bool {
        let arrived = self.arrived;
        let front =
            self.frames.front().filter(|frame| self.sent > 0 && frame.end <= arrived && is_old(frame));
        let Some(size) = front.map(|frame| frame.bytes.len() + OVERHEAD) else { return false };
        self.frames.pop_front();
        self.size -= size;
        self.sent -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(100);

    fn texts(queue: &Queue) -> Vec<Vec<u8>> {
        queue.slices(usize::MAX).iter().map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn a_torn_frame_is_sent_again_from_its_beginning() {
        let mut queue = Queue::default();
        for text in ["one", "two", "three"] {
            assert!(queue.push(text.into()));
        }
        queue.advance(4, NOW);
        assert_eq!((texts(&queue), queue.waiting()), (vec![b"wo".to_vec(), b"three".to_vec()], 2));
        queue.note_arrival(1);
        queue.forget_old(NOW + MEMORY);
        queue.rewind(false);
        assert_eq!(texts(&queue), [b"two".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn only_what_has_arrived_gives_its_place_away() {
        let mut queue = Queue::default();
        let half = vec![b'x'; LIMIT / 2];
        assert!(queue.push(half.clone()) && !queue.push(half.clone()));
        queue.advance(half.len(), NOW);
        assert!(!queue.push(half.clone()), "it is on its way");
        queue.note_arrival(0);
        assert!(queue.push(half));
        assert_eq!((queue.len(), queue.waiting()), (1, 1));
    }

    #[test]
    fn a_server_that_has_read_a_frame_does_not_get_it_for_ever() {
        let mut queue = Queue::default();
        queue.push(b"a".to_vec());
        for read in [false].iter().cycle().take(20).chain([true; 5].iter()) {
            assert_eq!(queue.waiting(), 1);
            queue.advance(1, NOW);
            queue.note_arrival(0);
            queue.rewind(*read);
        }
        queue.advance(1, NOW);
        queue.rewind(true);
        assert_eq!(queue.waiting(), 1, "it did not arrive");
        queue.advance(1, NOW);
        queue.note_arrival(0);
        queue.rewind(true);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_a_server_has_read_is_not_lost() {
        let mut queue = Queue::default();
        for text in ["read", "arrived", "sent", "waiting"] {
            queue.push(text.into());
        }
        queue.advance(4, NOW);
        queue.note_arrival(0);
        queue.rewind(true);
        queue.advance(15, NOW);
        queue.note_arrival(4);
        queue.rewind(false);
        assert_eq!((queue.waiting(), queue.clear(), queue.waiting()), (4, 3, 0));
    }

    #[test]
    fn what_was_sent_has_not_arrived() {
        let mut queue = Queue::default();
        assert!(queue.has_arrived());
        for text in ["one", "two", "three"] {
            queue.push(text.into());
        }
        queue.advance(11, NOW);
        queue.note_arrival(6);
        assert!(queue.is_sent() && !queue.has_arrived());
        queue.note_arrival(5);
        assert_eq!(queue.clear(), 1);
    }

    #[test]
    fn what_does_not_arrive_is_looked_for_less_and_less_often() {
        let mut queue = Queue::default();
        queue.push(b"a".to_vec());
        queue.advance(1, NOW);
        let mut times = 0;
        while let Some(due) = queue.forget_at().filter(|&due| due < NOW + Duration::from_secs(3600)) {
            queue.forget_old(due);
            times += 1;
        }
        assert!((5..15).contains(&times), "{times}");
    }

    #[test]
    fn what_was_sent_later_is_forgotten_a_little_later() {
        let mut queue = Queue::default();
        queue.push(b"a".to_vec());
        queue.advance(1, NOW);
        queue.push(b"b".to_vec());
        queue.advance(1, NOW + PACE / 2);
        queue.note_arrival(0);
        queue.forget_old(NOW + MEMORY);
        assert_eq!((queue.len(), queue.forget_at()), (1, Some(NOW + MEMORY + PACE)));
    }

    #[test]
    fn what_arrived_is_forgotten_in_time() {
        let mut queue = Queue::default();
        assert_eq!(queue.forget_at(), None);
        queue.push(b"a".to_vec());
        queue.advance(1, NOW);
        assert_eq!(queue.forget_at(), Some(NOW + MEMORY));
        queue.forget_old(NOW + MEMORY);
        assert_eq!(queue.len(), 1, "it has not arrived");
        queue.note_arrival(0);
        queue.forget_old(NOW + MEMORY - Duration::from_nanos(1));
        assert_eq!(queue.len(), 1, "it is young");
        queue.forget_old(NOW + MEMORY);
        assert!(queue.is_empty() && queue.forget_at().is_none());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Send(usize),
        Arrive,
        Break,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..50_usize).prop_map(Step::Push),
            4 => (0..100_usize).prop_map(Step::Send),
            1 => Just(Step::Arrive),
            1 => Just(Step::Break),
        ]
    }

    proptest! {
        /// When a connection breaks, the receiver has no more than what was known to have arrived.
        #[test]
        fn nothing_is_lost_whenever_the_connection_breaks(steps in prop::collection::vec(step(), 0..60)) {
            let mut queue = Queue::default();
            let (mut pushed, mut received, mut stream) = (Vec::new(), Vec::new(), Vec::new());
            let mut arrived = 0;
            let mut time = NOW;
            for step in steps.into_iter().chain([Step::Break, Step::Send(usize::MAX), Step::Arrive, Step::Break]) {
                time += Duration::from_secs(3);
                match step {
                    Step::Push(length) => {
                        let mut frame = format!("{length:02}{:04}", pushed.len()).into_bytes();
                        frame.resize(6 + length, b'.');
                        prop_assert!(queue.push(frame.clone()));
                        pushed.push(frame);
                    }
                    Step::Send(count) => {
                        let waiting = texts(&queue).concat();
                        let count = count.min(waiting.len());
                        stream.extend_from_slice(&waiting[..count]);
                        queue.advance(count, time);
                    }
                    Step::Arrive => {
                        arrived = stream.len();
                        queue.note_arrival(0);
                        queue.forget_old(time);
                    }
                    Step::Break => {
                        let mut rest = &stream[..std::mem::take(&mut arrived)];
                        while rest.len() >= 6 {
                            let length = 6 + str::from_utf8(&rest[..2]).unwrap().parse::<usize>().unwrap();
                            if rest.len() < length {
                                break;
                            }
                            received.push(rest[..length].to_vec());
                            rest = &rest[length..];
                        }
                        stream.clear();
                        queue.rewind(false);
                    }
                }
            }
            for frame in &pushed {
                prop_assert!(received.contains(frame));
            }
            prop_assert!(queue.size <= LIMIT);
            prop_assert_eq!(queue.size, queue.frames.iter().map(|frame| frame.bytes.len() + OVERHEAD).sum::<usize>());
        }
    }
}
