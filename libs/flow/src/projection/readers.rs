//! Telling the log how far verified snapshots reach, so that it never forgets what comes after them.

use std::time::Duration;

use rapport_api::profile::v1::reader_service_client::ReaderServiceClient;
use rapport_api::profile::v1::{PartitionCursor, RegisterReaderRequest, RemoveReaderRequest};
use tokio::time::timeout;
use tonic::Status;

use super::runner::Context;
use super::{Projection, WrittenSnapshot};

/// The longest wait for the log; the next snapshot tells it again.
const CALL_MAX: Duration = Duration::from_secs(2);

impl<P: Projection> Context<P> {
    /// Registers this version as a reader, with the snapshot that was verified, or with nothing new: then
    /// the log keeps everything that no snapshot has yet.
    pub(super) async fn register(&self, verified: Option<&WrittenSnapshot>) {
        let Some(snapshots) = &self.snapshots else {
            return;
        };
        let cursor = |written: &WrittenSnapshot| PartitionCursor {
            partition: written.partition,
            after_sequence: written.sequence,
        };
        let request = RegisterReaderRequest {
            reader: snapshots.reader::<P>(),
            verified: verified.map(cursor).into_iter().collect(),
        };
        let mut client = ReaderServiceClient::new(self.log.clone());
        let answer = timeout(CALL_MAX, client.register_reader(request)).await;
        self.report(answer.map(|answer| answer.map(drop)).ok());
    }

    /// Removes this version's registration: its states are gone, and nothing is kept for it.
    pub(super) async fn remove_reader(&self) {
        let Some(snapshots) = &self.snapshots else {
            return;
        };
        let request = RemoveReaderRequest {
            reader: snapshots.reader::<P>(),
        };
        let mut client = ReaderServiceClient::new(self.log.clone());
        let answer = timeout(CALL_MAX, client.remove_reader(request)).await;
        self.report(answer.map(|answer| answer.map(drop)).ok());
    }

    fn report(&self, answer: Option<Result<(), Status>>) {
        let code = match answer {
            Some(Ok(())) => return,
            Some(Err(status)) => Some(status.code()),
            None => None,
        };
        tracing::debug!(
            projection = P::NAME,
            ?code,
            "the log was not told how far snapshots reach"
        );
    }
}
