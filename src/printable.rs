//! Text from elsewhere, as it may be shown: nothing in it moves a cursor, rings a bell or turns the direction of writing.

/// Whether a terminal or a browser obeys a letter instead of showing it: control characters of both sets (C0 and C1), and
/// what turns the direction of writing (Unicode's UAX #9), which could have one name look like another.
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text, with U+FFFD for each letter that would be obeyed; line breaks, too.
pub fn clean(text: &str) -> String {
    text.replace(is_obeyed, "\u{fffd}")
}

/// The same of a text of several lines, which stay lines.
pub fn clean_lines(text: &str) -> String {
    text.replace(|letter| is_obeyed(letter) && letter != '\n', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        assert_eq!(
            clean("a\u{1b}[2J\u{9b}31m\u{7f}\n\u{202e}b"),
            "a\u{fffd}[2J\u{fffd}31m\u{fffd}\u{fffd}\u{fffd}b"
        );
        assert_eq!(clean_lines("a\r\nb"), "a\u{fffd}\nb");
        assert_eq!(clean("ünïcode 漢字 ✓"), "ünïcode 漢字 ✓");
    }
}
