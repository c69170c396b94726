//! Lengths of time as people write them: `90d`, `12h`, `30m`.

use std::time::Duration;

/// Seconds of each unit.
const UNITS: [(char, u64); 5] = [
    ('s', 1),
    ('m', 60),
    ('h', 3_600),
    ('d', 86_400),
    ('w', 604_800),
];

/// The text is not a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a number and a unit (s, m, h, d or w): 90d, 12h, 30m")]
pub(super) struct DurationError;

/// Reads a whole number above zero and one unit.
pub(super) fn parse(text: &str) -> Result<Duration, DurationError> {
    let seconds = UNITS.into_iter().find_map(|(unit, seconds)| {
        let digits = text.strip_suffix(unit)?;
        // `parse` alone would take a plus sign.
        let number = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(digits)?;
        number.parse::<u64>().ok()?.checked_mul(seconds)
    });
    match seconds {
        None | Some(0) => Err(DurationError),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_is_a_duration() {
        for (text, seconds) in [
            ("45s", 45),
            ("30m", 1_800),
            ("12h", 43_200),
            ("90d", 7_776_000),
            ("2w", 1_209_600),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let too_large = format!("{}w", u64::MAX);
        for text in [
            "", "d", "90", "0d", "-1d", "+1d", "1.5h", "90 d", "90D", "1y", "日", &too_large,
        ] {
            assert_eq!(parse(text), Err(DurationError), "{text:?}");
        }
    }
}
