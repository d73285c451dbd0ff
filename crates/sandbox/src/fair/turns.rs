//! A queue that is served one tenant after the other.

use std::collections::{HashMap, VecDeque};

use domain::id::TenantId;

/// Tenants in the order in which they are served.
#[derive(Debug, Default)]
pub(crate) struct Rotation(VecDeque<TenantId>);

impl Rotation {
    /// One that is not there yet comes last.
    pub(crate) fn join(&mut self, tenant: &TenantId) {
        if !self.0.contains(tenant) {
            self.0.push_back(tenant.clone());
        }
    }

    /// It does not take part any more.
    pub(crate) fn leave(&mut self, tenant: &TenantId) {
        self.0.retain(|it| it != tenant);
    }

    /// The first for which there is something, which then comes last.
    pub(crate) fn turn<R>(&mut self, mut find: impl FnMut(&TenantId) -> Option<R>) -> Option<R> {
        let all = self.0.iter().enumerate();
        let (place, found) = all
            .filter_map(|(place, tenant)| Some((place, find(tenant)?)))
            .next()?;
        if let Some(tenant) = self.0.remove(place) {
            self.0.push_back(tenant);
        }
        Some(found)
    }
}

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// Somebody who is in the queue now.
#[derive(Debug)]
pub struct Joined<T> {
    /// To leave it with.
    pub ticket: Ticket,
    /// Who had to go for that: the last of the longest line.
    pub pushed_out: Option<T>,
}

/// The queue. Never more than `most` wait in it.
#[derive(Debug)]
pub struct Turns<T> {
    lines: HashMap<TenantId, VecDeque<(Ticket, T)>>,
    rotation: Rotation,
    most: usize,
    waiting: usize,
    tickets: u64,
}

impl<T> Turns<T> {
    /// An empty queue with so many places.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            lines: HashMap::new(),
            rotation: Rotation::default(),
            most,
            waiting: 0,
            tickets: 0,
        }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Whether one of this tenant waits.
    #[must_use]
    pub fn has(&self, tenant: &TenantId) -> bool {
        self.lines.contains_key(tenant)
    }

    /// Those of a tenant, in their order.
    pub fn of(&self, tenant: &TenantId) -> impl Iterator<Item = &T> {
        self.lines
            .get(tenant)
            .into_iter()
            .flatten()
            .map(|(_, item)| item)
    }

    /// Comes last in the tenant's line. In a full queue the last of the longest line goes for it, as
    /// long as this line is the shorter one afterwards too or both are the same.
    ///
    /// # Errors
    /// There is no place: what was to come in.
    pub fn join(&mut self, tenant: &TenantId, item: T) -> Result<Joined<T>, T> {
        let mut pushed_out = None;
        if self.waiting >= self.most {
            let own = self.lines.get(tenant).map_or(0, VecDeque::len);
            // Of two that are as long, the one whose last came later.
            let length = |line: &VecDeque<(Ticket, T)>| (line.len(), line.back().map(|it| it.0.0));
            let longest = self.lines.iter().max_by_key(|(_, line)| length(line));
            match longest.map(|(tenant, line)| (tenant.clone(), line.len())) {
                Some((other, length)) if own + 1 < length => {
                    pushed_out = self.pull(&other, length - 1);
                }
                _ => return Err(item),
            }
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let line = self.lines.entry(tenant.clone()).or_default();
        line.push_back((ticket, item));
        self.waiting += 1;
        self.rotation.join(tenant);
        Ok(Joined { ticket, pushed_out })
    }

    /// The next one that `may`: of the first tenant in turn that has such a one, its first. That
    /// tenant comes last then.
    pub fn next(&mut self, mut may: impl FnMut(&TenantId, &T) -> bool) -> Option<(TenantId, T)> {
        let lines = &self.lines;
        let (tenant, place) = self.rotation.turn(|tenant| {
            let mut line = lines.get(tenant)?.iter();
            let place = line.position(|(_, item)| may(tenant, item))?;
            Some((tenant.clone(), place))
        })?;
        let item = self.pull(&tenant, place)?;
        Some((tenant, item))
    }

    /// Gives a place up; nothing when it was served meanwhile.
    pub fn leave(&mut self, tenant: &TenantId, ticket: Ticket) -> Option<T> {
        let mut line = self.lines.get(tenant)?.iter();
        let place = line.position(|(it, _)| *it == ticket)?;
        self.pull(tenant, place)
    }

    fn pull(&mut self, tenant: &TenantId, place: usize) -> Option<T> {
        let line = self.lines.get_mut(tenant)?;
        let (_, item) = line.remove(place)?;
        self.waiting -= 1;
        if line.is_empty() {
            self.lines.remove(tenant);
            self.rotation.leave(tenant);
        }
        Some(item)
    }
}
