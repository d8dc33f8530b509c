//! HTML that cannot be broken out of: what comes from elsewhere gets in by one way only, and that escapes it.

use std::fmt::{self, Display, Write as _};

use crate::printable::is_obeyed;

/// HTML that is being written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

/// Escapes on the way through, for text and for values of attributes in quotes.
struct Escaping<'a>(&'a mut String);

/// Writes literals as they are and what stands in parentheses as text: `put!(html; "<b>" (name) "</b>")`.
macro_rules! put {
    ($html:expr;) => {};
    ($html:expr; $literal:literal $($rest:tt)*) => {{
        $html.raw($literal);
        $crate::ops::admin::html::put!($html; $($rest)*);
    }};
    ($html:expr; ($text:expr) $($rest:tt)*) => {{
        $html.text(&$text);
        $crate::ops::admin::html::put!($html; $($rest)*);
    }};
}
pub(super) use put;

// === impl Html ===

impl Html {
    /// Something of our own, known when we were built.
    pub(super) fn raw(&mut self, html: &'static str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    /// Anything, as text.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a String does not fail.
        let _ = write!(Escaping(&mut self.0), "{text}");
        self
    }

    /// A name, as text that may break behind its dots: names of machines are long.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        for part in name.split_inclusive('.') {
            self.text(part).raw("<wbr>");
        }
        self
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

// === impl Escaping ===

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                letter if is_obeyed(letter) && !letter.is_whitespace() => self.0.push('\u{fffd}'),
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_breaks_behind_its_dots_and_is_text() {
        let mut html = Html::default();
        html.name("a.<b>.c");
        assert_eq!(html.finish(), "a.<wbr>&lt;b&gt;.<wbr>c<wbr>");
    }

    #[test]
    fn text_is_text_in_content_and_in_attributes() {
        let mut html = Html::default();
        let rubbish = "<script>\"'&\u{0}\u{202e}</title>";
        put!(html; "<b title=\"" (rubbish) "\">" (rubbish) "</b>");
        let escaped = "&lt;script&gt;&quot;&#39;&amp;\u{fffd}\u{fffd}&lt;/title&gt;";
        assert_eq!(html.finish(), format!("<b title=\"{escaped}\">{escaped}</b>"));
    }
}
