//! Crowds: clients by the million, that take all they are sent and keep none of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::Simulation;
use crate::handler::Handler;
use crate::id::SessionKey;
use crate::session::ListenerId;
use crate::tick::Readiness;
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
        let transport = Stream::Population(self.population.socket());
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let key = self.tick_on(|tick| tick.handle_accepted(transport, remote, listener))?;
        let key = key.ok_or_else(|| io::Error::other("one address has too many sessions"))?;
        self.member_sends(key, hello);
        Ok(key)
    }

    /// Has a client of the population say `bytes`, and runs a tick for it. What the server does not
    /// read in that tick is lost: at most 256 KiB, and nothing while reads are paused.
    pub fn member_sends(&mut self, key: SessionKey, bytes: &[u8]) {
        self.population.say(bytes);
        self.tick_on(|tick| {
            tick.begin();
            tick.handle_readiness(key, Readiness { readable: true, ..Readiness::default() });
            tick.finish();
        });
        self.population.say(&[]);
    }

    /// What the population has been sent so far.
    #[must_use]
    pub fn population_traffic(&self) -> PopulationTraffic {
        let (writes, bytes) = self.population.heard();
        PopulationTraffic { writes, bytes }
    }
}
