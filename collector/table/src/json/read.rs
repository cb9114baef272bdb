//! Reads JSON objects and lists member by member, without a tree. Called by `json` and by the readers of events and
//! links. Must never panic or recurse, whatever the text is.

use std::borrow::Cow;

/// Members of an object: key, and the value's JSON.
pub struct Members<'a>(Parts<'a>);

/// Elements of a list, as JSON.
pub struct Elements<'a>(Parts<'a>);

struct Parts<'a> {
    json: &'a str,
    at: usize,
}

/// Returns the members of an object in their order; none if it is not an object.
pub fn members(object: &str) -> Members<'_> {
    Members(Parts::of(object, b'{'))
}

/// Returns the elements of a list in their order; none if it is not a list.
pub fn elements(list: &str) -> Elements<'_> {
    Elements(Parts::of(list, b'['))
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.value().filter(|key| key.starts_with('"'))?;
        self.0.pass(b':')?;
        let value = self.0.value()?;
        self.0.pass(b',');
        Some((text(key), value))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let element = self.0.value()?;
        self.0.pass(b',');
        Some(element)
    }
}

impl<'a> Parts<'a> {
    fn of(json: &'a str, open: u8) -> Self {
        let mut parts = Self { json, at: 0 };
        if parts.pass(open).is_none() {
            parts.at = json.len();
        }
        parts
    }

    fn skip_blank(&mut self) {
        while self.json.as_bytes().get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn pass(&mut self, byte: u8) -> Option<()> {
        self.skip_blank();
        (self.json.as_bytes().get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn value(&mut self) -> Option<&'a str> {
        self.skip_blank();
        let end = value_end(self.json, self.at)?;
        let value = self.json.get(self.at..end)?;
        self.at = end;
        Some(value)
    }
}

/// Returns where the value that begins at a byte ends, or nothing if none begins there or it does not end.
pub fn value_end(json: &str, from: usize) -> Option<usize> {
    let bytes = json.as_bytes();
    match bytes.get(from)? {
        b'"' => text_end(bytes, from),
        b'{' | b'[' => nested_end(bytes, from),
        _ => {
            let rest = &bytes[from..];
            let is_end = |byte: &u8| matches!(byte, b',' | b':' | b']' | b'}' | b'"') || byte.is_ascii_whitespace();
            let length = rest.iter().position(is_end).unwrap_or(rest.len());
            (length > 0).then_some(from + length)
        }
    }
}

fn text_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn nested_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    let mut depth = 0_usize;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))?;
        match bytes[at] {
            b'"' => {
                at = text_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            _ => depth -= 1,
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Returns the text within quotes, escapes read.
pub(super) fn text(json: &str) -> Cow<'_, str> {
    let quoted = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
    if !quoted.contains('\\') {
        return Cow::Borrowed(quoted);
    }
    let mut out = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let (char, rest) = code_point(chars.as_str());
                out.push(char);
                chars = rest.chars();
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Cow::Owned(out)
}

/// Returns the character after `\u`, two halves joined, and what follows it; a half alone is the replacement character.
fn code_point(rest: &str) -> (char, &str) {
    let four = |text: &str| text.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let Some(first) = four(rest) else { return (char::REPLACEMENT_CHARACTER, rest) };
    let rest = &rest[4..];
    let second = rest.strip_prefix("\\u").and_then(four);
    let mut joined = char::decode_utf16([first].into_iter().chain(second));
    match joined.next() {
        Some(Ok(char)) if char.len_utf16() == 2 => (char, &rest[6..]),
        Some(Ok(char)) => (char, rest),
        _ => (char::REPLACEMENT_CHARACTER, rest),
    }
}
