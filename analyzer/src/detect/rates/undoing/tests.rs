//! What happens at the bounds of sagas that wait for their compensation, and of those that were counted.

use std::sync::Arc;

use super::*;
use crate::fixture;
use crate::stitch::assemble;

fn id(number: usize) -> TraceId {
    TraceId((number as u128 + 1).to_be_bytes())
}

/// Has as many failed sagas wait for a compensation.
fn waiting(count: usize) -> Rates {
    let mut rates = Rates::new(100, 1.0);
    let table = fixture::table(&fixture::lines("web POST /order 0..9 error"));
    let site = assemble([&table]).remove(0).root_span().site.clone();
    let name = |text: &str| (Arc::from("stock"), Arc::from(text));
    let occasion = Occasion { of: Of::Undoing, by: name("release"), to: Some(name("reserve")) };
    let to_undo = vec![ToUndo { occasion, is_undone: false, may_come: true }];
    for number in 0..count {
        let example = Example { id: id(number), root: None, duration_ms: 1.0, site: Some(site.clone()) };
        rates.undoings.waiting.insert(id(number), (to_undo.clone(), example));
        rates.undoings.due.push_back((WAIT_NS, id(number)));
    }
    rates
}

fn counted(rates: &Rates) -> (u32, u32) {
    rates.occasions.slots.iter().fold((0, 0), |(of, wrong), (_, _, place)| {
        let not_undone = place.rate(Wrong::NotUndone).map_or(0, |rate| rate.between(i64::MIN, i64::MAX).count);
        (of + place.between(i64::MIN, i64::MAX).of, wrong + not_undone)
    })
}

#[test]
fn beyond_the_bound_the_oldest_sagas_are_decided_early_and_the_others_in_their_time() {
    let mut rates = waiting(WAITING_MAX + 5);
    rates.settle_undoings(0, 0);
    assert_eq!((rates.undoings.waiting.len(), counted(&rates)), (WAITING_MAX, (5, 5)));
    assert!(rates.undoings.is_counted(id(4)) && !rates.undoings.is_counted(id(5)));
    rates.settle_undoings(1, WAIT_NS);
    let all = WAITING_MAX as u32 + 5;
    assert_eq!((rates.undoings.waiting.len(), counted(&rates)), (0, (all, all)));
}

#[test]
fn sagas_that_were_counted_are_remembered_for_two_generations() {
    let mut undoings = Undoings::default();
    (0..2 * COUNTED_MAX + 1).for_each(|number| undoings.note_counted(id(number)));
    assert!(undoings.counted.len() + undoings.older.len() <= 2 * COUNTED_MAX);
    assert!(!undoings.is_counted(id(0)) && undoings.is_counted(id(COUNTED_MAX)));
    assert!(undoings.is_counted(id(2 * COUNTED_MAX)));
}
