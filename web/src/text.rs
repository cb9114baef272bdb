//! Hostile text on its way out: markup is escaped, and characters that hide or reorder text are shown as what they
//! are. Templates use [`Visible`] for every value (see `askama.toml`); text and CSV output uses the functions.

use std::fmt::{self, Write};

/// Escapes HTML and makes invisible characters visible. Templates apply it to every value.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Visible;

impl askama::filters::Escaper for Visible {
    fn write_escaped_str<W: Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        let mut plain_from = 0;
        for (at, letter) in string.char_indices() {
            let entity = entity(letter);
            if entity.is_none() && !is_hidden(letter) {
                continue;
            }
            dest.write_str(&string[plain_from..at])?;
            plain_from = at + letter.len_utf8();
            match entity {
                Some(entity) => dest.write_str(entity)?,
                None => write_hidden(&mut dest, letter)?,
            }
        }
        dest.write_str(&string[plain_from..])
    }
}

fn entity(letter: char) -> Option<&'static str> {
    match letter {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        _ => None,
    }
}

/// Returns whether a reader could not see this character, or would read others in another order because of it.
fn is_hidden(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => letter.is_control(),
    }
}

fn write_hidden(dest: &mut impl Write, letter: char) -> fmt::Result {
    match letter {
        // Unicode has pictures for the first 32 control characters and DEL.
        '\0'..='\u{1f}' => dest.write_char(char::from_u32(0x2400 + u32::from(letter)).unwrap_or('\u{fffd}')),
        '\u{7f}' => dest.write_char('\u{2421}'),
        _ => write!(dest, "⟦U+{:04X}⟧", u32::from(letter)),
    }
}

/// Returns text for a terminal or a text file: one line, nothing hidden, no escape sequences.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => line.push('␊'),
            '\t' => line.push(' '),
            _ if is_hidden(letter) => write_hidden(&mut line, letter).expect("writing to a string cannot fail"),
            _ => line.push(letter),
        }
    }
    line
}

/// Returns one CSV field (RFC 4180) that a spreadsheet will not take for a formula.
pub(crate) fn csv_field(text: &str) -> String {
    let looks_like_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    let guarded = if looks_like_formula { format!("'{text}") } else { text.to_owned() };
    if guarded.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

/// Returns at most `chars_max` characters, with an ellipsis when something was left out.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Returns the text as one segment or value of a URL.
pub(crate) fn url_part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => part.push(char::from(byte)),
            _ => write!(part, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    part
}

/// Returns the page of a transaction type.
pub(crate) fn type_url(service: &str, operation: &str) -> String {
    format!("/tx/{}/{}", url_part(service), url_part(operation))
}

/// Returns a path with those parameters that are not empty.
pub(crate) fn url_with(path: &str, params: &[(&str, &str)]) -> String {
    let mut url = path.to_owned();
    for (key, value) in params.iter().filter(|(_, value)| !value.is_empty()) {
        url.push(if url.contains('?') { '&' } else { '?' });
        write!(url, "{key}={}", url_part(value)).expect("writing to a string cannot fail");
    }
    url
}

#[cfg(test)]
mod tests {
    use askama::filters::Escaper;

    use super::*;

    fn html(text: &str) -> String {
        let mut out = String::new();
        Visible.write_escaped_str(&mut out, text).unwrap();
        out
    }

    #[test]
    fn markup_is_escaped_in_text_and_in_quoted_attributes() {
        assert_eq!(html(r#"<b title="x" y='z'>&"#), "&lt;b title=&quot;x&quot; y=&#39;z&#39;&gt;&amp;");
    }

    #[test]
    fn characters_that_hide_or_reorder_text_are_shown() {
        assert_eq!(html("a\0b\u{1b}[31m\u{7f}"), "a␀b␛[31m␡");
        assert_eq!(html("pay\u{202e}gpj.exe\u{2066}"), "pay⟦U+202E⟧gpj.exe⟦U+2066⟧");
        assert_eq!(html("naïve 日本 👩‍👧\nline\ttab"), "naïve 日本 👩‍👧\nline\ttab");
    }

    #[test]
    fn text_for_a_terminal_stays_on_one_line_and_carries_no_escape_sequence() {
        assert_eq!(one_line("a\nb\r\u{1b}[2J"), "a␊b␍␛[2J");
    }

    #[test]
    fn a_csv_field_is_quoted_and_never_a_formula() {
        assert_eq!(csv_field("=cmd()"), "'=cmd()");
        assert_eq!(csv_field("-12.5"), "-12.5");
        assert_eq!(csv_field("a,\"b\""), "\"a,\"\"b\"\"\"");
    }

    #[test]
    fn urls_carry_any_text() {
        assert_eq!(type_url("gate way", "POST /checkout?"), "/tx/gate%20way/POST%20%2Fcheckout%3F");
        assert_eq!(url_with("/search", &[("q", "a&b"), ("t", ""), ("p", "2")]), "/search?q=a%26b&p=2");
    }

    #[test]
    fn shortening_counts_characters() {
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("äöü", 3), "äöü");
    }
}
