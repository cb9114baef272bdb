//! "Not a problem": an operator says that what an incident is about is as it should be. The incident is closed, and what it
//! touches learns anew what is usual. Called by whoever asks the analysis; the rest of detection goes on as it was.

use super::{Detector, IncidentChange};

impl Detector {
    /// Closes an open incident that is no problem; what it touches, and no other incident does, is learned anew from now
    /// on. Nothing if no incident with this number is open.
    pub fn dismiss(&mut self, number: u64) -> Option<IncidentChange> {
        let block = self.judged?;
        let index = self.open.iter().position(|open| open.incident.number == number)?;
        let mut dismissed = self.open.remove(index);
        dismissed.incident.dismissed = true;
        dismissed.take_shapes_as_usual(&mut self.signals);
        let others = &self.open;
        let is_of_others = |service: &str| others.iter().any(|open| open.touches(service));
        let is_its_own = |service: &str| dismissed.touches(service) && !is_of_others(service);
        self.signals.relearn(is_its_own, is_of_others, block + 1);
        self.rates.relearn(is_its_own, dismissed.onset);
        let reason = "Closed by hand as not a problem: what it touches is learned anew.";
        Some(self.close(dismissed.incident, block, Some(reason)))
    }
}
