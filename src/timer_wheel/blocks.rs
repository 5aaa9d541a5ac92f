//! Queues of entries, in blocks that all queues share. Walking a queue does not load one member to
//! find the next, and an emptied queue leaves its blocks to the others.

/// The members of a block: with its two links it fills two cache lines.
const MEMBERS: u8 = 30;

/// A member's position: its block, and in the lowest bits its place in the block.
const OFFSET_BITS: u32 = 5;

/// No block.
const NIL: u32 = u32::MAX;

const _: () = assert!((MEMBERS as usize) < 1 << OFFSET_BITS && size_of::<Block>() == 128);

/// The blocks of all queues. There are never more than were in use at once: one for each 30
/// members, and up to two partly filled ones for each queue.
#[derive(Debug)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    /// The first that no queue uses.
    free: u32,
}

#[derive(Clone, Debug)]
struct Block {
    members: [u32; MEMBERS as usize],
    /// Unspecified in the first block of a queue.
    previous: u32,
    /// Unspecified in the last block of a queue; links the unused blocks.
    next: u32,
}

/// Numbers in the order in which they were added, except that the last one fills the place of a
/// removed one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
    /// Where it begins in its head.
    first: u8,
    /// Where it ends in its tail.
    end: u8,
}

/// The members of a block that has left its queue.
pub(super) struct MemberBatch {
    members: [u32; MEMBERS as usize],
    first: u8,
    end: u8,
}

impl MemberBatch {
    pub(super) const MOST: usize = MEMBERS as usize;

    pub(super) fn members(&self) -> &[u32] {
        &self.members[usize::from(self.first)..usize::from(self.end)]
    }
}

impl Queue {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL, first: 0, end: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.head == NIL
    }
}

