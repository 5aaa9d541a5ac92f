//! From the gateway's loop to the admin plane's. The queue has no bound, so that the gateway never
//! waits: what it holds is bounded by the backlog of each link, and by the requests under way.

use std::fmt;
use std::sync::mpsc::Sender;
use std::time::Duration;

use majordomo::{Handle, Ticket};

use super::answer::Answer;
use super::plane::Plane;

/// What the gateway's loop has for the plane.
pub(super) enum Note {
    /// Lines for a control link, by its number.
    Lines { link: u64, lines: Vec<u8> },
    /// The answer to a request, once it is finished here.
    Answer(Ticket, Finish),
    /// The end.
    Stop { grace: Duration },
}

/// Makes an answer of what the gateway's loop has gathered.
pub(super) type Finish = Box<dyn FnOnce() -> Answer + Send>;

/// How notes are sent.
#[derive(Clone)]
pub(super) struct Courier {
    notes: Sender<Note>,
    plane: Handle<Plane>,
}

impl Courier {
    pub(super) fn new(notes: Sender<Note>, plane: Handle<Plane>) -> Self {
        Self { notes, plane }
    }

    /// Never blocks.
    pub(super) fn send(&self, note: Note) {
        // After the plane's end there is nobody to miss it.
        let _ = self.notes.send(note);
        // All that waits in that queue looks for notes: if it is full, this one will be found.
        let _ = self.plane.try_post(Plane::take_notes);
    }
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}
