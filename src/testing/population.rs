//! Crowds: clients by the million, that take all they are sent and keep none of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::Simulation;
use crate::connection::ListenerId;
use crate::handler::Handler;
use crate::id::SessionKey;
use crate::sessions::Readiness;
use crate::tick::{Tick, TickInput};
use crate::transport::Stream;

/// What the clients of a population have been sent, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PopulationTraffic {
    /// Writes of the server's.
    pub writes: u64,
    /// The bytes of these writes.
    pub bytes: u64,
}

impl<H: Handler + 'static> Simulation<H> {
    /// Connects a client of the population, which says `hello`, and runs a tick for it. A client costs
    /// what its session does, and nothing of its own.
    ///
    /// # Errors
    ///
    /// [`Config::max_sessions_per_address`](crate::Config::max_sessions_per_address) is reached:
    /// all of a population have one address.
    pub fn add_member(&mut self, listener: ListenerId, hello: &[u8]) -> io::Result<SessionKey> {
        let stream = Stream::Population(self.population.socket());
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let key = self.accept_one(stream, remote, listener);
        let key = key.ok_or_else(|| io::Error::other("one address has too many sessions"))?;
        self.member_sends(key, hello);
        Ok(key)
    }

    /// Has a client of the population say `bytes`, and runs a tick for it. What the server does not
    /// read in that tick is lost: at most 256 KiB, and nothing while reads are paused.
    pub fn member_sends(&mut self, key: SessionKey, bytes: &[u8]) {
        self.population.say(bytes);
        self.sessions.set_now(self.now);
        let Self { sessions, handler, buffer, .. } = self;
        Tick { sessions, handler, buffer }.run(&mut ReadableMember(key));
        self.population.say(&[]);
    }

    /// What the population has been sent so far.
    #[must_use]
    pub fn population_traffic(&self) -> PopulationTraffic {
        let (writes, bytes) = self.population.heard();
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
