//! The time, from the battery-backed clock that a PC has. It counts seconds, so that expiries are good to a second.

use osprey_core::units::Millis;

use crate::boot::read_cmos;

/// Bit of register A: the clock is about to move on.
const UPDATING: u8 = 0x80;

/// Never goes back.
#[derive(Default)]
pub struct Rtc {
    latest: u64,
}

impl Rtc {
    pub fn now(&mut self) -> Millis {
        let read = || [0, 2, 4, 7, 8, 9].map(|register| u64::from(read_cmos(register)));
        let before = read();
        // What is read while it moves on is none: the latest stands.
        if read_cmos(10) & UPDATING == 0 && before == read() {
            self.latest = self.latest.max(unix_seconds(before.map(binary)));
        }
        Millis(self.latest * 1000)
    }
}

fn binary(decimal: u64) -> u64 {
    (decimal >> 4) * 10 + (decimal & 15)
}

/// Howard Hinnant's `days_from_civil`, for the years 2000 to 2099.
fn unix_seconds([second, minute, hour, day, month, year]: [u64; 6]) -> u64 {
    let year = 2000 + year - u64::from(month <= 2);
    let month = (month + 9) % 12;
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    ((days * 24 + hour) * 60 + minute) * 60 + second
}
