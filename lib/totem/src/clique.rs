//! Who can form rings together: members that all hear each other.

/// Splits candidates `0..count` into groups in which everyone hears everyone.
///
/// Greedy and deterministic: the largest group found from any start comes first, ties go to the
/// lowest start, and what is left is split the same way. Members with the same evidence come to
/// the same result; where evidence differs the ballot of the formation decides.
pub(crate) fn partition(count: usize, hears: impl Fn(usize, usize) -> bool) -> Vec<Vec<usize>> {
    let mut left: Vec<usize> = (0..count).collect();
    let mut groups = Vec::new();
    while !left.is_empty() {
        let mut best: Vec<usize> = Vec::new();
        for &start in &left {
            let mut group = vec![start];
            for &other in &left {
                if other != start
                    && group
                        .iter()
                        .all(|&one| hears(one, other) && hears(other, one))
                {
                    group.push(other);
                }
            }
            if group.len() > best.len() {
                best = group;
            }
        }
        best.sort_unstable();
        left.retain(|one| !best.contains(one));
        groups.push(best);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_network_is_one_group() {
        assert_eq!(partition(4, |_, _| true), [[0, 1, 2, 3]]);
    }

    #[test]
    fn a_one_way_link_separates() {
        let hears = |a: usize, b: usize| (a, b) != (0, 2);
        assert_eq!(partition(3, hears), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn the_larger_group_wins_and_the_rest_is_grouped_too() {
        // 0 hears only 1; 1 to 4 hear each other.
        let hears = |a: usize, b: usize| (a != 0 && b != 0) || a + b == 1;
        assert_eq!(partition(5, hears), [vec![1, 2, 3, 4], vec![0]]);
    }
}
