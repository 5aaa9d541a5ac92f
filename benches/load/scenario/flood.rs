//! `flood`: some clients of a hub send small messages as fast as they can. Measures how long another
//! session waits for its own message, how long a new connection takes, and the server's memory.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::connect::{self, Silence};
use super::{GLANCE, PATIENCE, Place, Setting, nanoseconds};
use crate::client::upgrade::{Answer, Upgrade};
use crate::client::wire::{TEXT, frame_in, masked_frame};
use crate::client::{Fleet, Script, Target};
use crate::figures::{Latency, float, histogram, size_name};
use crate::measure::{Measurement, Watch};
use crate::progress::steps;
use crate::server::{Mode, Options};

/// How long a probe waits before the next one.
const PAUSE: Duration = Duration::from_millis(20);

/// What the goals allow: a message waits this many times as long as without the flood ..
const TIMES: f64 = 3.0;

/// .. and this much longer, in microseconds.
const BEYOND: f64 = 20_000.0;

/// A connection is admitted within this time, in microseconds.
const ADMISSION: f64 = 100_000.0;

/// The server's memory grows by no more than this, in bytes.
const MEMORY: u64 = 64 << 20;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    pub(crate) connections: usize,
    /// How many of them flood the others.
    pub(crate) flooding: usize,
    /// How many bytes of messages, each of one byte, a flooding client sends in one go.
    pub(crate) burst: usize,
    pub(crate) time: Duration,
}

/// Measures without and with the flood.
pub(crate) fn run(plan: &Flood, setting: &Setting<'_>) -> io::Result<Vec<Measurement>> {
    let options = match setting.place {
        Place::Started { options, .. } => options.clone(),
        Place::Running { .. } => Options::default(),
    };
    let arguments = ["--slow-consumer".to_owned(), "drop-newest".to_owned()];
    let options = Options { arguments: [&arguments[..], &options.arguments].concat(), ..options };
    let place = match setting.place {
        Place::Started { kind, .. } => Place::Started { kind, options: &options },
        running @ Place::Running { .. } => running,
    };
    let server = Setting { place, ..*setting }.server(Mode::Hub, plan.connections + 10)?;
    let frame = masked_frame(TEXT, b"x").len();
    let burst = (plan.burst / frame).max(1);
    let mut fleet = Fleet::new(&server.target, Script::flood(TEXT, b"x", burst))?;
    let mut watch = Watch::new(server.process);
    connect::open(&mut fleet, plan.connections, setting.progress)?;

    let mut measurements = Vec::new();
    let mut rest = 0;
    for is_flooded in [false, true] {
        let work = plan.work(is_flooded);
        setting.progress.begin(&work, steps(plan.time));
        rest = if is_flooded { watch.anonymous() } else { rest };
        watch.begin();
        let (mut peak, over) = (rest, AtomicBool::new(false));
        let (echoes, admissions) = thread::scope(|scope| {
            let messages = scope.spawn(|| probe_messages(&server.target, &over));
            let connections = scope.spawn(|| probe_connections(&server.target, &over));
            let begin = fleet.now();
            while fleet.now() - begin < nanoseconds(plan.time) {
                for link in 0..if is_flooded { plan.flooding } else { 0 } {
                    fleet.send_when_idle(link, burst, &mut Silence);
                }
                fleet.turn(Some(GLANCE), &mut Silence)?;
                peak = peak.max(watch.anonymous());
                setting.progress.at(steps(Duration::from_nanos(fleet.now() - begin)));
            }
            over.store(true, Ordering::Relaxed);
            // The probes that are under way end.
            while !messages.is_finished() || !connections.is_finished() {
                fleet.turn(Some(GLANCE), &mut Silence)?;
            }
            let probes = (messages.join(), connections.join());
            io::Result::Ok((
                probes.0.expect("a probe does not panic").map_err(in_words)?,
                probes.1.expect("a probe does not panic").map_err(in_words)?,
            ))
        })?;
        let spent = watch.end();
        let mut measurement = Measurement {
            server: server.name.clone(),
            work,
            sessions: fleet.open(),
            count: echoes.len(),
            latency: Latency::of(&echoes),
            ..Measurement::default()
        };
        spent.put_into(&mut measurement);
        measurement.cpu_us = None;
        measurement.memory = watch.memory(fleet.open());
        let admission = Latency::of(&admissions).unwrap_or_default();
        measurement.notes.push(format!(
            "{}: {} connections admitted, p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms{}",
            measurement.work,
            admissions.len(),
            admission.p50 / 1e3,
            admission.p99 / 1e3,
            admission.max / 1e3,
            if is_flooded {
                let growth = float(peak.saturating_sub(rest)) / 1024.0 / 1024.0;
                format!("; memory grew by {growth:.1} MiB at most")
            } else {
                String::new()
            }
        ));
        measurements.push(measurement);
        if let [alone, beside] = measurements.as_mut_slice() {
            let p99 = |measurement: &Measurement| {
                measurement.latency.as_ref().map_or(f64::INFINITY, |latency| latency.p99)
            };
            let (allowed, p99) = (TIMES * p99(alone) + BEYOND, p99(beside));
            beside.notes.push(format!(
                "own message: p99 {:.1} ms, allowed {:.1} ms",
                p99 / 1e3,
                allowed / 1e3
            ));
            let failures = &mut beside.failures;
            for (what, is_missed) in [
                ("a message waits too long", p99 > allowed),
                ("a connection waits too long", admission.p99 > ADMISSION),
                ("memory grows too much", peak.saturating_sub(rest) > MEMORY),
            ] {
                if is_missed {
                    failures.insert(what.to_owned(), 1);
                }
            }
            failures.extend(fleet.failures().clone());
        }
    }
    Ok(measurements)
}

