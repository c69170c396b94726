//! The names that people give to things, and what keeps one from posing as another.
//!
//! Two people who read a list must see what is in it. So a name has no character that is not seen, none
//! that changes the order of the others, and one form only (NFC); and where names must differ, they must
//! look different (Unicode Technical Standard #39 §4, confusable skeletons).

use std::fmt;
use std::str::FromStr;

use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_properties::{
    GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory,
};
use unicode_security::skeleton;

/// The longest name of a key, a person or an organization, in characters.
pub const NAME_CHARS_MAX: usize = 100;
/// Accents on one letter at most, more than any language has (UTS #39 §5.4): beyond, they cover their
/// neighbours in a list.
const MARKS_MAX: usize = 4;

/// Marks of the direction of text (Unicode Standard Annex #9 §2.6), which names once could have.
const DIRECTION_MARKS: [char; 3] = ['\u{61c}', '\u{200e}', '\u{200f}'];

/// A name that somebody gave: 1 to 100 characters of any script, trimmed, in Unicode's NFC, of which each
/// is seen, and no two blanks in a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left after trimming.
    #[error("the name is empty")]
    Empty,
    /// More than [`NAME_CHARS_MAX`] characters.
    #[error("the name is longer than {NAME_CHARS_MAX} characters")]
    TooLong,
    /// A control or a text-direction character: it could make a list show what is not there.
    #[error("the name has a control character")]
    Control,
    /// A character that is not seen, or that no font has: another name could look the same.
    #[error(
        "the name has a character that cannot be seen (of zero width, a variation selector, a tag, a \
         filler), or that Unicode does not assign: write it anew, letter by letter"
    )]
    Hidden,
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that was stored, perhaps before there was a rule that it breaks: it can still be read, shown and
    /// replaced.
    ///
    /// # Errors
    /// Nothing that was ever taken as a name: empty, too long, or with a control character.
    pub fn stored(text: String) -> Result<Self, NameError> {
        if text.is_empty() {
            Err(NameError::Empty)
        } else if text.chars().count() > NAME_CHARS_MAX {
            Err(NameError::TooLong)
        } else if text.chars().any(is_control) {
            Err(NameError::Control)
        } else {
            Ok(Self(text))
        }
    }

    /// What this name looks like: two names that people can take for each other have the same
    /// (UTS #39 §4). Not a name, and never shown.
    pub fn look(&self) -> String {
        // A name that was stored before may have two blanks where people see one.
        skeleton(&one_blank(&self.0)).collect()
    }

    /// Whether somebody who types `text` means this name.
    pub fn is_meant_by(&self, text: &str) -> bool {
        self.0 == text || self.0.chars().eq(text.nfc())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        // Of four bytes each, and every one may be composed of several.
        if text.len() > 16 * NAME_CHARS_MAX {
            return Err(NameError::TooLong);
        }
        let text: String = if is_nfc(text) {
            text.to_owned()
        } else {
            text.nfc().collect()
        };
        let name = Self::stored(one_blank(&text))?;
        if name.0.contains(DIRECTION_MARKS) {
            Err(NameError::Control)
        } else if is_seen(&name.0) {
            Ok(name)
        } else {
            Err(NameError::Hidden)
        }
    }
}

/// C0, C1, line separators, and the bidirectional controls (Unicode TR 36 §2.4).
fn is_control(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The many blanks of typography are one; that of Japanese and Chinese is as wide as a letter.
fn plain_space(char: char) -> char {
    let is_space = char.general_category() == GeneralCategory::SpaceSeparator;
    if is_space && char != '\u{3000}' {
        ' '
    } else {
        char
    }
}

/// Of blanks in a row, the first: nobody sees how many there are.
fn one_blank(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars().map(plain_space) {
        if !(is_blank(char) && plain.ends_with(is_blank)) {
            plain.push(char);
        }
    }
    plain
}

fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\u{3000}')
}

