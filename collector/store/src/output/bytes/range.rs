//! The least and the greatest value of a page or of a row group, in the order of their bytes, short enough for an index.

/// Longer values are cut: indexes shall stay small.
const RANGE_BYTES_MAX: usize = 64;

/// Least and greatest value; nothing when there was none.
#[derive(Debug, Default)]
pub(super) struct Bounds(Option<(Vec<u8>, Vec<u8>)>);

/// A bound for an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) value: Vec<u8>,
    /// Whether it is a value, and not only less or greater than all of them.
    pub(super) is_exact: bool,
}

impl Bounds {
    #[inline]
    pub(super) fn include(&mut self, value: &[u8]) {
        match &mut self.0 {
            None => self.0 = Some((value.to_vec(), value.to_vec())),
            Some((least, _)) if value < least.as_slice() => value.clone_into(least),
            Some((_, greatest)) if value > greatest.as_slice() => value.clone_into(greatest),
            Some(_) => {}
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        if let Some((least, greatest)) = other.0 {
            self.include(&least);
            self.include(&greatest);
        }
    }

    /// Returns a value that none is less than, and one that none is greater than; both empty when there are no values.
    pub(super) fn cut(&self) -> (Bound, Bound) {
        let (least, greatest) = self.0.as_ref().map_or((&[][..], &[][..]), |(least, greatest)| (least, greatest));
        let exact = |value: &[u8]| Bound { value: value.to_vec(), is_exact: true };
        let below = Bound { value: head(least).to_vec(), is_exact: least.len() <= RANGE_BYTES_MAX };
        let above = if greatest.len() <= RANGE_BYTES_MAX { None } else { successor(head(greatest)) };
        (below, above.map_or_else(|| exact(greatest), |value| Bound { value, is_exact: false }))
    }
}

/// Returns the first characters of a text; ids are never too long.
fn head(value: &[u8]) -> &[u8] {
    const CONTINUES: u8 = 0b1000_0000;
    const CONTINUES_MASK: u8 = 0b1100_0000;
    let mut end = value.len().min(RANGE_BYTES_MAX);
    while value.get(end).is_some_and(|byte| byte & CONTINUES_MASK == CONTINUES) {
        end -= 1;
    }
    &value[..end]
}

/// Returns the least text that is greater than all that begin with this one.
fn successor(head: &[u8]) -> Option<Vec<u8>> {
    let mut text = std::str::from_utf8(head).ok()?.to_owned();
    while let Some(last) = text.pop() {
        // Between these two lie the surrogates, which are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            text.push(next);
            return Some(text.into_bytes());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Bounds, RANGE_BYTES_MAX};

    fn cut(values: &[&str]) -> (String, String) {
        let mut bounds = Bounds::default();
        values.iter().for_each(|value| bounds.include(value.as_bytes()));
        let (least, greatest) = bounds.cut();
        assert!(values.iter().all(|value| *least.value <= *value.as_bytes() && *value.as_bytes() <= *greatest.value));
        (String::from_utf8(least.value).unwrap(), String::from_utf8(greatest.value).unwrap())
    }

    #[test]
    fn short_bounds_are_values_and_long_ones_are_cut_so_that_they_still_bound() {
        let long = "a".repeat(RANGE_BYTES_MAX + 1);
        assert_eq!(cut(&["b", "a", "c"]), ("a".to_owned(), "c".to_owned()));
        assert_eq!(cut(&[&long]), ("a".repeat(64), format!("{}b", "a".repeat(63))));
        let wide = "ü".repeat(RANGE_BYTES_MAX);
        assert_eq!(cut(&[&wide]), ("ü".repeat(32), format!("{}ý", "ü".repeat(31))));
        let odd = format!("a{wide}");
        assert_eq!(cut(&[&odd]).0.len(), 63);
        let last = "\u{10ffff}".repeat(40);
        assert_eq!(cut(&[&last]).1, last, "nothing shorter is greater");
        assert_eq!(cut(&[&"\u{d7ff}".repeat(40)]).1.chars().last(), Some('\u{e000}'));
    }
}
