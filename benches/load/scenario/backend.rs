//! `backend`: the gateway sends every message to a backend on a control connection, which sends it
//! back to the session; beside it runs a gateway that echoes itself. They take turns, so that
//! changes of the machine affect both.

use std::io;
use std::time::Duration;

use super::contest::Contest;
use super::echo::{self, Echo};
use super::{PATIENCE, Place, Setting};
use crate::client::{Backend, Target};
use crate::comparison::{Figure, Goal, Role, Row, Unit};
use crate::figures::figure;
use crate::measure::Measurement;
use crate::progress::Progress;
use crate::server::{Kind, Mode, Options, Process};
use crate::threads::ThreadUse;

#[derive(Clone, Debug)]
pub(crate) struct ThroughBackend {
    /// What the clients do. Its time is that of one turn.
    pub(crate) echo: Echo,
    /// The turns of each of the two.
    pub(crate) rounds: usize,
    /// The control connection of a gateway that runs already.
    pub(crate) control: Option<Target>,
    /// The token of the gateway's admin server.
    pub(crate) token: Option<String>,
}

/// How long each runs before it is measured, after its pause.
const WARM_UP: Duration = Duration::from_millis(200);

/// The goal: the most that a message may cost each thread of the gateway, in microseconds: 200,000
/// per second on a core of its own.
const GOAL: f64 = 5.0;

/// The names under which the two are reported.
const BACKEND: &str = "backend";
const ECHO: &str = "plain echo";

/// Runs it. Returns the results and notes.
pub(crate) fn run(
    plan: &ThroughBackend,
    setting: &Setting<'_>,
) -> io::Result<(Contest, Vec<String>)> {
    let (mut lane, mut beside) = plan.open(setting)?;
    setting.progress.begin("in turn", plan.rounds as u64);
    let silent = Progress::silent();
    let (mut backend_us, mut beside_us) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        setting.progress.name(&format!("{}: round {round} of {}", plan.work(), plan.rounds));
        backend_us.extend(lane.bout.play(WARM_UP, &silent)?);
        if let Some(beside) = &mut beside {
            beside_us.extend(beside.play(WARM_UP, &silent)?);
        }
        setting.progress.at(round as u64);
    }
    let through = lane.finish(plan);
    let beside = beside.map(|bout| {
        let threads = bout.threads();
        let (work, server) = (plan.work(), ECHO.to_owned());
        Measurement { server, work, threads: own_last(threads), ..bout.finish() }
    });
    let rows = plan.rows(&through, &backend_us, &beside_us);
    let notes = notes(&through, beside.as_ref(), plan.echo.rate.is_some());
    let measurements = std::iter::once(through).chain(beside).collect();
    Ok((Contest { rows, measurements, skipped: Vec::new() }, notes))
}

/// A gateway with its backend and its clients.
struct Lane {
    // The backend disconnects before the clients, so that it gets no event for their ends.
    backend: Backend,
    bout: echo::Bout,
}

impl ThroughBackend {
    /// The gateway with a backend, and the plain echo if it can be started.
    fn open(&self, setting: &Setting<'_>) -> io::Result<(Lane, Option<echo::Bout>)> {
        let options;
        let setting = match setting.place {
            Place::Started { kind: Kind::Gateway, options: given } => {
                options = Options { admin: true, token: self.token.clone(), ..given.clone() };
                let place = Place::Started { kind: Kind::Gateway, options: &options };
                Setting { place, ..*setting }
            }
            Place::Started { kind, .. } => {
                let error = format!("{} has no control connection", kind.name());
                return Err(io::Error::other(error));
            }
            Place::Running { .. } => *setting,
        };
        let server = setting.server(Mode::Backend, self.echo.connections)?;
        let control = self.control.as_ref().or(server.control.as_ref());
        let control = control
            .ok_or_else(|| io::Error::other("a gateway that runs already needs --control"))?;
        let backend = Backend::connect(control, self.token.as_deref(), PATIENCE)?;
        if let Some(pin) = setting.pin {
            let own = Process::own().thread_times();
            let backend = own.iter().find(|thread| thread.name == Backend::THREAD);
            let both = server.process.zip(backend);
            both.map_or(Ok(()), |(server, backend)| pin.with_backend(server, backend.id))?;
        }
        let bout = echo::Bout::connect(&self.echo, server, setting.progress)?;
        // A gateway that runs already has one mode.
        let beside = match setting.place {
            Place::Started { .. } => Some(echo::Bout::open(&self.echo, &setting)?),
            Place::Running { .. } => None,
        };
        Ok((Lane { backend, bout }, beside))
    }

