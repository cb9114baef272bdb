//! The first step of mining: the line of a log record that says what happened, cut into tokens, with what varies by its
//! very shape put out: numbers, ids, addresses, quoted strings. Called for each record by [`super::Logs`].
//! Must never know a name or a format of somebody's logs, and never look at more than a bounded part of a body.

/// What stands for a part that varies.
pub(crate) const VARIABLE: &str = "<*>";
/// Bytes of a body that are looked at.
pub(super) const LINE_BYTES_MAX: usize = 512;
/// Tokens of a line that are looked at; lines that differ only behind them are alike.
pub(super) const TOKENS_MAX: usize = 40;
/// Bytes from which on what has no space in it is no word.
const WORD_BYTES_MAX: usize = 64;

/// A line as tokens. Its room is used again for the next one.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: String,
    /// Where each token ends in the text; the next begins there.
    ends: Vec<usize>,
}

impl Line {
    /// Returns the tokens.
    pub(super) fn tokens(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.ends.len()).map(|at| &self.text[if at == 0 { 0 } else { self.ends[at - 1] }..self.ends[at]])
    }

    /// Reads the line of a body.
    ///
    /// A stack trace is told by its first line. A structured body is read as its text, keys and values alike: which of its
    /// members is "the message" is a convention of each library, and all of the text fits any of them.
    pub(super) fn read(&mut self, body: &str) {
        self.text.clear();
        self.ends.clear();
        let body = body.trim_start();
        if body.starts_with('{') || body.starts_with("[{") {
            self.read_structure(first_bytes(body));
        } else {
            self.read_words(first_bytes(body.lines().next().unwrap_or_default()));
        }
    }

    /// Reads text whose tokens are separated by spaces; control characters and colours of terminals are no part of it.
    fn read_words(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() && self.ends.len() < TOKENS_MAX {
            at = match bytes[at] {
                0x1b => end_of_escape(bytes, at),
                byte if is_space(byte) => at + 1,
                _ => self.read_token(text, at),
            };
        }
    }

    /// Reads the token that begins there; returns its end.
    fn read_token(&mut self, text: &str, from: usize) -> usize {
        let bytes = text.as_bytes();
        let mut at = from;
        while at < bytes.len() && !is_space(bytes[at]) {
            let byte = bytes[at];
            if let Some(end) = end_of_quoted(bytes, from, at) {
                self.text.push(char::from(byte));
                self.text.push_str(VARIABLE);
                self.text.push(char::from(byte));
                at = end;
            } else if is_word(byte) || matches!(byte, b'-' | b'+' | b'.' | b'/' | b'#') {
                let end =
                    bytes[at..].iter().position(|byte| !is_piece(*byte)).map_or(bytes.len(), |length| at + length);
                mask_piece(&text[at..end], &mut self.text);
                at = end;
            } else {
                self.text.push(char::from(byte));
                at += 1;
            }
        }
        self.ends.push(self.text.len());
        at
    }

    /// Reads JSON, or what looks like it, without its punctuation.
    fn read_structure(&mut self, text: &str) {
        let is_between = |letter: char| letter.is_ascii_whitespace() || "{}[],\"\\".contains(letter);
        let words = text.split(is_between).map(|word| word.trim_matches(':')).filter(|word| !word.is_empty());
        for word in words.take(TOKENS_MAX) {
            mask_piece(word, &mut self.text);
            self.ends.push(self.text.len());
        }
    }
}

