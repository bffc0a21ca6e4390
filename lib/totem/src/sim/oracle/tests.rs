//! Hand-written traces: good ones pass, and each rule has a bad one that it catches.

mod trace;

use self::trace::{A, B, C, Trace, order};
use super::*;
use crate::view::Incarnation;

#[test]
fn an_ordinary_run_passes() {
    let mut trace = Trace::together();
    let (first, second) = (trace.submit(A), trace.submit_as(B, Service::Safe));
    for p in [A, B, C] {
        trace.deliver(p, first);
        trace.deliver(p, second);
    }
    assert_eq!(trace.verdict, Ok(()));
    assert_eq!(trace.oracle.check_caught_up(Time(0)), Ok(()));
}

#[test]
fn a_partition_may_leave_gaps_of_those_who_are_gone() {
    let mut trace = Trace::together();
    let (lost, kept) = (trace.submit(C), trace.submit_as(A, Service::Safe));
    trace.deliver(C, lost);
    trace.transitional(C, 10, 12, &[C]);
    trace.deliver(C, kept);
    trace.regular(C, 12, &[C]);
    for p in [A, B] {
        trace.transitional(p, 10, 11, &[A, B]);
        trace.deliver(p, kept);
        trace.regular(p, 11, &[A, B]);
    }
    assert_eq!(trace.verdict, Ok(()));
    assert_eq!(
        trace.oracle.open.len(),
        2,
        "only the rings that somebody is in stay open"
    );
    for p in [A, B] {
        trace.go(p, 11, 20, &[A, B], &[A, B, C]);
    }
    trace.go(C, 12, 20, &[C], &[A, B, C]);
    assert_eq!(trace.verdict, Ok(()));
    assert_eq!(trace.oracle.check_caught_up(Time(0)), Ok(()));
}

#[test]
fn a_restart_is_another_member() {
    let mut trace = Trace::together();
    trace.record(C, What::Crash);
    trace.start(3, 2);
    for p in [A, B] {
        trace.go(p, 10, 200, &[A, B], &[A, B, 3]);
    }
    trace.go(3, 103, 200, &[3], &[A, B, 3]);
    assert_eq!(trace.verdict, Ok(()));
    assert_eq!(trace.oracle.check_together(Time(0)), Ok(()));
}

#[test]
fn e1_other_bytes() {
    let mut trace = Trace::together();
    let message = trace.submit(A);
    trace.record(
        B,
        What::Deliver {
            message: Some(message),
            sender: MemberId(1),
            service: Service::Agreed,
            hash: 8,
        },
    );
    assert_eq!(trace.rule(), "E1");
}

#[test]
fn e1_never_sent() {
    let mut trace = Trace::together();
    let message = MessageId {
        process: ProcessId(A),
        lane: Lane::First,
        sequence: 0,
    };
    trace.record(
        B,
        What::Deliver {
            message: Some(message),
            sender: MemberId(1),
            service: Service::Agreed,
            hash: 7,
        },
    );
    assert_eq!(trace.rule(), "E1");
}

#[test]
fn e2_twice() {
    let mut trace = Trace::together();
    let (first, second) = (trace.submit(A), trace.submit(B));
    trace.deliver(B, first);
    trace.deliver(B, second);
    trace.deliver(B, first);
    assert_eq!(trace.rule(), "E2");
}

#[test]
fn e2_in_the_regular_and_again_in_the_transitional() {
    let mut trace = Trace::together();
    let message = trace.submit(A);
    trace.deliver(B, message);
    trace.transitional(B, 10, 11, &[B]);
    trace.deliver(B, message);
    assert_eq!(trace.rule(), "E2");
}

#[test]
fn e3_in_two_rings() {
    let mut trace = Trace::together();
    let message = trace.submit(A);
    trace.deliver(A, message);
    for p in [A, B] {
        trace.go(p, 10, 11, &[A, B], &[A, B]);
    }
    assert_eq!(trace.rule(), "E13", "they were not equally far");

    let mut trace = Trace::together();
    let message = trace.submit(A);
    trace.deliver(A, message);
    trace.go(B, 10, 11, &[B], &[B, C]);
    trace.deliver(B, message);
    assert_eq!(trace.rule(), "E3");
}

#[test]
fn e3_before_the_ring_it_was_submitted_in() {
    let mut trace = Trace::together();
    trace.go(A, 10, 11, &[A], &[A]);
    let message = trace.submit(A);
    trace.deliver(B, message);
    assert_eq!(trace.rule(), "E3");
}