/// Whether every character is seen, each by itself or as a part of an emoji.
fn is_seen(text: &str) -> bool {
    let mut marks = 0;
    let mut before: Option<char> = None;
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        let joins = match char {
            '\u{200d}' | '\u{fe0f}' => {
                before.is_some_and(|before| joins_emoji(before, char, rest.peek().copied()))
            }
            _other => false,
        };
        if !joins && is_hidden(char) {
            return false;
        }
        let is_mark = char.general_category_group() == GeneralCategoryGroup::Mark;
        marks = if is_mark { marks + 1 } else { 0 };
        // An accent upon nothing sits on what stands before the name.
        if marks > MARKS_MAX || (is_mark && before.is_none()) {
            return false;
        }
        before = Some(char);
    }
    true
}

/// A joiner between two emoji (a family), a selector behind one (a red heart) or in a keycap (1, the
/// selector, U+20E3): Unicode Technical Standard #51.
fn joins_emoji(before: char, joiner: char, after: Option<char>) -> bool {
    let is_emoji = |char: char| !char.is_ascii() && char.is_emoji_char();
    if joiner == '\u{200d}' {
        let begun = is_emoji(before) || before == '\u{fe0f}';
        return begun && after.is_some_and(is_emoji);
    }
    let is_keycap = matches!(before, '0'..='9' | '#' | '*') && after == Some('\u{20e3}');
    is_keycap || is_emoji(before)
}

fn is_hidden(char: char) -> bool {
    let unseen = matches!(
        char.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    );
    // U+2800 is a pattern of Braille without a dot: a blank that is not called one.
    unseen || char == '\u{2800}' || is_default_ignorable(char)
}

