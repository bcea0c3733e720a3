//! The rules of the money: double entry, and leases that replicas spend from, fenced by epochs.
//!
//! Pure: a command on a line item's ledger returns the balanced transaction that the service stores
//! in the same database transaction as the new state. Money leaves a budget before it can be spent
//! (a lease), so replicas cannot overspend together; a lease that was taken back has a newer epoch
//! behind it, so a replica that wakes up late is refused.

mod lease;

pub use lease::{Grant, Lease, ReplicaLease};

use crate::campaign::is_id;
use rapport_types::{Micros, UnixMillis};
use std::collections::BTreeMap;
use std::fmt;

/// Most leases open on one line item: replicas of the service.
pub const LEASES_MAX: usize = 64;

/// One account. Every micro in the system is on exactly one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Where money comes from: the shop's promise to pay. The only balance below zero.
    Funding,
    /// What a line item may still spend and nobody holds.
    Budget(String),
    /// What a replica holds of a line item's budget.
    Lease {
        /// The line item.
        line_item: String,
        /// The replica.
        replica: String,
    },
    /// What a line item has spent for good.
    Spent(String),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Funding => f.write_str("funding"),
            Self::Budget(line_item) => write!(f, "budget:{line_item}"),
            Self::Lease { line_item, replica } => write!(f, "lease:{line_item}:{replica}"),
            Self::Spent(line_item) => write!(f, "spent:{line_item}"),
        }
    }
}

impl Account {
    /// Parses the name that [`fmt::Display`] prints, `None` for any other text.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split(':').collect();
        match parts[..] {
            ["funding"] => Some(Self::Funding),
            ["budget", line_item] if is_id(line_item) => Some(Self::Budget(line_item.to_owned())),
            ["spent", line_item] if is_id(line_item) => Some(Self::Spent(line_item.to_owned())),
            ["lease", line_item, replica] if is_id(line_item) && is_id(replica) => {
                Some(Self::Lease {
                    line_item: line_item.to_owned(),
                    replica: replica.to_owned(),
                })
            }
            _ => None,
        }
    }
}

/// A change of one account's balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The account.
    pub account: Account,
    /// Added to the balance; may be negative.
    pub amount: Micros,
}

/// Postings that sum to zero; [`Transaction::new`] is the only way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction(Vec<Posting>);

impl Transaction {
    /// Accepts postings that sum to zero.
    ///
    /// # Errors
    /// [`LedgerError::Unbalanced`] with the sum otherwise, overflow included.
    pub fn new(postings: Vec<Posting>) -> Result<Self, LedgerError> {
        // Summed wide: an overflow must not look balanced.
        let sum: i128 = postings
            .iter()
            .map(|posting| i128::from(posting.amount.0))
            .sum();
        if sum == 0 {
            Ok(Self(postings))
        } else {
            Err(LedgerError::Unbalanced(sum))
        }
    }

    /// Returns the postings.
    #[must_use]
    pub fn postings(&self) -> &[Posting] {
        &self.0
    }

    fn transfer(from: Account, to: Account, amount: Micros) -> Self {
        Self(vec![
            Posting {
                account: from,
                amount: -amount,
            },
            Posting {
                account: to,
                amount,
            },
        ])
    }
}

/// Why money did not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The postings do not sum to zero.
    #[error("postings sum to {0} instead of 0")]
    Unbalanced(i128),
    /// The amount is not above zero, or too large to add.
    #[error("amount must be above 0 and fit the ledger")]
    Amount,
    /// The budget holds less than was asked for.
    #[error("budget holds {0}")]
    BudgetExhausted(Micros),
    /// The lease holds less than was asked for.
    #[error("lease holds {0}")]
    LeaseExhausted(Micros),
    /// The lease was closed or replaced: whoever holds this epoch must stop.
    #[error("lease epoch {0} is stale")]
    StaleEpoch(u64),
    /// The lease is past its end.
    #[error("lease ended at {}", .0.0)]
    Expired(UnixMillis),
    /// The line item has [`LEASES_MAX`] leases.
    #[error("more than {LEASES_MAX} leases")]
    TooManyLeases,
}

/// The money of one line item. Invariant: `funded = free + leased + spent`, none of them below zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineLedger {
    line_item: String,
    funded: Micros,
    free: Micros,
    spent: Micros,
    leases: BTreeMap<String, Lease>,
    last_epoch: u64,
}

impl LineLedger {
    /// Returns the empty ledger of a line item.
    #[must_use]
    pub fn new(line_item: impl Into<String>) -> Self {
        Self {
            line_item: line_item.into(),
            funded: Micros::ZERO,
            free: Micros::ZERO,
            spent: Micros::ZERO,
            leases: BTreeMap::new(),
            last_epoch: 0,
        }
    }

