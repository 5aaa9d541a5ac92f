//! What the system says of this process, under the names that Prometheus' own clients give it.
//!
//! It is asked at each scrape, on the thread that renders, so that the loop waits for none of it:
//! on kernels before 6.2 counting the open files costs O(n) in them.

/// Tells what the system tells; nothing where it is not Linux.
#[cfg(not(target_os = "linux"))]
pub(super) fn describe(_: &mut super::families::Families) {}

#[cfg(target_os = "linux")]
pub(super) use self::linux::describe;

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs, io};

    use rlimit::Resource;

    use crate::admin::metrics::families::{Families, float};

    /// Tells what the system tells. What it does not is left out, and the rest stands.
    pub(in super::super) fn describe(to: &mut Families) {
        describe_files(to);
        let stat = fs::read_to_string("/proc/self/stat");
        match stat.ok().as_deref().and_then(Work::read) {
            Some(work) => work.describe(to),
            None => log::debug!("the system does not say what this process takes"),
        }
    }

    fn describe_files(to: &mut Families) {
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
            // Kernels before 6.2 do not count them.
            0 => Ok(fs::read_dir(FILES)?.count() as u64),
            count => Ok(count),
        }
    }

    /// What a process takes, in the system's units.
    #[derive(Debug, PartialEq)]
    struct Work {
        /// Processor time, the kernel's part included, in ticks.
        time: u64,
        threads: u64,
        /// Bytes of address space.
        space: u64,
        /// Pages in RAM.
        pages: u64,
    }

    impl Work {
        /// Reads `/proc/PID/stat` (proc(5)).
        fn read(stat: &str) -> Option<Self> {
            // The second field is the program's name, which may hold anything, also parentheses.
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

        fn describe(&self, to: &mut Families) {
            to.counter(
                "process_cpu_seconds_total",
                "Processor time taken, the kernel's part included, in seconds.",
                float(self.time) / float(rustix::param::clock_ticks_per_second()),
            );
            to.gauge(
                "process_resident_memory_bytes",
                "Memory of this process that is in RAM.",
                float(self.pages) * float(rustix::param::page_size() as u64),
            );
            to.gauge(
                "process_virtual_memory_bytes",
                "Address space of this process.",
                float(self.space),
            );
            to.gauge("process_threads", "Threads of this process.", float(self.threads));
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_fields_are_those_of_the_manual_whatever_the_program_is_called() {
            let fields: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
            for name in ["majordomo", "a) R 1 (b", ""] {
                let stat = format!("1 ({name}) S {}\n", fields.join(" "));
                let work = Work { time: 14 + 15, threads: 20, space: 23, pages: 24 };
                assert_eq!(Work::read(&stat), Some(work), "{name}");
            }
            for cut in ["", "1 (majordomo", "1 (majordomo) S 4 5 6"] {
                assert_eq!(Work::read(cut), None, "{cut}");
            }
        }
    }
}
