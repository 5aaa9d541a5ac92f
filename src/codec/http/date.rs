//! The value of `Date` (RFC 9110, section 6.6.1). Reads no clock: the caller says what time it is.

use std::io::Write;
use std::time::{Duration, Instant};

/// The length of a date in the format of RFC 9110, section 5.6.7.
const LENGTH: usize = 29;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The date, which is formatted at most once a second.
#[derive(Debug)]
pub struct HttpDate {
    /// When it was set last.
    at: Instant,
    /// The time then, since 1970.
    since_1970: Duration,
    /// The second of `text`.
    second: u64,
    text: [u8; LENGTH],
}

impl HttpDate {
    /// The date of a clock that shows the beginning of 1970 at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { at: now, since_1970: Duration::ZERO, second: 0, text: formatted(0) }
    }

    /// Sets the clock.
    pub fn set(&mut self, now: Instant, since_1970: Duration) {
        (self.at, self.since_1970) = (now, since_1970);
    }

    /// The date at `now`.
    pub fn text(&mut self, now: Instant) -> &[u8] {
        let second = (self.since_1970 + now.saturating_duration_since(self.at)).as_secs();
        if second != self.second {
            (self.second, self.text) = (second, formatted(second));
        }
        &self.text
    }
}

/// A second since 1970, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn formatted(second: u64) -> [u8; LENGTH] {
    let (days, time) = (second / 86_400, second % 86_400);
    let (year, month, day) = civil(days);
    let weekday = DAYS[usize::try_from(days % 7).expect("less than 7")];
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let mut text = [b' '; LENGTH];
    let mut rest = &mut text[..];
    // Years of more than four digits do not fit, and are cut.
    let _ =
        write!(rest, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
    text
}

/// The year, the month and the day of a day since 1970, in the Gregorian calendar.
fn civil(days: u64) -> (u64, &'static str, u64) {
    // Of the days since 1 March of the year 0, 146,097 are 400 years. In a year that begins in March
    // the leap day is the last, and the months repeat with 153 days in five of them.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = usize::try_from((month_from_march + 2) % 12).expect("less than 12");
    let year = era * 400 + year_of_era + u64::from(month < 2);
    (year, MONTHS[month], day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_in_the_rfc() {
        for (second, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (1_735_689_600, "Wed, 01 Jan 2025 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(formatted(second).escape_ascii().to_string(), expected);
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut earlier = civil(0);
        for days in 1..100_000 {
            let (year, month, day) = civil(days);
            let next_day = (year, month) == (earlier.0, earlier.1) && day == earlier.2 + 1;
            assert!(next_day || (day == 1 && earlier.2 >= 28), "day {days}");
            earlier = (year, month, day);
        }
    }

    #[test]
    fn the_date_follows_the_time_that_it_is_given() {
        let start = Instant::now();
        let mut date = HttpDate::new(start);
        date.set(start, Duration::from_millis(784_111_776_900));
        assert_eq!(date.text(start), b"Sun, 06 Nov 1994 08:49:36 GMT");
        let later = start + Duration::from_millis(100);
        assert_eq!(date.text(later), b"Sun, 06 Nov 1994 08:49:37 GMT");
        // A clock that was set back shows the earlier time.
        date.set(later, Duration::from_secs(1));
        assert_eq!(date.text(later), b"Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(formatted(u64::MAX / 2).len(), LENGTH);
    }
}
