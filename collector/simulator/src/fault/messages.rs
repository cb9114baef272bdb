//! Faults of messages: they wait, come twice, do not come, or come in another order.

use super::{Placed, Placing};
use crate::change::{Effect, Scope};
use crate::system::{Broker, Context};

/// Consumers are slower than what comes, or nearly so: messages wait.
pub(super) fn queue_lag(placing: &mut Placing<'_>) -> Option<Placed> {
    let groups = groups(placing, |_, _| true);
    let group = placing.pick(&groups)?;
    let described = &placing.system.groups[group];
    let queue = &placing.system.queues[described.queue];
    let per_second = placing.survey.rates[described.operation] / queue.partitions as f64;
    let load = placing.strength.of([0.6, 0.9, 1.4]);
    // A batch takes what has come in: it waits about half a pause.
    let pause_ms = if described.batch_max > 1 {
        placing.strength.of([8_000.0, 25_000.0, 80_000.0])
    } else {
        (load * 1_000.0 / per_second.max(1e-3)).min(60_000.0)
    };
    let changes = vec![placing.change(Effect::TakesSlower { group, pause_ms })];
    Some(at_group(placing, group, changes))
}

/// Messages that were acknowledged come again.
pub(super) fn duplicate_processing(placing: &mut Placing<'_>) -> Option<Placed> {
    let groups = groups(placing, |group, _| group != Context::Nothing);
    let group = placing.pick(&groups)?;
    let share = placing.strength.of([0.03, 0.12, 0.4]);
    let changes = vec![placing.change(Effect::Doubles { group, share })];
    Some(at_group(placing, group, changes))
}

/// The broker loses a share of what it was given.
pub(super) fn lost_message(placing: &mut Placing<'_>) -> Option<Placed> {
    let groups = groups(placing, |group, _| group != Context::Nothing);
    let group = placing.pick(&groups)?;
    let queue = placing.system.groups[group].queue;
    let share = placing.strength.of([0.05, 0.2, 0.7]);
    let changes = vec![placing.change(Effect::Loses { queue, share })];
    let mut placed = at_group(placing, group, changes);
    // All who take from the queue lack the message, and the producer's was the last sight of it.
    for (index, other) in placing.system.groups.iter().enumerate() {
        if other.queue == queue && index != group {
            placed.services.push(placing.service_name(placing.service_of(other.operation)));
            placed.operations.extend(placing.operation_names(other.operation));
        }
    }
    for (sender, _, _) in placing.survey.sends.iter().filter(|(_, to, _)| *to == queue) {
        placed.services.push(placing.service_name(placing.service_of(*sender)));
        placed.operations.extend(placing.operation_names(*sender));
    }
    Some(placed)
}

/// Messages of one partition are worked on in another order than they were sent.
pub(super) fn out_of_order(placing: &mut Placing<'_>) -> Option<Placed> {
    let groups = groups(placing, |group, broker| group != Context::Nothing && broker == Broker::Kafka);
    let one_by_one: Vec<usize> =
        groups.into_iter().filter(|group| placing.system.groups[*group].batch_max == 1).collect();
    let group = placing.pick(&one_by_one)?;
    let share = placing.strength.of([0.05, 0.2, 0.5]);
    let changes = vec![placing.change(Effect::Disorders { group, share })];
    Some(at_group(placing, group, changes))
}

/// Returns the groups that get enough messages and fit.
fn groups(placing: &Placing<'_>, fits: impl Fn(Context, Broker) -> bool) -> Vec<usize> {
    let groups = placing.system.groups.iter().enumerate();
    let fitting = groups.filter(|(_, group)| {
        let broker = placing.system.queues[group.queue].broker;
        placing.is_used(group.operation) && broker != Broker::Unseen && fits(group.context, broker)
    });
    fitting.map(|(index, _)| index).collect()
}

fn at_group(placing: &Placing<'_>, group: usize, changes: Vec<crate::Change>) -> Placed {
    let described = &placing.system.groups[group];
    let mut placed = placing.at(described.operation, Scope::default(), changes);
    placed.services.push(placing.system.queues[described.queue].name.to_string());
    placed
}
