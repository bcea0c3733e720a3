//! Leases: money set aside for one replica until an instant, under an epoch that fences it.

use super::{LEASES_MAX, LedgerError, LineLedger, Posting, Transaction};
use rapport_types::{Micros, UnixMillis};

/// An open lease, as the ledger knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Rises with every grant on the line item; never used twice.
    pub epoch: u64,
    /// What is left of it.
    pub balance: Micros,
    /// The end, exclusive.
    pub expires_at: UnixMillis,
}

/// What a replica is told of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The fence: every spend names it.
    pub epoch: u64,
    /// What may be spent.
    pub amount: Micros,
    /// The end, exclusive.
    pub expires_at: UnixMillis,
}

impl LineLedger {
    /// Sets up to `amount` aside for a replica until `now + ttl_ms`.
    ///
    /// Less is granted when less is free. A lease that the replica still holds is closed first and
    /// its rest counts as free: a replica that restarts under its name fences its former self.
    ///
    /// # Errors
    /// [`LedgerError::Amount`], [`LedgerError::TooManyLeases`], and [`LedgerError::BudgetExhausted`]
    /// when nothing at all is free; nothing changes then.
    pub fn grant(
        &mut self,
        replica: &str,
        amount: Micros,
        now: UnixMillis,
        ttl_ms: i64,
    ) -> Result<(Grant, Transaction), LedgerError> {
        if amount <= Micros::ZERO || ttl_ms <= 0 {
            return Err(LedgerError::Amount);
        }
        let held = self.leases.get(replica).map(|lease| lease.balance);
        if held.is_none() && self.leases.len() >= LEASES_MAX {
            return Err(LedgerError::TooManyLeases);
        }
        let held = held.unwrap_or_default();
        let granted = amount.min(self.free + held);
        if granted <= Micros::ZERO {
            return Err(LedgerError::BudgetExhausted(self.free));
        }
        let epoch = self.last_epoch + 1;
        let expires_at = now.plus(ttl_ms);
        self.last_epoch = epoch;
        self.free = self.free + held - granted;
        self.leases.insert(
            replica.to_owned(),
            Lease {
                epoch,
                balance: granted,
                expires_at,
            },
        );
        let transaction = Transaction(vec![
            Posting {
                account: self.budget(),
                amount: held - granted,
            },
            Posting {
                account: self.lease_account(replica),
                amount: granted - held,
            },
        ]);
        Ok((
            Grant {
                epoch,
                amount: granted,
                expires_at,
            },
            transaction,
        ))
    }

    /// Extends a lease until `now + ttl_ms` and brings its balance as close to `target` as the free
    /// money allows, up or down. The epoch stays: what was promised under it stays covered.
    ///
    /// # Errors
    /// [`LedgerError::StaleEpoch`] when the lease was closed or replaced, [`LedgerError::Expired`]
    /// past its end, [`LedgerError::Amount`]; nothing changes then.
    pub fn renew(
        &mut self,
        replica: &str,
        epoch: u64,
        target: Micros,
        now: UnixMillis,
        ttl_ms: i64,
    ) -> Result<(Grant, Transaction), LedgerError> {
        if target < Micros::ZERO || ttl_ms <= 0 {
            return Err(LedgerError::Amount);
        }
        let free = self.free;
        let lease = self.open_lease(replica, epoch)?;
        if now >= lease.expires_at {
            return Err(LedgerError::Expired(lease.expires_at));
        }
        let held = lease.balance;
        lease.balance = target.min(held + free);
        lease.expires_at = now.plus(ttl_ms);
        let grant = Grant {
            epoch,
            amount: lease.balance,
            expires_at: lease.expires_at,
        };
        let more = grant.amount - held;
        self.free -= more;
        let transaction = Transaction::transfer(self.budget(), self.lease_account(replica), more);
        Ok((grant, transaction))
    }

