//! Members whose files list the members in other orders.

use std::time::Duration;

use super::network::{Network, config, id};
use crate::event::Service;

/// Members that start with these orders in their files; the first one is that of member 1.
fn started(segments: &[u16], orders: &[&[usize]]) -> Network {
    let mut network = Network::new(segments);
    for (at, order) in orders.iter().enumerate() {
        let number = at as u32 + 1;
        let mut config = config(number, segments);
        let listed = config.members.clone();
        config.members = order
            .iter()
            .map(|&place| listed[place - 1].clone())
            .collect();
        network.start(config, 50 + u64::from(number));
    }
    network
}

#[test]
fn they_come_to_one_view_in_the_order_of_the_one_with_the_lowest_id() {
    let mut network = started(&[0; 3], &[&[3, 1, 2], &[1, 2, 3], &[2, 3, 1]]);
    let took = network.run_until_view(&[3, 1, 2]);
    assert!(took < Duration::from_millis(1500), "{took:?}");
    for number in 1..=3 {
        network.submit(number, Service::Safe, "before");
    }
    network.run_until("deliveries", |n| {
        (1..=3).all(|number| n.deliveries(number).len() == 3)
    });
    network.kill(1);
    network.silent.insert(id(1));
    network.run_until_view(&[2, 3]);
    network.cut.extend([(id(2), id(3)), (id(3), id(2))]);
    network.run_until_view(&[2]);
    network.run_until_view(&[3]);
    network.cut.clear();
    let took = network.run_until_view(&[2, 3]);
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[test]
fn opposite_orders_do_not_keep_two_apart() {
    for orders in [[&[2, 1], &[1, 2]], [&[1, 2], &[2, 1]]] {
        let mut network = started(&[0; 2], &orders.map(|order| &order[..]));
        let order = orders[0].map(|number| number as u32);
        let took = network.run_until_view(&order);
        assert!(took < Duration::from_millis(1500), "{orders:?}: {took:?}");
        network.run_for(Duration::from_secs(5));
        assert!(network.has_view(1, &order) && network.views(1) <= 3);
    }
}

#[test]
fn segments_pass_on_what_comes_whatever_the_orders_are() {
    let mut network = started(
        &[0, 0, 1, 1],
        &[&[4, 2, 3, 1], &[1, 2, 3, 4], &[3, 4, 1, 2], &[2, 1, 4, 3]],
    );
    network.run_until_view(&[4, 2, 3, 1]);
    for number in 1..=4 {
        network.submit(number, Service::Agreed, "x");
    }
    network.run_until("deliveries", |n| {
        (1..=4).all(|number| n.deliveries(number).len() == 4)
    });
    let asked = network.nodes.values().map(|node| node.stats().requested);
    assert_eq!(asked.sum::<u64>(), 0, "each segment has its copy at once");
}