/// Returns as much of a text as is looked at.
pub(super) fn first_bytes(text: &str) -> &str {
    let mut end = text.len().min(LINE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_space(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// Letters and digits of any script.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// What may stand within a number, an id, an address or a path.
fn is_piece(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b':' | b'-' | b'/' | b'+' | b',' | b'@' | b'#' | b'%' | b'~')
}

/// Returns where a control sequence of a terminal ends (ECMA-48, 5.4).
fn end_of_escape(bytes: &[u8], from: usize) -> usize {
    if bytes.get(from + 1) != Some(&b'[') {
        return from + 1;
    }
    let parameters = bytes[from + 2..].iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
    (from + 3 + parameters).min(bytes.len())
}

/// Returns where a quoted string ends that begins there; an apostrophe within a word begins none.
fn end_of_quoted(bytes: &[u8], token: usize, at: usize) -> Option<usize> {
    let quote = bytes[at];
    let opens = matches!(quote, b'"' | b'\'' | b'`') && (at == token || b"([{<=:,".contains(&bytes[at - 1]));
    if !opens {
        return None;
    }
    let closes = |end: &usize| bytes[*end] == quote && bytes.get(end + 1).is_none_or(|byte| !is_word(*byte));
    (at + 1..bytes.len()).find(closes).map(|end| end + 1)
}

/// Appends a piece with what varies in it put out; what stands between two such parts belongs to them.
fn mask_piece(piece: &str, out: &mut String) {
    let bytes = piece.as_bytes();
    if bytes.len() > WORD_BYTES_MAX {
        return out.push_str(VARIABLE);
    }
    if !bytes.iter().any(u8::is_ascii_digit) {
        return out.push_str(piece);
    }
    if is_uuid(bytes) || is_hex_by_colons(bytes) {
        return out.push_str(VARIABLE);
    }
    let begin = out.len();
    // End of the last part that varies; until a word comes, what is appended may belong to the next one.
    let mut joined_from = None;
    let mut at = 0;
    while at < bytes.len() {
        let is_run = is_word(bytes[at]);
        let length = bytes[at..].iter().take_while(|byte| is_word(**byte) == is_run).count();
        let run = &piece[at..at + length];
        at += length;
        if is_run && run.bytes().any(|byte| byte.is_ascii_digit()) {
            let is_signed = matches!(&out[begin..], "-" | "+");
            match joined_from {
                Some(end) => out.truncate(end),
                None => {
                    out.truncate(if is_signed { begin } else { out.len() });
                    out.push_str(VARIABLE);
                }
            }
            joined_from = Some(out.len());
        } else {
            joined_from = joined_from.filter(|_| !is_run);
            out.push_str(run);
        }
    }
}

/// RFC 9562, 4.
fn is_uuid(bytes: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    bytes.len() == 36 && bytes.iter().enumerate().all(fits)
}

/// An IPv6 address, a hardware address, a fingerprint, a time.
fn is_hex_by_colons(bytes: &[u8]) -> bool {
    let colons = bytes.iter().filter(|byte| **byte == b':').count();
    colons >= 2 && bytes.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(body: &str) -> String {
        let mut line = Line::default();
        line.read(body);
        line.tokens().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_varies_by_its_shape_is_put_out() {
        for (line, wanted) in [
            ("order 17 took 4.2ms", "order <*> took <*>"),
            ("at 2026-11-30T12:00:01.5Z by 10.0.0.7:5432", "at <*> by <*>"),
            ("from fe80::1:beef and aa:bb:0c:dd:ee:ff", "from <*> and <*>"),
            ("id=3f2504e0-4f89-11d3-9a0c-0305e82c3301 ok", "id=<*> ok"),
            ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit <*>"),
            ("GET /orders/17/items/4?page=2 -> 200", "GET /orders/<*>/items/<*>?page=<*> -> <*>"),
            ("cannot open \"a b c\", it's 'gone away'", "cannot open \"<*>\", it's '<*>'"),
            ("offset -5, lag=+12", "offset <*>, lag=<*>"),
            ("[pool-3] (worker 4): started", "[pool-<*>] (worker <*>): started"),
            ("\u{1b}[31mERROR\u{1b}[0m broken", "ERROR broken"),
            ("Größe 3µ überschritten", "Größe <*> überschritten"),
        ] {
            assert_eq!(masked(line), wanted, "{line}");
        }
    }

    #[test]
    fn a_stack_trace_is_its_first_line_and_a_structure_its_text() {
        assert_eq!(masked("\n\nboom: 3\n  at a(b.rs:4)\n  at c"), "boom: <*>");
        let compact = masked(r#"{"at":"2026-11-30T12:00:01Z","text":"order 17 accepted","n":5,"in":{"ok":true}}"#);
        assert_eq!(compact, "at <*> text order <*> accepted n <*> in ok true");
        assert_eq!(masked("{\n  \"text\": \"order 18 accepted\"\n}"), "text order <*> accepted");
    }

    #[test]
    fn hostile_bodies_are_looked_at_as_far_as_the_bounds_go() {
        let mut line = Line::default();
        for body in ["", "\n\n", "'", "\"\"", "\u{1b}", "\u{1b}[", "\u{1b}[3", "<*> <*>", "💥".repeat(900).as_str()] {
            line.read(body);
            assert!(line.tokens().len() <= 1 || body.contains('*'), "{body}");
        }
        line.read(&"word ".repeat(100_000));
        assert_eq!(line.tokens().len(), TOKENS_MAX);
        line.read(&"x".repeat(10_000_000));
        assert_eq!(line.tokens().collect::<Vec<_>>(), [VARIABLE]);
    }
}