    /// Moves money from a lease to what is spent for good.
    ///
    /// # Errors
    /// [`LedgerError::StaleEpoch`] when the lease was closed or replaced, [`LedgerError::Expired`]
    /// past its end, [`LedgerError::LeaseExhausted`], [`LedgerError::Amount`]; nothing changes then.
    pub fn spend(
        &mut self,
        replica: &str,
        epoch: u64,
        amount: Micros,
        now: UnixMillis,
    ) -> Result<Transaction, LedgerError> {
        if amount <= Micros::ZERO {
            return Err(LedgerError::Amount);
        }
        let lease = self.open_lease(replica, epoch)?;
        if now >= lease.expires_at {
            return Err(LedgerError::Expired(lease.expires_at));
        }
        if amount > lease.balance {
            return Err(LedgerError::LeaseExhausted(lease.balance));
        }
        lease.balance -= amount;
        self.spent += amount;
        Ok(Transaction::transfer(
            self.lease_account(replica),
            self.spent_account(),
            amount,
        ))
    }

    /// Closes a lease and gives its rest back to the budget: what a replica does when it drains.
    ///
    /// # Errors
    /// [`LedgerError::StaleEpoch`] when it was closed or replaced before.
    pub fn hand_back(&mut self, replica: &str, epoch: u64) -> Result<Transaction, LedgerError> {
        self.open_lease(replica, epoch)?;
        Ok(self.close(replica))
    }

    /// Closes every lease past its end; one transaction for each, in order of replica.
    pub fn expire(&mut self, now: UnixMillis) -> Vec<Transaction> {
        let over = self
            .leases
            .iter()
            .filter(|(_, lease)| now >= lease.expires_at);
        let replicas: Vec<String> = over.map(|(replica, _)| replica.clone()).collect();
        replicas.iter().map(|replica| self.close(replica)).collect()
    }

    fn open_lease(&mut self, replica: &str, epoch: u64) -> Result<&mut Lease, LedgerError> {
        let lease = self
            .leases
            .get_mut(replica)
            .filter(|lease| lease.epoch == epoch);
        lease.ok_or(LedgerError::StaleEpoch(epoch))
    }

    fn close(&mut self, replica: &str) -> Transaction {
        let rest = self
            .leases
            .remove(replica)
            .map_or(Micros::ZERO, |lease| lease.balance);
        self.free += rest;
        Transaction::transfer(self.lease_account(replica), self.budget(), rest)
    }
}

/// A replica's own side of a lease: what it may still promise without asking anybody.
///
/// Money is taken here at decision time and confirmed to the ledger when the event is billed, so the
/// promises of a replica that dies cost at most its lease, and only until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaLease {
    epoch: u64,
    left: Micros,
    expires_at: UnixMillis,
}

impl ReplicaLease {
    /// Takes up a grant.
    #[must_use]
    pub fn new(grant: Grant) -> Self {
        Self {
            epoch: grant.epoch,
            left: grant.amount,
            expires_at: grant.expires_at,
        }
    }

    /// Returns the epoch to name when spending.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns what may still be promised at `now`: nothing past the end.
    #[must_use]
    pub fn available(&self, now: UnixMillis) -> Micros {
        if now < self.expires_at {
            self.left
        } else {
            Micros::ZERO
        }
    }

    /// Takes up a renewal of the same epoch: `promised` is what is still owed out of it.
    pub fn renewed(&mut self, grant: Grant, promised: Micros) {
        self.left = (grant.amount - promised).max(Micros::ZERO);
        self.expires_at = grant.expires_at;
    }

    /// Returns the end, exclusive.
    #[must_use]
    pub fn expires_at(&self) -> UnixMillis {
        self.expires_at
    }

    /// Keeps at most `amount` to promise, before the rest is handed back by a renewal.
    pub fn keep(&mut self, amount: Micros) {
        self.left = self.left.min(amount.max(Micros::ZERO));
    }

    /// Promises an amount.
    ///
    /// # Errors
    /// [`LedgerError::Amount`], [`LedgerError::Expired`], [`LedgerError::LeaseExhausted`]; nothing
    /// changes then.
    pub fn take(&mut self, amount: Micros, now: UnixMillis) -> Result<(), LedgerError> {
        if amount <= Micros::ZERO {
            return Err(LedgerError::Amount);
        }
        if now >= self.expires_at {
            return Err(LedgerError::Expired(self.expires_at));
        }
        if amount > self.left {
            return Err(LedgerError::LeaseExhausted(self.left));
        }
        self.left -= amount;
        Ok(())
    }

    /// Takes a promise back: the ad was never shown, or the charge is lower than what was held.
    pub fn put_back(&mut self, amount: Micros) {
        self.left += amount.max(Micros::ZERO);
    }
}
