//! The metrics of the process, from the system, under the names that Prometheus' clients use.
//!
//! They are read at each scrape, on the thread that renders and not on the loop: on kernels before
//! 6.2 counting the open files is O(n).

/// Writes the metrics of the process. Outside of Linux there are none.
#[cfg(not(target_os = "linux"))]
pub(super) fn describe(_: &mut super::text::MetricsText) {}

#[cfg(target_os = "linux")]
pub(super) use self::linux::describe;

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs, io};

    use rlimit::Resource;

    use crate::metrics::text::{MetricsText, float};

    /// Writes the metrics of the process. One that the system does not give is left out.
    pub(in super::super) fn describe(to: &mut MetricsText) {
        describe_files(to);
        let stat = fs::read_to_string("/proc/self/stat");
        match stat.ok().as_deref().and_then(ProcessUsage::read) {
            Some(usage) => usage.describe(to),
            None => log::debug!("cannot read /proc/self/stat: metrics of the process are missing"),
        }
    }

    fn describe_files(to: &mut MetricsText) {
        if let Ok(open) = count_open_files() {
            to.gauge("process_open_fds", "Open files, sockets among them.", float(open));
        }
        if let Ok(most) = Resource::NOFILE.get_soft() {
            to.gauge("process_max_fds", "The limit of open files.", float(most));
        }
    }

    fn count_open_files() -> io::Result<u64> {
        const FILES: &str = "/proc/self/fd";
        match fs::metadata(FILES)?.len() {
            // Kernels before 6.2 give no count.
            0 => Ok(fs::read_dir(FILES)?.count() as u64),
            count => Ok(count),
        }
    }

    /// The resources that a process uses, in the system's units.
    #[derive(Debug, PartialEq)]
    struct ProcessUsage {
        /// Processor time, user and system, in clock ticks.
        time: u64,
        threads: u64,
        /// Bytes of address space.
        space: u64,
        /// Pages in RAM.
        pages: u64,
    }

    impl ProcessUsage {
        /// Reads `/proc/PID/stat` (proc(5)).
        fn read(stat: &str) -> Option<Self> {
            // The second field is the name of the program, which may contain parentheses.
            let (_, fields) = stat.rsplit_once(") ")?;
            let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
            // Numbered from 1, as in the manual.
            let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
            Some(Self {
                time: field(14)? + field(15)?,
                threads: field(20)?,
                space: field(23)?,
                pages: field(24)?,
            })
        }

        fn describe(&self, to: &mut MetricsText) {
            to.counter(
                "process_cpu_seconds_total",
                "Processor time, user and system, in seconds.",
                float(self.time) / float(rustix::param::clock_ticks_per_second()),
            );
            to.gauge(
                "process_resident_memory_bytes",
                "Resident memory of the process.",
                float(self.pages) * float(rustix::param::page_size() as u64),
            );
            to.gauge(
                "process_virtual_memory_bytes",
                "Address space of the process.",
                float(self.space),
            );
            to.gauge("process_threads", "Threads of the process.", float(self.threads));
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_fields_are_found_with_any_program_name() {
            let fields: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
            for name in ["majordomo", "a) R 1 (b", ""] {
                let stat = format!("1 ({name}) S {}\n", fields.join(" "));
                let usage = ProcessUsage { time: 14 + 15, threads: 20, space: 23, pages: 24 };
                assert_eq!(ProcessUsage::read(&stat), Some(usage), "{name}");
            }
            for cut in ["", "1 (majordomo", "1 (majordomo) S 4 5 6"] {
                assert_eq!(ProcessUsage::read(cut), None, "{cut}");
            }
        }
    }
}
