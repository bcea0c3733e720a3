//! Deleting old rows in slices, so that no transaction is long and nothing waits for it.

use std::time::Duration;

use crate::StoreError;

/// Most slices of one [`sweep_all`]; what is left then goes with the next.
pub const SLICES_MAX: u32 = 1_000;
/// The pause between two slices: who writes has its turn.
const PAUSE: Duration = Duration::from_millis(5);

/// Deletes slice after slice until one has fewer rows than `rows_max`, [`SLICES_MAX`] at most, and
/// returns how many rows went. Rows that come faster than one slice per look would else pile up.
///
/// `slice` deletes at most `rows_max` rows and returns how many.
///
/// # Errors
///
/// What `slice` says; the slices before it stay deleted.
pub async fn sweep_all<F, S>(rows_max: u32, mut slice: F) -> Result<u64, StoreError>
where
    F: FnMut() -> S,
    S: Future<Output = Result<u64, StoreError>>,
{
    let mut swept = 0;
    for _slice in 0..SLICES_MAX {
        let rows = slice().await?;
        swept += rows;
        if rows < u64::from(rows_max) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    async fn sweep(answers: Vec<Result<u64, StoreError>>) -> (Result<u64, StoreError>, usize) {
        let mut answers = VecDeque::from(answers);
        let swept = sweep_all(5, || std::future::ready(answers.pop_front().unwrap())).await;
        (swept, answers.len())
    }

    #[tokio::test]
    async fn the_slices_go_on_until_one_is_short() {
        let (swept, left) = sweep(vec![Ok(5), Ok(5), Ok(3), Ok(5)]).await;
        assert_eq!((swept.unwrap(), left), (13, 1));
        let (swept, left) = sweep(vec![Ok(5), Ok(0), Ok(5)]).await;
        assert_eq!((swept.unwrap(), left), (5, 1));
    }

    #[tokio::test]
    async fn a_slice_that_fails_ends_the_sweep() {
        let failed = StoreError::Unavailable(sqlx::Error::PoolClosed);
        let (swept, left) = sweep(vec![Ok(5), Err(failed), Ok(5)]).await;
        assert!(matches!(swept, Err(StoreError::Unavailable(_))));
        assert_eq!(left, 1);
    }
}