    fn work(&self) -> String {
        self.echo.work()
    }

    fn rows(&self, through: &Measurement, backend_us: &[f64], beside_us: &[f64]) -> Vec<Row> {
        let figure = |server: &str, role, values: &[f64]| {
            Figure::new(server.to_owned(), role, values.iter().copied())
        };
        let row = |work: String, goal, figures: [Option<Figure>; 2]| Row {
            family: work.clone(),
            work,
            sessions: self.echo.connections,
            unit: Unit::Microseconds,
            goal,
            figures: figures.into_iter().flatten().collect(),
        };
        // The plain echo is the lower bound.
        let both =
            [figure(BACKEND, Role::Gateway, backend_us), figure(ECHO, Role::Floor, beside_us)];
        let all = row(self.work(), None, both);
        let busiest = busiest(through).map(|thread| {
            let work = format!("its busiest thread ({})", thread.name);
            let figures = [figure(BACKEND, Role::Gateway, &[thread.cpu_us]), None];
            row(work, Some(Goal::AtMost(GOAL)), figures)
        });
        std::iter::once(all).chain(busiest).collect()
    }
}

impl Lane {
    fn finish(self, plan: &ThroughBackend) -> Measurement {
        let Self { backend, bout } = self;
        let threads = bout.threads();
        let tally = backend.finish();
        let mut measurement = bout.finish();
        for (surprise, times) in tally.surprises {
            *measurement.failures.entry(surprise).or_default() += times;
        }
        let (work, server) = (plan.work(), BACKEND.to_owned());
        Measurement { server, work, threads: own_last(threads), ..measurement }
    }
}

/// The server's threads, followed by the harness' own, which are named by what they do.
fn own_last((mut threads, own): (Vec<ThreadUse>, Vec<ThreadUse>)) -> Vec<ThreadUse> {
    threads.extend(own.into_iter().map(|thread| {
        let does = if thread.name == Backend::THREAD { "backend" } else { "clients" };
        ThreadUse { name: format!("{OWN}{does}"), ..thread }
    }));
    threads
}

/// The prefix of the names of the harness' threads.
const OWN: &str = "harness: ";

fn busiest(through: &Measurement) -> Option<&ThreadUse> {
    let threads = through.threads.iter().filter(|thread| !thread.name.starts_with(OWN));
    threads.max_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us))
}

fn notes(through: &Measurement, plain: Option<&Measurement>, paced: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if plain.is_some() {
        notes.push("the floor that the backend is compared with is the plain echo".to_owned());
    }
    match plain {
        // At a fixed rate both process the same number.
        Some(_) if paced => {}
        Some(plain) => notes.push(format!(
            "through the backend {:.0} messages a second, {} of the plain echo's {:.0}",
            through.per_second(),
            figure(through.per_second() / plain.per_second()),
            plain.per_second()
        )),
        None => notes.push("SKIPPED plain echo: a server that runs already has one mode".into()),
    }
    if let Some(thread) = busiest(through) {
        notes.push(format!(
            "the busiest thread of the gateway with a backend ({}) could process {:.0} messages a \
             second alone on a core; the goal is {:.0}",
            thread.name,
            thread.alone_per_second,
            1e6 / GOAL
        ));
    }
    notes
}
