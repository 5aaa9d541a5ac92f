//! Tasks that another thread gives to a loop without ever waiting for it. The queue of a
//! [`Handle`] is bounded: a task for which it has no place waits here, in order.

use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use majordomo::{Error, Handle, Result, Sessions};

/// A task for the loop of `H`.
type Task<H> = Box<dyn FnOnce(&mut H, &mut Sessions) + Send>;

/// A handler that has a [`TaskQueue`].
pub(crate) trait TaskPerformer: Sized {
    /// Performs the next task of its queue. It is called once for each.
    fn perform_task(&mut self, sessions: &mut Sessions);
}

/// The end of the other thread.
pub(crate) struct TaskPoster<H> {
    handle: Handle<H>,
    tasks: Sender<Task<H>>,
    /// How many tasks the loop was not told of yet, because its queue was full.
    waiting: usize,
}

/// The end of the loop.
pub(crate) struct TaskQueue<H>(Receiver<Task<H>>);

/// Both ends.
pub(crate) fn channel<H>(handle: Handle<H>) -> (TaskPoster<H>, TaskQueue<H>) {
    let (tasks, queue) = mpsc::channel();
    (TaskPoster { handle, tasks, waiting: 0 }, TaskQueue(queue))
}

impl<H: TaskPerformer + 'static> TaskPoster<H> {
    /// After how long [`TaskPoster::retry`] is to be called while tasks wait. The loop empties its
    /// queue in about that time, or it is busy with what is in it.
    pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(1);

    /// Posts a task, which is performed after all that were posted before.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]: the loop has ended, and the task is discarded.
    pub(crate) fn post(
        &mut self,
        task: impl FnOnce(&mut H, &mut Sessions) + Send + 'static,
    ) -> Result<()> {
        self.tasks.send(Box::new(task)).map_err(|_| Error::Stopped)?;
        self.waiting += 1;
        self.retry()
    }

    /// Tells the loop of the tasks that wait, as far as its queue has places.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]: the loop has ended, and all tasks are discarded.
    pub(crate) fn retry(&mut self) -> Result<()> {
        while self.waiting > 0 {
            match self.handle.try_post(H::perform_task) {
                Ok(()) => self.waiting -= 1,
                Err(Error::QueueFull) => break,
                Err(error) => {
                    self.waiting = 0;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether tasks wait because the loop's queue is full.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting > 0
    }
}

impl<H> TaskQueue<H> {
    /// Takes the next task.
    ///
    /// # Panics
    ///
    /// If there is none: each task is sent before the loop is told of it.
    pub(crate) fn next(&self) -> impl FnOnce(&mut H, &mut Sessions) + use<H> {
        self.0.try_recv().expect("each task was sent before its call was posted")
    }
}

impl<H> fmt::Debug for TaskPoster<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPoster").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl<H> fmt::Debug for TaskQueue<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskQueue")
    }
}
