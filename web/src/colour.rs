//! One of twelve colours for each service, stable by its name. The stylesheet gives the classes `s0` to `s11` hues that
//! are neither red nor green: those speak of state.

use std::collections::HashMap;

/// Colours that the stylesheet has.
const COLOURS: usize = 12;

/// FNV-1a, so that a service keeps its colour over restarts and releases.
fn index_of(service: &str) -> usize {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in service.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    usize::try_from(hash % COLOURS as u64).unwrap_or(0)
}

/// Colours of the services of one page: by name, moved on where two would share one as long as there are free ones.
#[derive(Debug, Default)]
pub(crate) struct Colours {
    by_service: HashMap<String, usize>,
    is_taken: [bool; COLOURS],
}

impl Colours {
    /// Returns the colour class of a service.
    pub(crate) fn class(&mut self, service: &str) -> String {
        if let Some(index) = self.by_service.get(service) {
            return format!("s{index}");
        }
        let wanted = index_of(service);
        let free = (0..COLOURS).map(|step| (wanted + step) % COLOURS).find(|index| !self.is_taken[*index]);
        let index = free.unwrap_or(wanted);
        self.is_taken[index] = true;
        self.by_service.insert(service.to_owned(), index);
        format!("s{index}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_services_have_twelve_colours_and_more_share() {
        let mut colours = Colours::default();
        let classes: std::collections::BTreeSet<String> =
            (0..12).map(|index| colours.class(&format!("service-{index}"))).collect();
        assert_eq!(classes.len(), 12);
        assert_eq!(colours.class("service-13"), Colours::default().class("service-13"));
        assert_eq!(colours.class("service-3"), colours.class("service-3"));
    }
}
