//! Parses durations such as `90d`, `12h` and `30m`.

use std::time::Duration;

use crate::service::KEY_LIFETIME_MAX;

/// Each unit with its length in seconds.
const UNITS: [(char, u64); 5] = [
    ('s', 1),
    ('m', 60),
    ('h', 3_600),
    ('d', 86_400),
    ('w', 604_800),
];

/// The text is not a valid duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a number and a unit (s, m, h, d or w), from 1s to 3650d: 90d, 12h, 30m")]
pub(super) struct DurationError;

/// Parses a whole number and one unit, from one second to [`KEY_LIFETIME_MAX`].
pub(super) fn parse(text: &str) -> Result<Duration, DurationError> {
    let seconds = UNITS.into_iter().find_map(|(unit, seconds)| {
        let digits = text.strip_suffix(unit)?;
        // `parse` alone would accept a plus sign.
        let number = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(digits)?;
        number.parse::<u64>().ok()?.checked_mul(seconds)
    });
    match seconds.map(Duration::from_secs) {
        Some(time) if !time.is_zero() && time <= KEY_LIFETIME_MAX => Ok(time),
        Some(_) | None => Err(DurationError),
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
            ("3650d", 315_360_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let too_large = format!("{}w", u64::MAX);
        for text in [
            "",
            "d",
            "90",
            "0d",
            "3651d",
            "99999999d",
            "-1d",
            "+1d",
            "1.5h",
            "90 d",
            "90D",
            "1y",
            "日",
            &too_large,
        ] {
            assert_eq!(parse(text), Err(DurationError), "{text:?}");
        }
    }
}