    /// Restores a stored ledger. `last_epoch` is the highest ever granted, closed leases included.
    ///
    /// # Errors
    /// [`LedgerError::Amount`] for a negative amount, [`LedgerError::StaleEpoch`] for a lease beyond
    /// `last_epoch`, [`LedgerError::TooManyLeases`].
    pub fn restore(
        line_item: impl Into<String>,
        free: Micros,
        spent: Micros,
        leases: BTreeMap<String, Lease>,
        last_epoch: u64,
    ) -> Result<Self, LedgerError> {
        let amounts = leases
            .values()
            .map(|lease| lease.balance)
            .chain([free, spent]);
        let mut funded = Micros::ZERO;
        for amount in amounts {
            if amount < Micros::ZERO {
                return Err(LedgerError::Amount);
            }
            funded = funded.checked_add(amount).ok_or(LedgerError::Amount)?;
        }
        if let Some(lease) = leases.values().find(|lease| lease.epoch > last_epoch) {
            return Err(LedgerError::StaleEpoch(lease.epoch));
        }
        if leases.len() > LEASES_MAX {
            return Err(LedgerError::TooManyLeases);
        }
        Ok(Self {
            line_item: line_item.into(),
            funded,
            free,
            spent,
            leases,
            last_epoch,
        })
    }

    /// Returns what was ever put in, less what was taken out: the budget.
    #[must_use]
    pub fn funded(&self) -> Micros {
        self.funded
    }

    /// Returns what nobody holds.
    #[must_use]
    pub fn free(&self) -> Micros {
        self.free
    }

    /// Returns what is spent for good.
    #[must_use]
    pub fn spent(&self) -> Micros {
        self.spent
    }

    /// Returns what replicas hold.
    #[must_use]
    pub fn leased(&self) -> Micros {
        self.leases.values().map(|lease| lease.balance).sum()
    }

    /// Returns the open leases by replica.
    #[must_use]
    pub fn leases(&self) -> &BTreeMap<String, Lease> {
        &self.leases
    }

    /// Returns the highest epoch ever granted.
    #[must_use]
    pub fn last_epoch(&self) -> u64 {
        self.last_epoch
    }

    /// Puts money into the budget.
    ///
    /// # Errors
    /// [`LedgerError::Amount`].
    pub fn fund(&mut self, amount: Micros) -> Result<Transaction, LedgerError> {
        let funded = self
            .funded
            .checked_add(amount)
            .filter(|_| amount > Micros::ZERO);
        self.funded = funded.ok_or(LedgerError::Amount)?;
        self.free += amount;
        Ok(Transaction::transfer(
            Account::Funding,
            self.budget(),
            amount,
        ))
    }

    /// Takes money out of the budget; what is leased or spent stays.
    ///
    /// # Errors
    /// [`LedgerError::Amount`], [`LedgerError::BudgetExhausted`].
    pub fn withdraw(&mut self, amount: Micros) -> Result<Transaction, LedgerError> {
        self.take_free(amount)?;
        self.funded -= amount;
        Ok(Transaction::transfer(
            self.budget(),
            Account::Funding,
            amount,
        ))
    }

    /// Bills an event that no open lease covers, such as a click after its lease was handed back.
    ///
    /// # Errors
    /// [`LedgerError::Amount`], [`LedgerError::BudgetExhausted`].
    pub fn spend_free(&mut self, amount: Micros) -> Result<Transaction, LedgerError> {
        self.take_free(amount)?;
        self.spent += amount;
        Ok(Transaction::transfer(
            self.budget(),
            self.spent_account(),
            amount,
        ))
    }

    fn take_free(&mut self, amount: Micros) -> Result<(), LedgerError> {
        if amount <= Micros::ZERO {
            return Err(LedgerError::Amount);
        }
        if amount > self.free {
            return Err(LedgerError::BudgetExhausted(self.free));
        }
        self.free -= amount;
        Ok(())
    }

    fn budget(&self) -> Account {
        Account::Budget(self.line_item.clone())
    }

    fn spent_account(&self) -> Account {
        Account::Spent(self.line_item.clone())
    }

    fn lease_account(&self, replica: &str) -> Account {
        Account::Lease {
            line_item: self.line_item.clone(),
            replica: replica.to_owned(),
        }
    }
}

/// Balances by account: what a journal of transactions adds up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balances(BTreeMap<Account, Micros>);

impl Balances {
    /// Adds a transaction.
    pub fn apply(&mut self, transaction: &Transaction) {
        for posting in transaction.postings() {
            *self.0.entry(posting.account.clone()).or_default() += posting.amount;
        }
    }

    /// Returns the balance of an account, 0 for one that never had any.
    #[must_use]
    pub fn of(&self, account: &Account) -> Micros {
        self.0.get(account).copied().unwrap_or_default()
    }

    /// Returns the sum of all balances: zero, or the ledger is broken.
    #[must_use]
    pub fn sum(&self) -> Micros {
        self.0.values().copied().sum()
    }

    /// Returns every account with its balance, in order of account.
    pub fn iter(&self) -> impl Iterator<Item = (&Account, Micros)> {
        self.0.iter().map(|(account, balance)| (account, *balance))
    }
}

#[cfg(test)]
mod tests;