impl Flood {
    pub(crate) fn work(&self, is_flooded: bool) -> String {
        let Self { connections, flooding, burst, .. } = self;
        let flood = format!("beside {flooding} that send {} at once", size_name(*burst));
        let beside = if is_flooded { flood.as_str() } else { "undisturbed" };
        format!("one of {connections} sessions, {beside}")
    }
}

/// Connects, and returns when the upgrade is accepted, with what was received behind it.
fn connect(target: &Target) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(target.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let upgrade = Upgrade::new(&target.host, &target.path);
    stream.write_all(&upgrade.request)?;
    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = read(&mut stream, &mut buffer)?;
        received.extend_from_slice(&buffer[..count]);
        match upgrade.answer(&received) {
            Answer::Partial => {}
            Answer::Upgraded(head) => return Ok((stream, received.split_off(head))),
            Answer::Refused(reason) => return Err(io::Error::other(reason)),
        }
    }
}

/// What a probe that has waited in vain says.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::other(format!("no answer within {PATIENCE:?}"))
        }
        _ => error,
    }
}

/// Reads something.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// Sends messages one after the other until it is over, and measures how long each takes to return.
fn probe_messages(target: &Target, over: &AtomicBool) -> io::Result<Histogram<u64>> {
    let (mut stream, mut received) = connect(target)?;
    let (mut recorded, mut buffer) = (histogram(), vec![0; 64 << 10]);
    let mut number = 0_u64;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let text = format!("probe {number}");
        let frame = masked_frame(TEXT, text.as_bytes());
        let sent = Instant::now();
        stream.write_all(&frame)?;
        while !take_until(&mut received, text.as_bytes())? {
            let count = read(&mut stream, &mut buffer)?;
            received.extend_from_slice(&buffer[..count]);
        }
        recorded.saturating_record(nanoseconds(sent.elapsed()));
        rest(&mut stream, &mut received, &mut buffer)?;
    }
    Ok(recorded)
}

/// Reads for a while what the others send.
fn rest(stream: &mut TcpStream, received: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<()> {
    let until = Instant::now() + PAUSE;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        stream.set_read_timeout(Some(left))?;
        match read(stream, buffer) {
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    stream.set_read_timeout(Some(PATIENCE))
}

/// Takes the frames off that were received, to the one with this text. Returns whether it is there.
fn take_until(received: &mut Vec<u8>, text: &[u8]) -> io::Result<bool> {
    let (mut taken, mut found) = (0, false);
    while !found {
        match frame_in(&received[taken..]).map_err(|fault| io::Error::other(fault.to_string()))? {
            Some(frame) => {
                found = frame.payload == text;
                taken += frame.length;
            }
            None => break,
        }
    }
    received.drain(..taken);
    Ok(found)
}

/// Connects one after the other until it is over, and measures how long each takes.
fn probe_connections(target: &Target, over: &AtomicBool) -> io::Result<Histogram<u64>> {
    let mut recorded = histogram();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let (stream, _) = connect(target)?;
        recorded.saturating_record(nanoseconds(began.elapsed()));
        // No port waits for stray segments.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        drop(stream);
        thread::sleep(PAUSE);
    }
    Ok(recorded)
}
