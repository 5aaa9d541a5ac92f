//! The outbox compared with a naive model that keeps each frame separately.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use majordomo::outbox::{Departed, FrameKind, Outbox, Pool};
use proptest::prelude::*;

/// The bound in the docs of [`Pool::new`], in bytes.
const POOL_BYTES: usize = 1 << 20;

#[derive(Clone, Debug)]
struct Frame {
    bytes: Vec<u8>,
    written: usize,
    payload: usize,
    kind: FrameKind,
}

impl Frame {
    fn departed(&self) -> Departed {
        let mut departed = Departed::default();
        if self.kind == FrameKind::Message {
            departed.messages = 1;
            departed.payload = self.payload as u64;
        }
        departed
    }
}

fn add(sum: &mut Departed, more: Departed) {
    sum.messages += more.messages;
    sum.payload += more.payload;
}

/// The queued frames, each separately.
#[derive(Debug, Default)]
struct Model(VecDeque<Frame>);

impl Model {
    fn queued(&self) -> usize {
        self.0.iter().map(|frame| frame.bytes.len() - frame.written).sum()
    }

    fn bytes(&self) -> Vec<u8> {
        let frames: Vec<_> = self.0.iter().map(|frame| &frame.bytes[frame.written..]).collect();
        frames.concat()
    }

    fn waiting(&self) -> Departed {
        let mut waiting = Departed::default();
        self.0.iter().for_each(|frame| add(&mut waiting, frame.departed()));
        waiting
    }

    fn advance(&mut self, mut count: usize) -> Departed {
        let mut departed = Departed::default();
        while count > 0 {
            let frame = self.0.front_mut().expect("no more than is queued");
            let taken = count.min(frame.bytes.len() - frame.written);
            frame.written += taken;
            count -= taken;
            if frame.written == frame.bytes.len() {
                add(&mut departed, frame.departed());
                self.0.pop_front();
            }
        }
        departed
    }

    /// Drops the oldest message that is not partly written, until the frame fits.
    fn drop_oldest(&mut self, wire: usize, limit: usize) -> Departed {
        let mut dropped = Departed::default();
        while self.queued() + wire > limit {
            let mut frames = self.0.iter();
            let oldest =
                frames.position(|frame| frame.kind == FrameKind::Message && frame.written == 0);
            let Some(oldest) = oldest else { break };
            let frame = self.0.remove(oldest).expect("it is there");
            add(&mut dropped, frame.departed());
        }
        dropped
    }

    /// Drops the newest message that is not partly written, down to the limit.
    fn drop_newest(&mut self, limit: usize) -> Departed {
        let mut dropped = Departed::default();
        while self.queued() > limit {
            let mut frames = self.0.iter();
            let newest =
                frames.rposition(|frame| frame.kind == FrameKind::Message && frame.written == 0);
            let Some(newest) = newest else { break };
            let frame = self.0.remove(newest).expect("it is there");
            add(&mut dropped, frame.departed());
        }
        dropped
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The number of parts, the total length, and the length of the head.
    Push {
        parts: usize,
        length: usize,
        head: usize,
        control: bool,
    },
    Shared {
        length: usize,
        head: usize,
    },
    /// Through the pool's run, if it has room.
    Run {
        length: usize,
        head: usize,
    },
    /// The same for a control frame, which may be the same as the last.
    Control {
        length: usize,
        again: bool,
    },
    /// The end of a tick: an outbox that refers to the run takes a copy.
    EndRun,
    /// So many thousandths of the queued bytes.
    Advance(usize),
    /// Exactly the first chunk, as a write that is not vectored.
    AdvanceFront,
    /// With a limit of so many thousandths of the queued bytes.
    DropOldest {
        wire: usize,
        limit: usize,
    },
    /// The same.
    DropNewest {
        limit: usize,
    },
    Clear,
}

/// Lengths on either side of all the thresholds: a frame that is copied, a buffer that is full, a
/// buffer that is pooled.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 1_usize..200,
        2 => 1000_usize..1050,
        1 => 2000_usize..9000,
        1 => 16_000_usize..17_000,
        1 => 60_000_usize..70_000,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1_usize..4, length(), 0_usize..14, prop::bool::weighted(0.2)).prop_map(
            |(parts, length, head, control)| Step::Push { parts, length, head, control }
        ),
        6 => (length(), 0_usize..14).prop_map(|(length, head)| Step::Shared { length, head }),
        6 => (length(), 0_usize..14).prop_map(|(length, head)| Step::Run { length, head }),
        3 => (1_usize..127, any::<bool>())
            .prop_map(|(length, again)| Step::Control { length, again }),
        2 => Just(Step::EndRun),
        3 => (0_usize..1000).prop_map(Step::Advance),
        1 => Just(Step::Advance(1000)),
        2 => Just(Step::AdvanceFront),
        2 => (1_usize..3000, 0_usize..1100)
            .prop_map(|(wire, limit)| Step::DropOldest { wire, limit }),
        2 => (0_usize..1100).prop_map(|limit| Step::DropNewest { limit }),
        1 => Just(Step::Clear),
    ]
}

