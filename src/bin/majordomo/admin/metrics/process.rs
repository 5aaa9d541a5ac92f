//! What the system says of this process, under the names that Prometheus' own clients give it.
//!
//! It is asked at each scrape, on the thread that renders, so that the loop waits for none of it:
//! on kernels before 6.2 counting the open files costs O(n) in them.

use super::families::Families;

/// Tells what the system tells; nothing where it is not Linux.
#[cfg(not(target_os = "linux"))]
pub(super) fn describe(_: &mut Families) {}

#[cfg(target_os = "linux")]
pub(super) use self::linux::describe;

#[cfg(target_os = "linux")]
mod linux {
    use procfs::process::{LimitValue, Process};
    use procfs::{ProcResult, WithCurrentSystemInfo};

    use super::Families;
    use crate::admin::metrics::families::float;

    /// Tells what the system tells. What it does not is left out, and the rest stands.
    pub(in super::super) fn describe(to: &mut Families) {
        let described = Process::myself().and_then(|process| {
            describe_files(to, &process)?;
            describe_work(to, &process)
        });
        if let Err(error) = described {
            log::debug!("the system does not say all about this process: {error}");
        }
    }

    fn describe_work(to: &mut Families, process: &Process) -> ProcResult<()> {
        let stat = process.stat()?;
        to.counter(
            "process_cpu_seconds_total",
            "Processor time taken, the kernel's part included, in seconds.",
            float(stat.utime + stat.stime) / float(procfs::ticks_per_second()),
        );
        to.gauge(
            "process_resident_memory_bytes",
            "Memory of this process that is in RAM.",
            float(stat.rss_bytes().get()),
        );
        to.gauge(
            "process_virtual_memory_bytes",
            "Address space of this process.",
            float(stat.vsize),
        );
        to.gauge(
            "process_threads",
            "Threads of this process.",
            float(u64::try_from(stat.num_threads).unwrap_or_default()),
        );
        Ok(())
    }

    fn describe_files(to: &mut Families, process: &Process) -> ProcResult<()> {
        let open = u64::try_from(process.fd_count()?).unwrap_or(u64::MAX);
        to.gauge("process_open_fds", "Open files, sockets among them.", float(open));
        let most = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(most) => float(most),
            LimitValue::Unlimited => f64::INFINITY,
        };
        to.gauge("process_max_fds", "The limit of open files.", most);
        Ok(())
    }
}
