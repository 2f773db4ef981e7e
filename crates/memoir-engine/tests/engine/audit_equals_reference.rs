//! The engine's audit is the naive model's, whatever the stream and the settings.

use std::collections::BTreeSet;

use memoir_core::ConversationEvent;
use memoir_engine::Ending;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{TestCaseError, TestRunner};

use crate::support::extractor::extract;
use crate::support::query::{Query, now};
use crate::support::reference::Reference;
use crate::support::source::{Log, MemorySource, Stop};
use crate::support::streams::{cases, config, events};

/// Compares rows one by one, so that a failure shows the first that differs.
pub fn assert_same(query: &Query, reference: &Reference) -> Result<(), TestCaseError> {
    let audit = query.sink.audit();
    for (at, (row, expected)) in audit.iter().zip(&reference.audit).enumerate() {
        prop_assert_eq!(row, expected, "audit row {}", at);
    }
    prop_assert_eq!(
        audit.len(),
        reference.audit.len(),
        "{:?}",
        &reference.audit[audit.len().min(reference.audit.len())..]
    );
    prop_assert_eq!(&query.sink.extractions(), &reference.extractions);
    Ok(())
}

fn complete(query: &Query, events: &[ConversationEvent]) -> Result<(), TestCaseError> {
    let mut source = MemorySource::new(&Log::of(events, 2), &[7, 1, 30], Stop::Never);
    let summary = query.run(&mut source, now()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(summary.ending, Ending::Complete);
    prop_assert_eq!(summary.leftovers, ["half a line"]);
    prop_assert_eq!(summary.counts.events + summary.counts.duplicates, events.len() as u64);
    Ok(())
}

/// Else the tests around this one would prove little.
#[test]
fn the_random_streams_reach_every_rule() {
    let mut runner = TestRunner::deterministic();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut duplicates = 0;
    for _ in 0..600 {
        let (config, events) = (config(), events(150)).new_tree(&mut runner).unwrap().current();
        let reference = Reference::of_stream(&config, extract, &events, true);
        duplicates += reference.duplicates;
        for row in &reference.audit {
            reached.insert(format!("{} {}", row.trigger, row.action));
            reached.insert(format!("reason {}", row.reason.as_deref().unwrap_or("none").split(' ').next().unwrap()));
            reached.insert(row.value.clone());
            reached.insert(row.kind.clone());
        }
        reached.extend(reference.extractions.iter().map(|row| format!("status {}", row.status)));
    }
    assert!(duplicates > 1000);
    for trigger in ["threshold", "timer", "conversation_end", "overflow", "drain"] {
        for action in ["new", "updated", "unchanged", "deleted"] {
            assert!(reached.contains(&format!("{trigger} {action}")), "no {action} by {trigger}");
        }
    }
    for word in
        ["reason expired", "reason remembered", "status repaired", "status failed", "status unavailable", "status ok"]
    {
        assert!(reached.contains(word), "nothing with {word}");
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_backfill_in_event_time_equals_the_reference(config in config(), events in events(150), drain in any::<bool>()) {
        let mut query = Query::new(&config, 2);
        query.options.drain = drain;
        complete(&query, &events)?;
        let reference = Reference::of_stream(&config, extract, &events, drain);
        assert_same(&query, &reference)?;
        prop_assert_eq!(query.metrics.duplicates.get(), reference.duplicates);
    }
}
