//! What the world itself has to notice, planted into runs in which nothing else is wrong.

use super::*;
use crate::config::FailureDetection;
use crate::sim::network::Conditions;
use crate::store::GAP_MAX;

/// How long the calm of a run lasts, beside what comes before: longer than any of its timers.
const LENGTH: Duration = Duration::from_secs(100);

/// Three hosts that are together and calm.
fn calm(detection: FailureDetection) -> World<'static> {
    let mut scenario = Scenario::draw(1);
    scenario.mood = Mood::Quiet;
    scenario.segments = vec![0; 3];
    scenario.detection = detection;
    let latency = Duration::from_micros(100);
    scenario.latency = (latency, latency);
    scenario.storm = Conditions::default();
    scenario.calm = Conditions::default();
    scenario.load.gap = Duration::from_millis(5);
    scenario.load.calm_factor = 5;
    scenario.load.long = 0.0;
    let mut world = World::new(scenario, LENGTH, None);
    world.begin();
    step_until(&mut world, |world| world.phase == Phase::Calm);
    let until = world.now + Duration::from_secs(5);
    step_until(&mut world, |world| world.now >= until);
    assert_eq!(world.violation, None);
    world
}

fn step_until(world: &mut World<'_>, fact: impl Fn(&World<'_>) -> bool) {
    while world.violation.is_none() && !world.over && !fact(world) && world.step() {}
}

/// The rule that the rest of the run breaks.
fn broken_rule(mut world: World<'_>) -> &'static str {
    step_until(&mut world, |_| false);
    world.violation.map_or("none", |violation| violation.rule)
}

fn process<'a>(world: &'a mut World<'_>, host: Host) -> &'a mut machine::Process {
    world.machines[host].process.as_mut().expect("it lives")
}

#[test]
fn a_run_in_which_nothing_is_planted_passes() {
    assert_eq!(broken_rule(calm(FailureDetection::Normal)), "none");
}

#[test]
fn e18_partitions_that_never_meet_again() {
    let mut world = calm(FailureDetection::Wan);
    part(&mut world);
    assert_eq!(broken_rule(world), "E18");
}

#[test]
fn e18_a_member_that_does_not_leave() {
    let mut world = calm(FailureDetection::Normal);
    process(&mut world, 1).leaving = true;
    world.begin_settle();
    assert_eq!(broken_rule(world), "E18");
}

#[test]
fn e19_a_member_that_holds_too_much() {
    let mut world = calm(FailureDetection::Normal);
    process(&mut world, 1).totem.ring.high += 3 * GAP_MAX;
    assert_eq!(broken_rule(world), "E19");
}

#[test]
fn e20_a_safe_line_that_somebody_has_not_come_to() {
    let mut world = calm(FailureDetection::Normal);
    let totem = &mut process(&mut world, 1).totem;
    totem.ring.stable = totem.ring.high + 1;
    world.check_stable(1);
    assert_eq!(broken_rule(world), "E20");
}

#[test]
fn e21_a_member_that_is_gone_in_a_calm() {
    let mut world = calm(FailureDetection::Normal);
    world.kill(1, Fault::Crash);
    assert_eq!(broken_rule(world), "E21");
}

#[test]
fn e22_a_packet_asked_for_that_was_not_lost() {
    let mut world = calm(FailureDetection::Normal);
    process(&mut world, 1).totem.stats.requested += 1;
    assert_eq!(broken_rule(world), "E22");
}

#[test]
fn e23_partitions_that_meet_too_late() {
    let mut world = calm(FailureDetection::Normal);
    part(&mut world);
    assert_eq!(broken_rule(world), "E23");
}

/// Splits the hosts in two, for longer than they are said to be.
fn part(world: &mut World<'_>) {
    world.oracle.expect_no_change(false);
    world.phase = Phase::Apart;
    world.split();
    let until = world.now + world.scenario.settle_bound();
    step_until(world, |world| world.now >= until);
    assert_eq!(world.violation, None);
    world.begin_settle();
    assert!(world.merging_since.is_some() || world.scenario.detection == FailureDetection::Wan);
    world.split();
}

#[test]
fn g8_a_session_that_never_came_into_its_group() {
    let mut world = calm(FailureDetection::Normal);
    let client = process(&mut world, 1).clients.first_mut();
    let ghost = crate::groups::GroupName::new(b"ghost").expect("a good name");
    client.expect("somebody is connected").groups.insert(ghost);
    world.begin_drain();
    assert_eq!(broken_rule(world), "G8");
}