#[test]
fn e4_not_a_member() {
    let mut trace = Trace::together();
    trace.transitional(A, 10, 11, &[B]);
    assert_eq!(trace.rule(), "E4");
    let mut trace = Trace::together();
    trace.transitional(A, 10, 11, &[A]);
    trace.regular(A, 11, &[B]);
    assert_eq!(trace.rule(), "E4");
}

#[test]
fn e5_one_id_two_lists() {
    let mut trace = Trace::together();
    trace.go(A, 10, 11, &[A, B], &[A, B]);
    trace.go(B, 10, 11, &[A, B], &[A, B, C]);
    assert_eq!(trace.rule(), "E5");
}

#[test]
fn e5_not_in_the_order_of_the_configuration() {
    let mut trace = Trace::together();
    trace.go(A, 10, 11, &[A], &[B, A]);
    assert_eq!(trace.rule(), "E5");
    let mut trace = Trace::together();
    trace.go(A, 10, 11, &[A], &[A, C, B]);
    assert_eq!(trace.rule(), "E5");
}

#[test]
fn e6_no_transitional_between() {
    let mut trace = Trace::together();
    trace.regular(A, 11, &[A]);
    assert_eq!(trace.rule(), "E6");
}

#[test]
fn e6_back_after_a_restart() {
    let mut trace = Trace::together();
    trace.record(A, What::Crash);
    let member = ViewMember {
        id: MemberId(1),
        incarnation: Incarnation(2),
    };
    trace.members.push(member);
    trace.record(
        3,
        What::Start {
            member,
            order: order(),
            disk_lost: false,
        },
    );
    trace.regular(3, 5, &[3]);
    assert_eq!(trace.rule(), "E6");
}

#[test]
fn e7_another_ring_than_the_one_that_was_told() {
    let mut trace = Trace::together();
    trace.transitional(A, 10, 11, &[A]);
    trace.regular(A, 12, &[A]);
    assert_eq!(trace.rule(), "E7");
}

#[test]
fn e8_who_did_not_come_along() {
    let mut trace = Trace::together();
    trace.go(A, 10, 11, &[A], &[A]);
    trace.go(A, 11, 20, &[A], &[A, B, C]);
    trace.go(B, 10, 20, &[A, B], &[A, B, C]);
    assert_eq!(
        trace.rule(),
        "E8",
        "A is said to come from ring 10, but came from 11"
    );
}

#[test]
fn e8_different_company() {
    let mut trace = Trace::together();
    trace.go(A, 10, 11, &[A], &[A, B]);
    trace.transitional(B, 10, 11, &[A, B]);
    assert_eq!(trace.rule(), "E8");
}

#[test]
fn e9_two_orders_in_the_regular() {
    let mut trace = Trace::together();
    let (first, second) = (trace.submit(A), trace.submit(B));
    trace.deliver(A, first);
    trace.deliver(A, second);
    trace.deliver(C, second);
    assert_eq!(trace.rule(), "E10", "the second without the first");

    let mut trace = Trace::together();
    let (first, second) = (trace.submit(A), trace.submit(B));
    trace.deliver(A, first);
    trace.deliver(B, second);
    assert_eq!(trace.rule(), "E9");
}

#[test]
fn e9_a_circle_over_three_ways_out() {
    let mut trace = Trace::together();
    let messages = [trace.submit(A), trace.submit(B), trace.submit(C)];
    for p in [A, B, C] {
        let to = 11 + u64::from(p);
        trace.transitional(p, 10, to, &[p]);
        trace.deliver(p, messages[p as usize]);
        trace.deliver(p, messages[(p as usize + 1) % 3]);
        trace.regular(p, to, &[p]);
    }
    assert_eq!(trace.rule(), "E9");
}

#[test]
fn e10_delivered_in_the_regular_over_a_gap() {
    let mut trace = Trace::together();
    let (first, second) = (trace.submit(A), trace.submit(B));
    trace.deliver(C, second);
    trace.go(C, 10, 13, &[C], &[C]);
    for p in [A, B] {
        trace.transitional(p, 10, 11, &[A, B]);
        trace.deliver(p, first);
        trace.deliver(p, second);
        trace.regular(p, 11, &[A, B]);
    }
    assert_eq!(trace.rule(), "E10");
}

#[test]
fn e11_a_gap_of_one_who_came_along() {
    let mut trace = Trace::together();
    let (first, second) = (trace.submit(B), trace.submit(A));
    trace.deliver(C, first);
    trace.deliver(C, second);
    trace.go(C, 10, 13, &[C], &[C]);
    for p in [A, B] {
        trace.transitional(p, 10, 11, &[A, B]);
        trace.deliver(p, second);
        trace.regular(p, 11, &[A, B]);
    }
    assert_eq!(trace.rule(), "E11");
}

