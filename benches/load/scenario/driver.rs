//! `driver`: the gateway hands every message to a driver on a control link, which sends it back to
//! its session; and beside that a gateway that sends it back itself. They take turns, so that what
//! changes on the machine meanwhile changes for both.

use std::io;
use std::time::Duration;

use super::contest::Contest;
use super::echo::{self, Echo};
use super::{PATIENCE, Place, Setting};
use crate::client::{Driver, Target};
use crate::comparison::{Figure, Goal, Role, Row, Unit};
use crate::figures::figure;
use crate::measure::Measurement;
use crate::progress::Progress;
use crate::server::{Kind, Mode, Options, Process};
use crate::threads::ThreadUse;

#[derive(Clone, Debug)]
pub(crate) struct Driven {
    /// What the clients do. Its time is that of one turn.
    pub(crate) echo: Echo,
    /// How often each of the two has its turn.
    pub(crate) rounds: usize,
    /// The control link of a gateway that runs already.
    pub(crate) control: Option<Target>,
    /// What the gateway wants to see.
    pub(crate) token: Option<String>,
}

/// How long each goes before it is measured, after its pause.
const WARM_UP: Duration = Duration::from_millis(200);

/// What the clients' messages are to cost each of the gateway's threads at most, in microseconds:
/// 200,000 a second on a core of its own.
const GOAL: f64 = 5.0;

/// The names under which the two are reported.
const DRIVER: &str = "driver";
const ECHO: &str = "plain echo";

/// Runs it. Gives the contest, and what its tables do not say.
pub(crate) fn run(plan: &Driven, setting: &Setting<'_>) -> io::Result<(Contest, Vec<String>)> {
    let (mut driven, mut beside) = plan.open(setting)?;
    setting.progress.begin("in turn", plan.rounds as u64);
    let silent = Progress::silent();
    let (mut driven_us, mut beside_us) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        setting.progress.name(&format!("{}: round {round} of {}", plan.work(), plan.rounds));
        driven_us.extend(driven.bout.play(WARM_UP, &silent)?);
        if let Some(beside) = &mut beside {
            beside_us.extend(beside.play(WARM_UP, &silent)?);
        }
        setting.progress.at(round as u64);
    }
    let driven = driven.finish(plan);
    let beside = beside.map(|bout| {
        let threads = bout.threads();
        let (work, server) = (plan.work(), ECHO.to_owned());
        Measurement { server, work, threads: own_last(threads), ..bout.finish() }
    });
    let rows = plan.rows(&driven, &driven_us, &beside_us);
    let notes = notes(&driven, beside.as_ref(), plan.echo.rate.is_some());
    let measurements = std::iter::once(driven).chain(beside).collect();
    Ok((Contest { rows, measurements, skipped: Vec::new() }, notes))
}

/// A gateway with its driver and its clients.
struct Lane {
    // The driver lets go before the clients do, whose ends it would be told of.
    driver: Driver,
    bout: echo::Bout,
}

impl Driven {
    /// The driven gateway, and the plain one where it can be had.
    fn open(&self, setting: &Setting<'_>) -> io::Result<(Lane, Option<echo::Bout>)> {
        let options;
        let setting = match setting.place {
            Place::Started { kind: Kind::Gateway, options: given } => {
                options = Options { admin: true, token: self.token.clone(), ..given.clone() };
                let place = Place::Started { kind: Kind::Gateway, options: &options };
                Setting { place, ..*setting }
            }
            Place::Started { kind, .. } => {
                let error = format!("{} has no control link for a driver", kind.name());
                return Err(io::Error::other(error));
            }
            Place::Running { .. } => *setting,
        };
        let server = setting.server(Mode::Driver, self.echo.connections)?;
        let control = self.control.as_ref().or(server.control.as_ref());
        let control = control.ok_or_else(|| {
            io::Error::other("a gateway that runs already is driven through its --control link")
        })?;
        let driver = Driver::link(control, self.token.as_deref(), PATIENCE)?;
        if let Some(pin) = setting.pin {
            let own = Process::own().thread_times();
            let driver = own.iter().find(|thread| thread.name == Driver::THREAD);
            let both = server.process.zip(driver);
            both.map_or(Ok(()), |(server, driver)| pin.driven(server, driver.id))?;
        }
        let bout = echo::Bout::connect(&self.echo, server, setting.progress)?;
        // A gateway that runs already has one mode.
        let beside = match setting.place {
            Place::Started { .. } => Some(echo::Bout::open(&self.echo, &setting)?),
            Place::Running { .. } => None,
        };
        Ok((Lane { driver, bout }, beside))
    }

    fn work(&self) -> String {
        self.echo.work()
    }

    fn rows(&self, driven: &Measurement, driven_us: &[f64], beside_us: &[f64]) -> Vec<Row> {
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
        // The plain echo is the least that can be.
        let both = [figure(DRIVER, Role::Gateway, driven_us), figure(ECHO, Role::Floor, beside_us)];
        let all = row(self.work(), None, both);
        let busiest = busiest(driven).map(|thread| {
            let work = format!("its busiest thread ({})", thread.name);
            let figures = [figure(DRIVER, Role::Gateway, &[thread.cpu_us]), None];
            row(work, Some(Goal::AtMost(GOAL)), figures)
        });
        std::iter::once(all).chain(busiest).collect()
    }
}

impl Lane {
    fn finish(self, plan: &Driven) -> Measurement {
        let Self { driver, bout } = self;
        let threads = bout.threads();
        let tally = driver.finish();
        let mut measurement = bout.finish();
        for (surprise, times) in tally.surprises {
            *measurement.failures.entry(surprise).or_default() += times;
        }
        let (work, server) = (plan.work(), DRIVER.to_owned());
        Measurement { server, work, threads: own_last(threads), ..measurement }
    }
}

/// The harness' own threads, by what they do, behind the server's.
fn own_last((mut threads, own): (Vec<ThreadUse>, Vec<ThreadUse>)) -> Vec<ThreadUse> {
    threads.extend(own.into_iter().map(|thread| {
        let does = if thread.name == Driver::THREAD { "driver" } else { "clients" };
        ThreadUse { name: format!("{OWN}{does}"), ..thread }
    }));
    threads
}

/// What the names of the harness' threads begin with.
const OWN: &str = "harness: ";

fn busiest(driven: &Measurement) -> Option<&ThreadUse> {
    let threads = driven.threads.iter().filter(|thread| !thread.name.starts_with(OWN));
    threads.max_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us))
}

fn notes(driven: &Measurement, plain: Option<&Measurement>, paced: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if plain.is_some() {
        notes.push("the floor that the driver is compared with is the plain echo".to_owned());
    }
    match plain {
        // At a given rate both do the same number.
        Some(_) if paced => {}
        Some(plain) => notes.push(format!(
            "through the driver {:.0} messages a second, {} of the plain echo's {:.0}",
            driven.per_second(),
            figure(driven.per_second() / plain.per_second()),
            plain.per_second()
        )),
        None => notes.push("SKIPPED plain echo: a server that runs already has one mode".into()),
    }
    if let Some(thread) = busiest(driven) {
        notes.push(format!(
            "the busiest thread of the driven gateway ({}) could do {:.0} messages a second alone \
             on a core; the goal is {:.0}",
            thread.name,
            thread.alone_per_second,
            1e6 / GOAL
        ));
    }
    notes
}
