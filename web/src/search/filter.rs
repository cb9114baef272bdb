//! The parameters of a search: read from the URL, checked, and written back into links.

use serde::Deserialize;

use super::ROWS_MAX;
use crate::error::PageError;
use crate::page::Period;
use crate::source::TransactionQuery;
use crate::text;

/// Pages that can be asked for; beyond, the list should be narrowed.
const PAGE_MAX: usize = 1_000;
/// Attribute conditions of one search.
const ATTRIBUTES_MAX: usize = 8;

/// A search as its URL says it. Empty fields do not restrict.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    /// Words of the transaction type, and `key=value` conditions on attributes.
    pub(crate) q: String,
    pub(crate) service: String,
    pub(crate) operation: String,
    pub(crate) min_ms: String,
    pub(crate) max_ms: String,
    pub(crate) status: String,
    pub(crate) t: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) sort: String,
    /// `open` for what is not over.
    pub(crate) state: String,
    /// Page, from 0.
    pub(crate) p: usize,
    /// `csv` or `json`.
    pub(crate) format: String,
}

impl Filter {
    /// Returns what to ask the source.
    pub(crate) fn query(&self, period: &Period) -> Result<TransactionQuery, PageError> {
        if self.p > PAGE_MAX {
            return Err(PageError::BadRequest(format!("There are no pages beyond {PAGE_MAX}; narrow the search.")));
        }
        let (attributes, words) = conditions(&self.q)?;
        Ok(TransactionQuery {
            from_ns: period.from_ns,
            to_ns: period.to_ns,
            text: some(&words),
            service: some(&self.service),
            operation: some(&self.operation),
            status: match self.status.as_str() {
                "" => None,
                "ok" | "error" => Some(self.status.clone()),
                other => return Err(PageError::BadRequest(format!("status is ok or error, not “{other}”"))),
            },
            duration_min_ns: nanos(&self.min_ms)?,
            duration_max_ns: nanos(&self.max_ms)?,
            attributes,
            is_slowest_first: self.sort == "slowest",
            offset: self.p * ROWS_MAX,
            limit: ROWS_MAX,
        })
    }

    /// Returns whether anything but the period narrows the list.
    pub(crate) fn is_restricting(&self) -> bool {
        let fields = [&self.q, &self.service, &self.operation, &self.min_ms, &self.max_ms, &self.status];
        fields.into_iter().any(|field| !field.is_empty())
    }

    /// Returns the address of this search on another page or in another format.
    pub(crate) fn url(&self, page: usize, format: &str) -> String {
        let page = if page == 0 { String::new() } else { page.to_string() };
        text::url_with(
            "/search",
            &[
                ("q", &self.q),
                ("service", &self.service),
                ("operation", &self.operation),
                ("min_ms", &self.min_ms),
                ("max_ms", &self.max_ms),
                ("status", &self.status),
                ("t", &self.t),
                ("from", &self.from),
                ("to", &self.to),
                ("sort", &self.sort),
                ("p", &page),
                ("format", format),
            ],
        )
    }
}

fn some(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[expect(clippy::cast_possible_truncation, reason = "a float beyond the range saturates")]
fn nanos(ms: &str) -> Result<Option<i64>, PageError> {
    if ms.trim().is_empty() {
        return Ok(None);
    }
    match ms.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(Some((value * 1e6) as i64)),
        _ => Err(PageError::BadRequest(format!("“{ms}” is not a number of milliseconds"))),
    }
}

type Conditions = (Vec<(String, String)>, String);

/// Splits `order.id=123 /checkout name="two words"` into conditions and remaining words.
fn conditions(text: &str) -> Result<Conditions, PageError> {
    let (mut attributes, mut words) = (Vec::new(), Vec::new());
    let mut rest = text.trim();
    while !rest.is_empty() {
        let key_end = rest.find(|letter: char| letter.is_whitespace() || letter == '=').unwrap_or(rest.len());
        let (key, tail) = rest.split_at(key_end);
        let Some(value) = tail.strip_prefix('=').filter(|_| is_key(key)) else {
            let word_end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(&rest[..word_end]);
            rest = rest[word_end..].trim_start();
            continue;
        };
        let (value, tail) = match value.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some(quoted) => quoted,
            None => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
        };
        attributes.push((key.to_owned(), value.to_owned()));
        rest = tail.trim_start();
    }
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(PageError::BadRequest(format!("A search takes at most {ATTRIBUTES_MAX} attributes.")));
    }
    Ok((attributes, words.join(" ")))
}

/// Attribute keys look like `http.route`; `/a?b=c` is text.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || "._-:".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Conditions {
        conditions(text).unwrap()
    }

    #[test]
    fn key_value_words_are_conditions_and_the_rest_is_text() {
        let attributes = vec![("order.id".to_owned(), "123".to_owned()), ("tenant".to_owned(), "big shop".to_owned())];
        assert_eq!(split("POST order.id=123 tenant=\"big shop\" /checkout"), (attributes, "POST /checkout".to_owned()));
        assert_eq!(split("/a?b=c"), (vec![], "/a?b=c".to_owned()));
        assert_eq!(split("k=\"open"), (vec![("k".to_owned(), "\"open".to_owned())], String::new()));
        assert_eq!(split(" = é=ü "), (vec![("é".to_owned(), "ü".to_owned())], "=".to_owned()));
    }

    #[test]
    fn a_search_and_its_link_are_the_same() {
        let filter = Filter { q: "a b&c".to_owned(), sort: "slowest".to_owned(), ..Filter::default() };
        assert_eq!(filter.url(2, ""), "/search?q=a%20b%26c&sort=slowest&p=2");
    }

    #[test]
    fn nonsense_is_refused_with_words() {
        let hour = Period { from_ns: 0, to_ns: 1, relative: String::new() };
        for wrong in [
            Filter { min_ms: "fast".to_owned(), ..Filter::default() },
            Filter { max_ms: "NaN".to_owned(), ..Filter::default() },
            Filter { status: "bad".to_owned(), ..Filter::default() },
            Filter { p: 5_000_000, ..Filter::default() },
            Filter { q: "a=1 ".repeat(9), ..Filter::default() },
        ] {
            assert!(wrong.query(&hour).is_err(), "{wrong:?}");
        }
    }
}