/// Whether a program may show nothing for it (Unicode's `Default_Ignorable_Code_Point`): a skeleton
/// leaves these out, and nothing else.
fn is_default_ignorable(char: char) -> bool {
    skeleton(char.encode_utf8(&mut [0; 4])).next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Result<Name, NameError> {
        text.parse()
    }

    #[test]
    fn a_name_of_any_script_is_trimmed_and_kept() {
        assert_eq!(name("  玄関 열쇠 ").unwrap().as_str(), "玄関 열쇠");
        let long = name(&"鍵".repeat(100)).unwrap();
        assert_eq!(long.as_str().chars().count(), 100);
        for kept in [
            "Build server 1",
            "山田　太郎",
            "カタカナ・ひらがな「々」",
            "김철수",
            "Zoë Müller-Ñandú",
            "Владимир",
            "محمد",
            "हिन्दी",
            "ภาษาไทย",
            "C++ & <b>bold</b> (x) #1 @home",
            "🚀",
            "👩‍💻 laptop",
            "👨‍👩‍👧‍👦",
            "🏳️‍🌈",
            "❤️",
            "1️⃣",
            "👍🏽",
            "🇯🇵🇰🇷",
        ] {
            assert_eq!(name(kept).map(|name| name.to_string()), Ok(kept.to_owned()));
        }
    }

    #[test]
    fn a_name_has_one_form() {
        // Korean and accents decomposed, as macOS writes file names; a no-break space.
        let decomposed: String = "김철수 Zoë".nfd().collect();
        assert_eq!(name(&decomposed), name("김철수 Zoë"));
        assert_eq!(name("a\u{a0}b\u{2009}c"), name("a b c"));
        // However many blanks stand in a row, of whatever kind.
        for blanks in [
            "  ",
            " \u{a0} ",
            "\u{2003}\u{2003}",
            " \u{3000}",
            &" ".repeat(90),
        ] {
            assert_eq!(
                name(&format!("Acme{blanks}Corp")),
                name("Acme Corp"),
                "{blanks:?}"
            );
        }
        assert_eq!(name("山田\u{3000}\u{3000}太郎"), name("山田\u{3000}太郎"));
        assert!(
            name("김철수")
                .unwrap()
                .is_meant_by(&"김철수".nfd().collect::<String>())
        );
        assert!(!name("김철수").unwrap().is_meant_by("김철"));
    }

    #[test]
    fn a_name_that_could_deceive_a_list_is_refused() {
        assert_eq!(name(" \t "), Err(NameError::Empty));
        assert_eq!(name(&"x".repeat(101)), Err(NameError::TooLong));
        assert_eq!(name(&"x".repeat(100_000)), Err(NameError::TooLong));
        for control in [
            "a\nb",
            "a\u{7}b",
            "a\u{85}b",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200e}b",
            "a\u{200f}b",
            "a\u{61c}b",
            "a\u{2028}b",
        ] {
            assert_eq!(name(control), Err(NameError::Control), "{control:?}");
        }
        for hidden in [
            // Zero width: space, non-joiner, joiner, word joiner, no-break space, soft hyphen.
            "a\u{200b}b",
            "a\u{200c}b",
            "a\u{200d}b",
            "a\u{2060}b",
            "a\u{feff}b",
            "a\u{ad}b",
            // At the ends, where trimming does not help.
            "\u{200b}a",
            "a\u{200b}",
            "\u{200b}",
            // Invisible operators, interlinear annotation, musical and shorthand format controls.
            "a\u{2061}b",
            "a\u{fff9}b",
            "a\u{1d173}b",
            "a\u{1bca0}b",
            "a\u{180e}b",
            // Fillers and joiners that are letters or marks.
            "a\u{115f}b",
            "a\u{1160}b",
            "a\u{3164}b",
            "a\u{ffa0}b",
            "a\u{34f}b",
            "a\u{17b4}b",
            "a\u{2800}b",
            // Variation selectors outside of emoji, and tags.
            "a\u{fe0f}",
            "a\u{fe00}",
            "葛\u{e0100}",
            "a\u{180b}",
            "1\u{fe0f}",
            "a\u{e0041}",
            "🏴\u{e0067}\u{e007f}",
            // A joiner that joins no two emoji.
            "👩\u{200d}",
            "\u{200d}👩",
            "👩\u{200d}a",
            "1\u{200d}2",
            "👩\u{200d}\u{200d}💻",
            // Not assigned, for private use, no characters.
            "a\u{e000}",
            "a\u{f0000}",
            "a\u{378}",
            "a\u{ffff}",
            "a\u{fdd0}",
            "a\u{10ffff}",
            // Accents that cover the neighbours; one upon nothing.
            "a\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}",
            "\u{301}a",
        ] {
            assert_eq!(name(hidden), Err(NameError::Hidden), "{hidden:?}");
        }
    }

    #[test]
    fn a_name_that_was_stored_before_a_rule_is_still_read() {
        for old in [
            "a\u{200b}b",
            "a\u{e000}",
            "葛\u{e0100}",
            "a\u{200f}b",
            " a ",
        ] {
            assert_eq!(Name::stored(old.to_owned()).unwrap().as_str(), old);
        }
        assert_eq!(Name::stored(String::new()), Err(NameError::Empty));
        assert_eq!(Name::stored("a\nb".to_owned()), Err(NameError::Control));
    }

    #[test]
    fn names_that_look_alike_have_one_look() {
        let look = |text: &str| Name::stored(text.to_owned()).unwrap().look();
        for (one, other) in [
            ("Story", "Stοry"),
            ("paypal", "раураl"),
            ("admin", "аdmin"),
            ("Bill", "BiIl"),
            ("ci", "ci\u{200b}"),
            ("ABC", "АВС"),
            ("Story", "Story"),
            // Stored before there was one form.
            ("Acme Corp", "Acme  Corp"),
            ("Acme Corp", "Acme \u{a0} Corp"),
        ] {
            assert_eq!(look(one), look(other), "{one} {other}");
        }
        for (one, other) in [
            ("Story", "Storey"),
            ("玄関", "鍵"),
            ("ci", "cd"),
            ("👩‍💻", "👨‍💻"),
        ] {
            assert_ne!(look(one), look(other), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_taken_again_and_was_storable(text in "\\PC{0,40}") {
            if let Ok(name) = name(&text) {
                prop_assert_eq!(name.as_str().parse(), Ok(name.clone()));
                prop_assert_eq!(Name::stored(name.to_string()), Ok(name));
            }
        }
    }
}
