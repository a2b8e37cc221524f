//! When requests are due under `--rate`, whatever the server does.
//!
//! A client that waits for each reply before it sends again slows down with the server: while the server stalls, the
//! requests that would have met the stall are not sent, and so not measured ("coordinated omission", a term of Gil Tene's).
//! Here the times at which requests are due are fixed beforehand, and latency counts from them: a request that could not be
//! sent because its connection was still waiting has waited, and its wait is in the figures.

use std::time::Duration;

/// Batches due at a constant rate, dealt to the connections in turn.
///
/// Batch number n (from 0) is due n × batch / rate seconds after the start, on connection n mod connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Requests a second over all connections.
    pub(crate) rate: u64,
    /// Requests a batch: the pipeline's depth.
    pub(crate) batch: u64,
    /// Connections of all threads.
    pub(crate) connections: u64,
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

impl Schedule {
    /// How long after the start the batch number `turn` (from 0) of a connection (from 0) is due, to the nanosecond below.
    pub(crate) fn due(&self, connection: u64, turn: u64) -> Duration {
        let number = u128::from(turn) * u128::from(self.connections) + u128::from(connection);
        let nanos = number * u128::from(self.batch) * NANOS_PER_SECOND / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many batches of a connection are due before `end`.
    pub(crate) fn turns_before(&self, connection: u64, end: Duration) -> u64 {
        // Batch n is due before the end if ⌊n × batch × 10⁹ / rate⌋ < end, that is if n < end × rate / (batch × 10⁹).
        let all = (end.as_nanos() * u128::from(self.rate)).div_ceil(u128::from(self.batch) * NANOS_PER_SECOND);
        let of_connection = all.saturating_sub(u128::from(connection)).div_ceil(u128::from(self.connections));
        u64::try_from(of_connection).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_dealt_in_turn_at_an_even_pace() {
        let schedule = Schedule { rate: 1000, batch: 1, connections: 3 };
        let due = |connection, turn| schedule.due(connection, turn).as_micros();
        assert_eq!([due(0, 0), due(1, 0), due(2, 0), due(0, 1), due(1, 1)], [0, 1000, 2000, 3000, 4000]);
    }

    #[test]
    fn a_pipeline_is_due_as_one_batch_and_keeps_the_total_rate() {
        let schedule = Schedule { rate: 1000, batch: 16, connections: 2 };
        assert_eq!(schedule.due(1, 0), Duration::from_millis(16));
        assert_eq!(schedule.due(0, 1), Duration::from_millis(32));
    }

    #[test]
    fn the_pace_does_not_drift() {
        // A third of a microsecond is no whole number of nanoseconds; a million of them are a third of a second.
        let schedule = Schedule { rate: 3_000_000, batch: 1, connections: 1 };
        assert_eq!(schedule.due(0, 3_000_000), Duration::from_secs(1));
        assert_eq!(schedule.due(0, 3_000_000_000_000), Duration::from_secs(1_000_000));
    }

    #[test]
    fn turns_before_the_end_are_those_due_before_it() {
        for (rate, batch, connections) in [(1000, 1, 3), (1000, 16, 7), (7, 1, 2), (3_000_000, 4, 50), (1, 100, 1)] {
            let schedule = Schedule { rate, batch, connections };
            for end in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(13), Duration::from_millis(16)] {
                for connection in 0..connections {
                    let counted = (0..).take_while(|&turn| schedule.due(connection, turn) < end).count();
                    assert_eq!(
                        schedule.turns_before(connection, end),
                        u64::try_from(counted).unwrap(),
                        "{schedule:?} {connection} {end:?}"
                    );
                }
            }
        }
    }
}