/// Two outboxes that share a pool, so that one reuses the buffers of the other.
#[derive(Debug, Default)]
struct Pair {
    outboxes: [Outbox; 2],
    models: [Model; 2],
    pool: Pool,
    counter: u8,
    /// The last control frame that was shared.
    control: Vec<u8>,
}

impl Pair {
    /// A frame that differs from its neighbours.
    fn frame(&mut self, length: usize) -> Vec<u8> {
        let first = self.counter;
        self.counter = self.counter.wrapping_add(37);
        let mut bytes = vec![first; length];
        for at in (0..length).step_by(61) {
            bytes[at] = u8::try_from(at % 251).expect("a remainder");
        }
        bytes
    }

    fn perform(&mut self, at: usize, step: &Step) {
        match *step {
            Step::Push { parts, length, head, control } => {
                let bytes = self.frame(length);
                let kind = if control { FrameKind::Control } else { FrameKind::Message };
                let payload = length.saturating_sub(head);
                let pieces: Vec<_> = bytes.chunks(length.div_ceil(parts)).collect();
                self.outboxes[at].push(&mut self.pool, &pieces, payload, kind);
                self.models[at].0.push_back(Frame { bytes, written: 0, payload, kind });
            }
            Step::Shared { length, head } => {
                let bytes = self.frame(length);
                let payload = length.saturating_sub(head);
                let shared = Bytes::from(bytes.clone());
                // A broadcast: both take a reference, unless the other outbox has left the run.
                for at in [at, 1].into_iter().take(2 - at) {
                    self.outboxes[at].push_shared(&mut self.pool, &shared, payload);
                    let kind = FrameKind::Message;
                    let bytes = bytes.clone();
                    self.models[at].0.push_back(Frame { bytes, written: 0, payload, kind });
                }
            }
            Step::Run { length, head } => {
                let bytes = self.frame(length);
                let payload = length.saturating_sub(head);
                let Some(frame) = self.pool.add_to_batch(&[&bytes], payload) else { return };
                assert_eq!(frame.len(), length);
                for at in [at, 1].into_iter().take(2 - at) {
                    self.outboxes[at].push_batched(frame);
                    let kind = FrameKind::Message;
                    let bytes = bytes.clone();
                    self.models[at].0.push_back(Frame { bytes, written: 0, payload, kind });
                }
            }
            Step::Control { length, again } => {
                if !again || self.control.is_empty() {
                    self.control = self.frame(length);
                }
                let bytes = self.control.clone();
                let Some(frame) = self.pool.share_control(&bytes) else { return };
                assert_eq!(self.pool.share_control(&bytes), Some(frame), "it stands there once");
                self.outboxes[at].push_batched(frame);
                let kind = FrameKind::Control;
                self.models[at].0.push_back(Frame { bytes, written: 0, payload: 0, kind });
            }
            Step::EndRun => {
                for outbox in &mut self.outboxes {
                    outbox.copy_out_of_batch(&mut self.pool);
                }
                self.pool.clear_batch();
                self.check(0);
                self.check(1);
            }
            Step::Advance(part) => {
                let count = self.models[at].queued() * part / 1000;
                let departed = self.outboxes[at].advance(&mut self.pool, count);
                assert_eq!(departed, self.models[at].advance(count));
            }
            Step::AdvanceFront => {
                let count = self.outboxes[at].front(&self.pool).len();
                let departed = self.outboxes[at].advance(&mut self.pool, count);
                assert_eq!(departed, self.models[at].advance(count));
            }
            Step::DropOldest { wire, limit } => {
                let limit = self.models[at].queued() * limit / 1000;
                let dropped = self.outboxes[at].drop_oldest(&mut self.pool, wire, limit);
                assert_eq!(dropped, self.models[at].drop_oldest(wire, limit));
            }
            Step::DropNewest { limit } => {
                let limit = self.models[at].queued() * limit / 1000;
                let dropped = self.outboxes[at].drop_newest(&mut self.pool, limit);
                assert_eq!(dropped, self.models[at].drop_newest(limit));
            }
            Step::Clear => {
                let lost = self.outboxes[at].clear(&mut self.pool);
                assert_eq!(lost, self.models[at].waiting());
                self.models[at].0.clear();
            }
        }
        self.check(at);
    }

