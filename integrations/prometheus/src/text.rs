use std::fmt::{self, Write};

/// How many characters a text may have that is shown to somebody.
pub(crate) const MAX_CHARS: usize = 200;

/// Writes something down, but not more than [`MAX_CHARS`] characters of it, the last of which is `…` where some are missing.
///
/// What comes from outside may have characters that change how others look: control characters, and those that
/// change the direction of writing. Each becomes `\u{fffd}`.
pub(crate) fn cut(text: impl fmt::Display) -> String {
    let mut cut = Cut { text: String::new(), left: MAX_CHARS };
    // Fails where it is cut, so that no more is written down.
    if write!(cut, "{text}").is_err() {
        cut.text.pop();
        cut.text.push('…');
    }
    cut.text
}

struct Cut {
    text: String,
    left: usize,
}

impl Write for Cut {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for char in part.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(if is_plain(char) { char } else { char::REPLACEMENT_CHARACTER });
        }
        Ok(())
    }
}

fn is_plain(char: char) -> bool {
    !char.is_control()
        && !matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_has_no_characters_that_change_others() {
        assert_eq!(cut("plain"), "plain");
        assert_eq!(cut("ß".repeat(MAX_CHARS)), "ß".repeat(MAX_CHARS));
        assert_eq!(cut("ß".repeat(MAX_CHARS + 1)), "ß".repeat(MAX_CHARS - 1) + "…");
        assert_eq!(cut("a\nb\u{202e}c\u{0}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
    }

    #[test]
    fn no_more_of_a_text_is_written_down_than_is_kept() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("and on ")?;
                }
            }
        }
        assert_eq!(cut(Endless).chars().count(), MAX_CHARS);
    }
}
