//! Which refusals get a line in the log: a client that is refused again and again, or many of them, would fill the
//! disk.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::model::network::ClientNetwork;

/// Lines for each window are counted anew after so long.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Lines of one client network in a window, of one worker: enough to see what is the matter with it.
const LINES_PER_NETWORK_MAX: u64 = 20;
/// Lines of all networks together in a window, of one worker.
const LINES_MAX: u64 = 2_000;
/// Networks that are counted one by one; about 64 bytes each.
const NETWORKS_MAX: usize = 4_096;
/// Networks that are named when a window ends, those with the most refusals; the others are counted together.
const NAMED_MAX: usize = 20;

/// What one worker logs of refusals.
#[derive(Debug, Default)]
pub struct RefusalLog(RefCell<Window>);

#[derive(Debug, Default)]
struct Window {
    lines: u64,
    networks: HashMap<ClientNetwork, Tally, RandomState>,
    /// Refusals of networks that found no place.
    of_others: u64,
}

#[derive(Debug, Default)]
struct Tally {
    lines: u64,
    left_out: u64,
}

/// Refusals that got no line.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Of whom. `None`: of the others together.
    pub client: Option<ClientNetwork>,
    /// How many.
    pub count: u64,
}

impl RefusalLog {
    /// Counts a refusal of this network. Whether it gets a line.
    pub fn admits(&self, network: ClientNetwork) -> bool {
        let Window {
            lines,
            networks,
            of_others,
        } = &mut *self.0.borrow_mut();
        if !networks.contains_key(&network) && networks.len() >= NETWORKS_MAX {
            *of_others += 1;
            return false;
        }
        let tally = networks.entry(network).or_default();
        let admits = tally.lines < LINES_PER_NETWORK_MAX && *lines < LINES_MAX;
        if admits {
            tally.lines += 1;
            *lines += 1;
        } else {
            tally.left_out += 1;
        }
        admits
    }

    /// Ends the window: what was left out of it, the most first.
    pub fn end_window(&self) -> Vec<LeftOut> {
        let window = std::mem::take(&mut *self.0.borrow_mut());
        let left_out = window.networks.into_iter().map(|(network, tally)| LeftOut {
            client: Some(network),
            count: tally.left_out,
        });
        let mut left_out: Vec<_> = left_out.filter(|it| it.count > 0).collect();
        left_out.sort_by_key(|it| std::cmp::Reverse(it.count));
        let unnamed = left_out.drain(NAMED_MAX.min(left_out.len())..);
        let count = window.of_others + unnamed.map(|it| it.count).sum::<u64>();
        if count > 0 {
            left_out.push(LeftOut {
                client: None,
                count,
            });
        }
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> ClientNetwork {
        std::net::IpAddr::from(std::net::Ipv4Addr::from(number)).into()
    }

    #[test]
    fn an_address_has_its_lines_and_the_rest_is_counted() {
        let log = RefusalLog::default();
        for _ in 0..2 {
            let lines = (0..1_000).filter(|_| log.admits(address(1))).count();
            assert_eq!(lines as u64, LINES_PER_NETWORK_MAX);
            assert!(log.admits(address(2)));
            let left_out = [LeftOut {
                client: Some(address(1)),
                count: 1_000 - LINES_PER_NETWORK_MAX,
            }];
            assert_eq!(log.end_window(), left_out);
        }
        assert_eq!(log.end_window(), []);
    }

    #[test]
    fn many_addresses_together_have_a_bound_too() {
        let log = RefusalLog::default();
        let refusals = 10_000;
        let lines = (0..refusals)
            .filter(|number| log.admits(address(*number)))
            .count();
        assert_eq!(lines as u64, LINES_MAX);
        let left_out = log.end_window();
        assert_eq!(left_out.last().unwrap().client, None);
        let counted: u64 = left_out.iter().map(|it| it.count).sum();
        assert_eq!(counted, u64::from(refusals) - LINES_MAX);
        assert!(left_out.len() <= NAMED_MAX + 1);
    }
}
