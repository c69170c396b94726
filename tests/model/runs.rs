//! The worlds that are explored, and the mutants that must fall.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use super::always::sometimes;
use super::{Change, Mutant, World};
use crate::support::ALONE;

/// None of the explorations takes a fifth of this.
const TIME_MAX: Duration = Duration::from_mins(2);

/// Worlds without a mutant, each for one kind of trouble.
const WORLDS: [(&str, World); 10] = [
    (
        "evictions",
        World {
            observer: true,
            ..World::PLAIN
        },
    ),
    (
        "evictions, with a stream",
        World {
            observer: true,
            streams: true,
            ..World::PLAIN
        },
    ),
    (
        "a killed process and its successor",
        World {
            kills: true,
            ..World::PLAIN
        },
    ),
    (
        "late renewals",
        World {
            late: true,
            observer: true,
            ..World::PLAIN
        },
    ),
    (
        "another change",
        World {
            other: true,
            ..World::PLAIN
        },
    ),
    (
        "a ring of one",
        World {
            other: true,
            small_ring: true,
            ..World::PLAIN
        },
    ),
    (
        "outages and crashes",
        World {
            outages: true,
            ..World::PLAIN
        },
    ),
    (
        "a scan on another thread",
        World {
            scan_only: true,
            streams: true,
            ..World::PLAIN
        },
    ),
    (
        "creation",
        World {
            change: Change::Create,
            observer: true,
            ..World::PLAIN
        },
    ),
    (
        "the first import",
        World {
            change: Change::Create,
            observer: true,
            imports: true,
            ..World::PLAIN
        },
    ),
];

/// Each mutant, and a world in which it is found out.
const MUTANTS: [(Mutant, World); 24] = {
    const PLAIN: World = World::PLAIN;
    const EVICTS: World = World {
        observer: true,
        ..PLAIN
    };
    const STOPS: World = World {
        stops: true,
        ..EVICTS
    };
    const STREAMS: World = World {
        streams: true,
        ..EVICTS
    };
    const OTHER: World = World {
        other: true,
        ..PLAIN
    };
    const RING: World = World {
        small_ring: true,
        ..OTHER
    };
    const IMPORTS: World = World {
        change: Change::Create,
        imports: true,
        ..EVICTS
    };
    const FAILS: World = World {
        failover: true,
        ..PLAIN
    };
    [
        (Mutant::LogReadBeforeLeaseWrite, EVICTS),
        (Mutant::LeaseCountedFromReply, EVICTS),
        (Mutant::LeaseExtendedBeforeApply, EVICTS),
        (Mutant::AcknowledgeBeforeApply, PLAIN),
        (Mutant::RegisterWithoutReadingTheLog, EVICTS),
        (Mutant::CacheInvalidationOnly, PLAIN),
        (Mutant::JoinersUnchecked, PLAIN),
        (Mutant::TombstoneDroppedWithoutFloor, RING),
        (Mutant::SequenceNotInCommitOrder, OTHER),
        (Mutant::ClockStopsInSuspend, STOPS),
        (Mutant::CoarseCachedClock, STOPS),
        (
            Mutant::UnloggedLeaseTable,
            World {
                outages: true,
                ..PLAIN
            },
        ),
        (Mutant::NoFreeze, STREAMS),
        (Mutant::NoCut, STREAMS),
        (Mutant::NoLeaseCheck, EVICTS),
        (
            Mutant::CheckThenRegister,
            World {
                scan_only: true,
                ..STREAMS
            },
        ),
        (Mutant::AsynchronousFailover, FAILS),
        (Mutant::ObservedBeforeTheAnswer, EVICTS),
        (Mutant::EvictionUnconditional, EVICTS),
        (Mutant::LeaseByTheDatabasesClock, EVICTS),
        (Mutant::HeadNotCompared, FAILS),
        (Mutant::WaitCountedFromBeforeTheCommit, EVICTS),
        (Mutant::ImportsLearnedAtRenewalsOnly, IMPORTS),
        (Mutant::UnknownWithoutLease, IMPORTS),
    ]
};

#[test]
fn the_protocol_holds_in_every_world_and_reaches_all_that_it_should() {
    let _alone = ALONE.blocking_lock();
    let mut unreached: Vec<&str> = sometimes().collect();
    for (name, world) in WORLDS {
        let begun = Instant::now();
        let checker = world
            .checker()
            .threads(2)
            .timeout(TIME_MAX)
            .spawn_bfs()
            .join();
        let states = checker.unique_state_count();
        println!("{name}: {states} states in {:?}", begun.elapsed());
        assert!(
            checker.is_done() && begun.elapsed() < TIME_MAX,
            "{name}: not all was seen"
        );
        let found = checker.discoveries();
        let broken = found
            .iter()
            .find(|(property, _)| sometimes().all(|it| it != **property));
        if let Some((property, path)) = broken {
            panic!("{name}: {property}\n{:#?}", path.clone().into_actions());
        }
        unreached.retain(|property| !found.contains_key(property));
    }
    assert!(unreached.is_empty(), "never reached: {unreached:?}");
}

#[test]
fn every_mutant_is_caught() {
    let _alone = ALONE.blocking_lock();
    let mut survivors = Vec::new();
    for (mutant, world) in MUTANTS {
        let world = World {
            mutant: Some(mutant),
            ..world
        };
        let checker = world
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .timeout(TIME_MAX)
            .spawn_bfs()
            .join();
        let states = checker.unique_state_count();
        let found = checker.discoveries();
        let fallen = found
            .iter()
            .find(|(property, _)| sometimes().all(|it| it != **property));
        match fallen {
            Some((property, path)) => {
                let steps = path.clone().into_actions().len();
                println!("{mutant:?}: {property}, after {steps} steps, {states} states");
            }
            None => survivors.push((mutant, states)),
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}