impl Blocks {
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new(), free: NIL }
    }

    /// Adds a member at the end. Returns its position, which is valid until the member is removed
    /// or [`Blocks::remove`] returns it as moved.
    ///
    /// # Panics
    ///
    /// When there are 2^27 blocks already, and all are full.
    #[inline]
    pub(super) fn push_back(&mut self, queue: &mut Queue, member: u32) -> u32 {
        if queue.head == NIL || queue.end == MEMBERS {
            self.grow(queue);
        }
        let position = queue.tail << OFFSET_BITS | u32::from(queue.end);
        self.blocks[queue.tail as usize].members[usize::from(queue.end)] = member;
        queue.end += 1;
        position
    }

    /// Removes the first member.
    #[inline]
    pub(super) fn pop_front(&mut self, queue: &mut Queue) -> Option<u32> {
        if queue.is_empty() {
            return None;
        }
        let member = self.blocks[queue.head as usize].members[usize::from(queue.first)];
        queue.first += 1;
        self.shrink(queue);
        Some(member)
    }

    /// Removes the member at a position of this queue. Returns the member that was moved to this
    /// position, if one was.
    pub(super) fn remove(&mut self, queue: &mut Queue, position: u32) -> Option<u32> {
        queue.end -= 1;
        let last = queue.tail << OFFSET_BITS | u32::from(queue.end);
        let moved = (last != position).then(|| {
            let member = self.blocks[queue.tail as usize].members[usize::from(queue.end)];
            let offset = position % (1 << OFFSET_BITS);
            self.blocks[(position >> OFFSET_BITS) as usize].members[offset as usize] = member;
            member
        });
        self.shrink(queue);
        moved
    }

    /// Removes the members of the first block.
    pub(super) fn pop_batch(&mut self, queue: &mut Queue) -> Option<MemberBatch> {
        if queue.is_empty() {
            return None;
        }
        let members = self.blocks[queue.head as usize].members;
        let end = if queue.head == queue.tail { queue.end } else { MEMBERS };
        let batch = MemberBatch { members, first: queue.first, end };
        queue.first = end;
        self.shrink(queue);
        Some(batch)
    }

    pub(super) fn memory(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }

    /// Adds a block to the queue.
    #[inline(never)]
    fn grow(&mut self, queue: &mut Queue) {
        let fresh = match self.free {
            NIL => self.add(),
            free => free,
        };
        let block = &mut self.blocks[fresh as usize];
        self.free = block.next;
        block.previous = queue.tail;
        match queue.tail {
            NIL => (queue.head, queue.first) = (fresh, 0),
            tail => self.blocks[tail as usize].next = fresh,
        }
        (queue.tail, queue.end) = (fresh, 0);
    }

    fn add(&mut self) -> u32 {
        let number = u32::try_from(self.blocks.len()).unwrap_or(NIL);
        assert!(number < 1 << (u32::BITS - OFFSET_BITS), "fewer than 2^27 blocks");
        let members = [0; MEMBERS as usize];
        self.blocks.push(Block { members, previous: NIL, next: self.free });
        number
    }

    /// Frees the block at either end of the queue that has become empty.
    #[inline]
    fn shrink(&mut self, queue: &mut Queue) {
        if queue.head == queue.tail {
            if queue.first == queue.end {
                self.release(queue.head);
                *queue = Queue::EMPTY;
            }
        } else if queue.first == MEMBERS {
            let next = self.blocks[queue.head as usize].next;
            self.release(queue.head);
            (queue.head, queue.first) = (next, 0);
        } else if queue.end == 0 {
            let previous = self.blocks[queue.tail as usize].previous;
            self.release(queue.tail);
            (queue.tail, queue.end) = (previous, MEMBERS);
        }
    }

    fn release(&mut self, block: u32) {
        self.blocks[block as usize].next = self.free;
        self.free = block;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    impl Blocks {
        /// The members, in order.
        fn iter(&self, queue: &Queue) -> impl Iterator<Item = u32> {
            let (mut block, mut offset, Queue { tail, end, .. }) =
                (queue.head, queue.first, *queue);
            std::iter::from_fn(move || {
                if block == NIL || (block == tail && offset == end) {
                    return None;
                }
                let Block { members, next, .. } = &self.blocks[block as usize];
                let member = members[usize::from(offset)];
                offset += 1;
                if offset == MEMBERS && block != tail {
                    (block, offset) = (*next, 0);
                }
                Some(member)
            })
        }
    }

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32),
        Pop(u32),
        Remove(Index),
        PopBatch,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (1..70_u32).prop_map(Step::Push),
            1 => (1..70_u32).prop_map(Step::Pop),
            6 => any::<Index>().prop_map(Step::Remove),
            1 => Just(Step::PopBatch),
        ]
    }

    /// A queue, and a list of its expected members.
    struct Pair {
        queue: Queue,
        members: Vec<u32>,
    }

    impl Pair {
        fn perform(&mut self, step: &Step, blocks: &mut Blocks, all: &mut All) {
            match step {
                Step::Push(count) => {
                    for _ in 0..*count {
                        let member = all.next;
                        all.next += 1;
                        let position = blocks.push_back(&mut self.queue, member);
                        all.positions.insert(member, position);
                        self.members.push(member);
                    }
                }
                Step::Pop(count) => {
                    for _ in 0..*count {
                        let first = (!self.members.is_empty()).then(|| self.members.remove(0));
                        assert_eq!(blocks.pop_front(&mut self.queue), first);
                    }
                }
                Step::Remove(index) => {
                    if self.members.is_empty() {
                        return;
                    }
                    let index = index.index(self.members.len());
                    let member = self.members.swap_remove(index);
                    let position = all.positions[&member];
                    let moved = blocks.remove(&mut self.queue, position);
                    assert_eq!(moved, self.members.get(index).copied());
                    if let Some(moved) = moved {
                        all.positions.insert(moved, position);
                    }
                }
                Step::PopBatch => {
                    let batch = blocks.pop_batch(&mut self.queue);
                    let batch = batch.as_ref().map_or(&[][..], MemberBatch::members);
                    assert_eq!(batch.is_empty(), self.members.is_empty());
                    assert_eq!(batch, self.members.drain(..batch.len()).as_slice());
                }
            }
            assert_eq!(blocks.iter(&self.queue).collect::<Vec<_>>(), self.members);
            assert_eq!(self.queue.is_empty(), self.members.is_empty());
        }
    }

    /// The expected members of all queues.
    #[derive(Default)]
    struct All {
        next: u32,
        positions: BTreeMap<u32, u32>,
    }

    proptest! {
        #[test]
        fn queues_are_as_lists_and_share_no_more_blocks_than_they_need(
            steps in prop::collection::vec((0..3_usize, step()), 0..80),
        ) {
            let (mut blocks, mut all) = (Blocks::new(), All::default());
            let mut pairs = [(); 3].map(|()| Pair { queue: Queue::EMPTY, members: Vec::new() });
            let mut most = 0;
            for (which, step) in &steps {
                pairs[*which].perform(step, &mut blocks, &mut all);
                let need = |pair: &Pair| match pair.members.len() {
                    0 => 0,
                    // A first and a last one, both partly filled.
                    count => (count - 1).div_ceil(usize::from(MEMBERS)) + 1,
                };
                most = most.max(pairs.iter().map(need).sum());
                prop_assert!(blocks.blocks.len() <= most);
            }
        }
    }
}
