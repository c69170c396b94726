//! The languages that genkan speaks.

/// Declared in the order in which a switch offers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// Japanese.
    Ja,
    /// English.
    En,
    /// Korean.
    Ko,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 3] = [Self::Ja, Self::En, Self::Ko];

    /// The language's tag (RFC 5646).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ja => "ja",
            Self::En => "en",
            Self::Ko => "ko",
        }
    }

    /// From a tag or a locale, whatever follows the language in it: `ja`, `ko-KR`, `ja_JP.UTF-8`.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_', '.']).next().unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|language| primary.eq_ignore_ascii_case(language.as_str()))
    }

    /// The best that an `Accept-Language` asks for (RFC 9110 §12.5.4); English where none is spoken.
    pub fn of_accept_language(header: &str) -> Self {
        let mut best = (0, Self::En);
        for range in header.split(',').take(RANGES_MAX) {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let quality = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(Some(1_000), thousandths)
                .unwrap_or(0);
            let language = match tag {
                "*" => Some(Self::En),
                tag => Self::of_tag(tag),
            };
            if let Some(language) = language.filter(|_| quality > best.0) {
                best = (quality, language);
            }
        }
        best.1
    }
}

/// Ranges of an `Accept-Language` that are read. Browsers send fewer than ten.
const RANGES_MAX: usize = 32;

/// A weight (RFC 9110 §12.4.2) in thousandths.
fn thousandths(text: &str) -> Option<u32> {
    let weight: f32 = text.trim().parse().ok()?;
    if !(0.0..=1.0).contains(&weight) {
        return None;
    }
    // In bounds: rounded, it is at most a thousand.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1000"
    )]
    let thousandths = (weight * 1_000.0).round() as u32;
    Some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_language_that_is_spoken_is_taken() {
        for (header, expected) in [
            ("ja", Language::Ja),
            ("ko-KR,ko;q=0.9,en-US;q=0.8", Language::Ko),
            ("fr, de;q=0.9, ja;q=0.5, en;q=0.4", Language::Ja),
            ("en;q=0.1, JA;q=0.2", Language::Ja),
            ("ja;q=0, ko;q=x, *;q=0.1", Language::En),
            ("", Language::En),
            ("fr", Language::En),
            ("ja;q=7", Language::En),
        ] {
            assert_eq!(Language::of_accept_language(header), expected, "{header}");
        }
    }

    #[test]
    fn a_locale_is_a_tag_with_more_behind_it() {
        assert_eq!(Language::of_tag("ja_JP.UTF-8"), Some(Language::Ja));
        assert_eq!(Language::of_tag("C"), None);
        assert_eq!(Language::of_tag("korean"), None);
    }
}
