//! How busy the machine is, by the kernel's own account.

use std::fs;

/// Ticks of all cores since boot: busy ones, and all.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    pub fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap();
        let fields = text.lines().next().unwrap().split_whitespace().skip(1);
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user.
        let ticks: Vec<u64> = fields.take(8).map(|field| field.parse().unwrap()).collect();
        let all = ticks.iter().sum();
        Self {
            busy: all - ticks[3] - ticks[4],
            all,
        }
    }

    /// Per cent of all cores that were busy since then.
    pub fn busy_since(self, before: Self) -> u64 {
        (self.busy - before.busy) * 100 / (self.all - before.all).max(1)
    }
}
