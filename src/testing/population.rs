//! A population: clients by the million, that count the bytes they receive and keep none.

use std::io;

use super::request::default_remote;
use super::simulation::Simulation;
use crate::connection::ListenerId;
use crate::handler::Handler;
use crate::id::SessionKey;
use crate::sessions::Readiness;
use crate::tick::{Tick, TickInput};
use crate::transport::Stream;

/// What all clients of a population together have received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PopulationTraffic {
    /// The writes of the server.
    pub writes: u64,
    /// The bytes of these writes.
    pub bytes: u64,
}

impl<H: Handler + 'static> Simulation<H> {
    /// Connects a client of the population, which sends `bytes`, and runs a tick for it. A client
    /// costs what its session does, and nothing of its own.
    ///
    /// # Errors
    ///
    /// [`Config::max_sessions_per_address`](crate::Config::max_sessions_per_address) is reached:
    /// all of a population have one address.
    #[doc(hidden)]
    pub fn add_member(&mut self, listener: ListenerId, bytes: &[u8]) -> io::Result<SessionKey> {
        let stream = Stream::Population(self.population.socket());
        let key = self.accept_one(stream, default_remote(), listener);
        let key = key.ok_or_else(|| io::Error::other("one address has too many sessions"))?;
        self.member_sends(key, bytes);
        Ok(key)
    }

    /// Has a client of the population send `bytes`, and runs a tick for it. The server reads at most
    /// 256 KiB in that tick, and nothing while reads are paused. The rest is lost.
    #[doc(hidden)]
    pub fn member_sends(&mut self, key: SessionKey, bytes: &[u8]) {
        self.population.set_input(bytes);
        self.sessions.set_now(self.now);
        let Self { sessions, handler, buffer, .. } = self;
        Tick::new(sessions, handler, buffer).run(&mut ReadableMember(key));
        self.population.set_input(&[]);
    }

    /// What the population has received so far.
    #[doc(hidden)]
    #[must_use]
    pub fn population_traffic(&self) -> PopulationTraffic {
        let (writes, bytes) = self.population.written();
        PopulationTraffic { writes, bytes }
    }
}

/// A member of the population that has something to read.
struct ReadableMember(SessionKey);

impl<H: Handler> TickInput<H> for ReadableMember {
    fn events(&mut self, tick: &mut Tick<'_, H>) {
        tick.handle_readiness(self.0, Readiness { readable: true, ..Readiness::default() });
    }

    fn accept(&mut self, _: &mut Tick<'_, H>) {}

    fn posted(&mut self, _: &mut Tick<'_, H>) {}
}