    fn check(&self, at: usize) {
        let (outbox, model) = (&self.outboxes[at], &self.models[at]);
        let queued = model.queued();
        assert_eq!(outbox.queued_bytes(), queued);
        assert_eq!(outbox.is_empty(), queued == 0);
        assert_eq!(outbox.waiting(&self.pool), model.waiting());
        let begun = model.0.front().is_some_and(|frame| frame.written > 0);
        assert_eq!(outbox.is_at_boundary(), !begun);
        let room = [(1, queued), (1, queued + 1), (queued + 5, 1)];
        for (wire, limit) in room {
            assert_eq!(outbox.has_room(wire, limit), queued == 0 || queued + wire <= limit);
        }
        let mut slices = [IoSlice::new(&[]); 512];
        let filled = outbox.slices(&self.pool, &mut slices);
        let slices: Vec<&[u8]> = slices[..filled].iter().map(|slice| &**slice).collect();
        let bytes = slices.concat();
        assert!(bytes == model.bytes(), "the bytes differ");
        assert!(bytes.starts_with(outbox.front(&self.pool)));
        assert_eq!(outbox.is_contiguous(), outbox.front(&self.pool).len() == queued);
        assert!(self.pool.kept_bytes() <= POOL_BYTES);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_outbox_is_the_same_as_a_naive_queue_of_frames(
        steps in prop::collection::vec((0_usize..2, step()), 0..60),
    ) {
        let mut pair = Pair::default();
        for (at, step) in &steps {
            pair.perform(*at, step);
        }
// The remaining frames are written whole.
        for at in 0..2 {
            while !pair.outboxes[at].is_empty() {
                pair.perform(at, &Step::AdvanceFront);
            }
        }
    }

    #[test]
    fn a_slow_socket_gets_every_byte_once(
        lengths in prop::collection::vec((length(), any::<bool>()), 1..30),
        writes in prop::collection::vec(1_usize..5000, 1..20),
    ) {
        let mut pair = Pair::default();
        let mut expected = Vec::new();
        for (length, shared) in lengths {
            let bytes = pair.frame(length);
            expected.extend_from_slice(&bytes);
            if shared {
                pair.outboxes[0].push_shared(&mut pair.pool, &Bytes::from(bytes), length);
            } else {
                pair.outboxes[0].push(&mut pair.pool, &[&bytes], length, FrameKind::Message);
            }
        }
        let mut written = Vec::new();
        for most in writes.iter().cycle() {
            let outbox = &mut pair.outboxes[0];
            let count = outbox.front(&pair.pool).len().min(*most);
            written.extend_from_slice(&outbox.front(&pair.pool)[..count]);
            outbox.advance(&mut pair.pool, count);
            if outbox.is_empty() {
                break;
            }
        }
        prop_assert!(written == expected, "the bytes differ");
    }
}

#[test]
fn a_pool_keeps_at_most_its_bound_when_many_outboxes_empty_at_once() {
    let mut pool = Pool::new();
    let mut outboxes: Vec<_> = (0..300).map(|_| Outbox::default()).collect();
    for _ in 0..3 {
        for outbox in &mut outboxes {
            for _ in 0..15 {
                outbox.push(&mut pool, &[&[0; 1000]], 1000, FrameKind::Message);
            }
        }
        assert_eq!(pool.kept_bytes(), 0, "all of it is in use");
        for outbox in &mut outboxes {
            outbox.clear(&mut pool);
            assert!(pool.kept_bytes() <= POOL_BYTES);
        }
        assert!(pool.kept_bytes() > POOL_BYTES / 2, "and some of it is kept");
    }
}

#[test]
#[should_panic(expected = "a socket accepts at most what it is given")]
fn a_socket_cannot_take_more_than_is_queued() {
    let mut pool = Pool::new();
    let mut outbox = Outbox::default();
    outbox.push(&mut pool, &[b"ab"], 2, FrameKind::Message);
    outbox.advance(&mut pool, 3);
}
