//! A process is killed between every two stores of every operation, one point after the other.
//!
//! For each operation and n = 1, 2, 3 … a child prepares, arms point n and acts; it dies there. Main
//! repairs, and then: nothing is broken, no lock is held, the shared state is what it was before the
//! operation or what it is after it, another process can do the same, and once all is cleared away no
//! byte is lost. The last n is the one that the operation completes without reaching.

extern crate olelo_mem_killable as olelo_mem;

mod operations;
mod world;

use olelo_mem::{kill_points, lock, repair_all};
use operations::{GREEDY, OPERATIONS, Operation};
use world::{A, B, C, End, World, child, end_of, wait};

/// Enough for any operation here; one that goes on has no end.
const MOST_POINTS: u64 = 5_000;

#[test]
fn a_death_at_any_store_leaves_before_or_after() {
    let world = World::alone();
    let mut deaths = 0;
    for operation in OPERATIONS {
        let [before, after] = [false, true].map(|act| outcome(&world, operation, act));
        let mut point = 1;
        loop {
            assert!(point < MOST_POINTS, "{}: endless", operation.name);
            world.set_up(operation);
            let end = wait(child(A, || act_and_die(&world, operation, point)));
            let at = format!("{} at point {point}", operation.name);
            let report = repair_all(A);
            assert_eq!(report.faults, [], "{at}");
            world.assert_sound(&at);
            let seen = world.observe();
            let right = seen == before || seen == after || (operation.between)(&seen);
            assert!(
                right,
                "{at}: neither {before:#?}\nnor {after:#?}\nbut {seen:#?}"
            );
            let end_of_other = wait(child(B, || act(&world, operation)));
            assert_eq!(
                end_of_other,
                End::Done,
                "{at}: another process cannot go on"
            );
            repair_all(B);
            world.assert_sound(&at);
            world.assert_nothing_leaked(&at);
            if end == End::Done {
                break;
            }
            assert_eq!(end, End::Killed, "{at}");
            deaths += 1;
            point += 1;
        }
        eprintln!("{:>5} points: {}", point - 1, operation.name);
    }
    eprintln!("{} operations, {deaths} deaths", OPERATIONS.len());
    assert!(deaths as usize > OPERATIONS.len() * 10, "hardly any points");
}

/// A second worker dies while what the first left is not repaired yet, or waits for it.
#[test]
fn two_may_die_before_the_first_is_repaired() {
    let world = World::alone();
    // Who takes all memory leaves the other nothing to die of.
    let modest = &OPERATIONS[..OPERATIONS.len() - GREEDY];
    let points: Vec<u64> = modest.iter().map(|o| points_of(&world, o)).collect();
    let mut random = world::Random(0x2545_f491_4f6c_dd1d);
    let (mut both, mut waited) = (0, 0);
    for round in 0..pairs() {
        let [a, b] = [(); 2].map(|()| random.below(modest.len() as u64) as usize);
        // Past the last: some are not killed.
        let [n, m] = [a, b].map(|at| random.below(points[at] + 2) + 1);
        let (first, second) = (&modest[a], &modest[b]);
        let at = format!(
            "round {round}: {} at {n}, {} at {m}",
            first.name, second.name
        );
        world.set_up(first);
        (second.set_up)(&world);
        let a_killed = wait(child(A, || act_and_die(&world, first, n))) == End::Killed;
        let other = child(B, || act_and_die(&world, second, m));
        let mut end = end_of(other);
        while end.is_none() {
            if lock::stuck(0).iter().any(|wait| wait.waiter == B) {
                waited += 1;
                break;
            }
            std::thread::yield_now();
            end = end_of(other);
        }
        // Main may learn of the deaths in either order, but must relieve who waits.
        let b_first = end.is_some() && random.below(2) == 0;
        if b_first {
            assert_eq!(repair_all(B).faults, [], "{at}");
        }
        assert_eq!(repair_all(A).faults, [], "{at}");
        let end = end.unwrap_or_else(|| wait(other));
        assert!(matches!(end, End::Killed | End::Done), "{at}: {end:?}");
        both += u32::from(a_killed && end == End::Killed);
        if !b_first {
            assert_eq!(repair_all(B).faults, [], "{at}");
        }
        world.assert_sound(&at);
        for operation in [first, second] {
            assert_eq!(wait(child(C, || act(&world, operation))), End::Done, "{at}");
            repair_all(C);
        }
        world.assert_sound(&at);
        world.assert_nothing_leaked(&at);
    }
    eprintln!(
        "{} pairs, {both} double deaths, {waited} waited for the dead",
        pairs()
    );
    assert!(both > pairs() / 2 && waited > 0, "the pairs prove nothing");
}

/// Somebody sleeps on the lock that the dead holds: the repair lets it go on, at every point.
#[test]
fn who_waits_for_the_dead_gets_the_lock() {
    let world = World::alone();
    let (bucket, ready) = (0, world::READY);
    let mut deaths = 0;
    for point in 1.. {
        world.set_up(&OPERATIONS[0]);
        world.word(ready, 0);
        let holder = child(A, || {
            let mut guard = world.table.lock(bucket);
            world.word(ready, 1);
            while !lock::held().iter().any(|held| held.waiters.contains(&B)) {
                std::thread::yield_now();
            }
            kill_points::arm(point);
            let _ = guard.insert(&[b"dying"], vec![world.blob(40)], &[]);
            drop(guard);
            kill_points::disarm();
        });
        let waiter = child(B, || {
            while world.read(ready) == 0 {
                std::thread::yield_now();
            }
            let _ = world.table.lock(bucket).insert(&[b"waiter"], vec![], &[]);
        });
        let end = wait(holder);
        repair_all(A);
        assert_eq!(wait(waiter), End::Done, "point {point}: never got the lock");
        repair_all(B);
        let at = format!("waiting, point {point}");
        world.assert_sound(&at);
        assert!((1..=2).contains(&world.table.len()), "{at}");
        world.assert_nothing_leaked(&at);
        if end == End::Done {
            break;
        }
        assert_eq!(end, End::Killed);
        deaths += 1;
    }
    eprintln!("{deaths} deaths of a holder somebody waited for");
    assert!(deaths > 10);
}

/// What is shared once a process has prepared (and acted) and is dead and repaired.
fn outcome(world: &World, operation: &Operation, acts: bool) -> world::Seen {
    world.set_up(operation);
    let end = wait(child(A, || {
        let act = (operation.prepare)(world);
        if acts {
            act();
        }
    }));
    assert_eq!(end, End::Done, "{}", operation.name);
    repair_all(A);
    world.assert_sound(operation.name);
    let seen = world.observe();
    world.assert_nothing_leaked(operation.name);
    seen
}

fn points_of(world: &World, operation: &Operation) -> u64 {
    world.set_up(operation);
    let end = wait(child(A, || act_and_die(world, operation, 0)));
    assert_eq!(end, End::Done, "{}", operation.name);
    repair_all(A);
    world.assert_nothing_leaked(operation.name);
    world.read(world::POINTS)
}

fn act_and_die(world: &World, operation: &Operation, point: u64) {
    let act = (operation.prepare)(world);
    kill_points::arm(point);
    act();
    world.word(world::POINTS, kill_points::disarm());
}

fn act(world: &World, operation: &Operation) {
    (operation.prepare)(world)();
}

/// How many pairs; `OLELO_KILL_PAIRS` asks for more.
fn pairs() -> u32 {
    let asked = std::env::var("OLELO_KILL_PAIRS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(800)
}