#[test]
fn e12_the_second_of_a_sender_first() {
    let mut trace = Trace::together();
    let (first, second) = (trace.submit(A), trace.submit(A));
    trace.deliver(B, second);
    trace.deliver(B, first);
    assert_eq!(trace.rule(), "E12");
}

#[test]
fn e12_before_what_its_sender_had_delivered() {
    let mut trace = Trace::together();
    let first = trace.submit(A);
    trace.deliver(A, first);
    trace.deliver(B, first);
    let answer = trace.submit(B);
    trace.transitional(C, 10, 11, &[C]);
    trace.deliver(C, answer);
    trace.deliver(C, first);
    assert_eq!(trace.rule(), "E12");
}

#[test]
fn e13_more_than_the_others_on_the_same_way() {
    let mut trace = Trace::together();
    let message = trace.submit(C);
    trace.transitional(A, 10, 11, &[A, B]);
    trace.deliver(A, message);
    trace.regular(A, 11, &[A, B]);
    trace.go(B, 10, 11, &[A, B], &[A, B]);
    assert_eq!(trace.rule(), "E13");
}

#[test]
fn e14_safe_but_missed() {
    let mut trace = Trace::together();
    let message = trace.submit_as(A, Service::Safe);
    trace.deliver(A, message);
    trace.record(A, What::Crash);
    for p in [B, C] {
        trace.go(p, 10, 11, &[B, C], &[B, C]);
    }
    assert_eq!(trace.rule(), "E14");
}

#[test]
fn e14_agreed_may_be_missed_with_a_crash() {
    let mut trace = Trace::together();
    let message = trace.submit(A);
    trace.deliver(A, message);
    trace.record(A, What::Crash);
    for p in [B, C] {
        trace.go(p, 10, 11, &[B, C], &[B, C]);
    }
    assert_eq!(trace.verdict, Ok(()));
}

#[test]
fn e14_safe_in_a_ring_that_a_member_skipped() {
    let mut trace = Trace::together();
    for p in [A, B] {
        trace.go(p, 10, 11, &[A, B, C], &[A, B, C]);
    }
    let message = trace.submit_as(A, Service::Safe);
    for p in [A, B] {
        trace.deliver(p, message);
        trace.go(p, 11, 20, &[A, B], &[A, B]);
    }
    trace.go(C, 10, 21, &[C], &[C]);
    assert_eq!(trace.rule(), "E14");
}

#[test]
fn e15_safe_on_the_way_but_missed_by_one_who_fell_back() {
    let mut trace = Trace::together();
    let message = trace.submit_as(A, Service::Safe);
    trace.transitional(A, 10, 11, &[A, B]);
    trace.deliver(A, message);
    trace.regular(A, 11, &[A, B]);
    trace.go(A, 11, 20, &[A], &[A]);
    trace.go(B, 10, 21, &[B], &[B]);
    trace.go(C, 10, 22, &[C], &[C]);
    assert_eq!(trace.rule(), "E15");
}

#[test]
fn e16_own_message_lost() {
    let mut trace = Trace::together();
    let (_lost, second) = (trace.submit(A), trace.submit(A));
    trace.deliver(A, second);
    assert_eq!(trace.rule(), "E16");
}

#[test]
fn e16_left_with_messages_in_the_queue() {
    let mut trace = Trace::together();
    trace.submit(A);
    trace.record(A, What::Left);
    assert_eq!(trace.rule(), "E16");
}

#[test]
fn e17_after_the_end() {
    let mut trace = Trace::together();
    let message = trace.submit(A);
    trace.record(B, What::Crash);
    trace.deliver(B, message);
    assert_eq!(trace.rule(), "E17");
}

#[test]
fn e18_not_together_and_not_caught_up() {
    let mut trace = Trace::together();
    let message = trace.submit(A);
    for p in [A, B] {
        trace.deliver(p, message);
    }
    assert_eq!(trace.oracle.check_together(Time(0)), Ok(()));
    assert_eq!(
        trace.oracle.check_caught_up(Time(0)).unwrap_err().process,
        Some(ProcessId(C))
    );
    trace.go(C, 10, 13, &[C], &[C]);
    assert_eq!(
        trace.oracle.check_together(Time(0)).unwrap_err().rule,
        "E18"
    );
}

#[test]
fn e21_a_change_without_a_reason() {
    let mut trace = Trace::together();
    trace.oracle.expect_no_change(true);
    trace.transitional(A, 10, 11, &[A]);
    assert_eq!(trace.rule(), "E21");
}
