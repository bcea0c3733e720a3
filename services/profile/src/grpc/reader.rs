//! `ReaderService`: who could start again from where, so that the log may forget what is before.

use std::collections::BTreeMap;
use std::sync::Arc;

use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::reader_service_server::ReaderService;
use rapport_rpc::{Caller, Fields, InvalidRequest};
use rapport_store::Db;
use rapport_types::{Clock, PARTITIONS};
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::log::TailError;
use crate::store::reader::{self, Reader};

/// Characters of a reader's name.
const NAME_CHARS_MAX: usize = 128;

/// The service.
#[derive(Debug, Clone)]
pub struct ReaderApi {
    /// The log's database.
    pub db: Db,
    /// The log's time.
    pub clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl ReaderService for ReaderApi {
    async fn register_reader(
        &self,
        request: Request<pb::RegisterReaderRequest>,
    ) -> Result<Response<pb::RegisterReaderResponse>, Status> {
        let caller = Caller::of(&request).name.to_string();
        let raw = request.into_inner();
        Ok(Response::new(self.register(&caller, &raw).await?))
    }

    async fn remove_reader(
        &self,
        request: Request<pb::RemoveReaderRequest>,
    ) -> Result<Response<pb::RemoveReaderResponse>, Status> {
        let caller = Caller::of(&request).name.to_string();
        let removed = self.remove(&caller, &request.into_inner().reader).await?;
        Ok(Response::new(pb::RemoveReaderResponse { removed }))
    }

    async fn list_readers(
        &self,
        _: Request<pb::ListReadersRequest>,
    ) -> Result<Response<pb::ListReadersResponse>, Status> {
        let readers = reader::all(&self.db).await.map_err(Error::from)?;
        Ok(Response::new(pb::ListReadersResponse {
            readers: readers.into_iter().map(to_wire).collect(),
        }))
    }
}

impl ReaderApi {
    async fn register(
        &self,
        caller: &str,
        raw: &pb::RegisterReaderRequest,
    ) -> Result<pb::RegisterReaderResponse, Error> {
        let (name, verified) = parse(caller, raw)?;
        let mut tx = self.db.begin().await?;
        reader::lock(&mut tx).await?;
        let low_waters = reader::low_waters(&mut tx).await?;
        for (&partition, &sequence) in &verified {
            let low_water = low_waters.get(&partition).copied().unwrap_or(0);
            if sequence < low_water {
                return Err(Error::Tail(TailError::Expired {
                    partition,
                    low_water,
                }));
            }
        }
        if !reader::register(&mut tx, &name, &verified, self.clock.now()).await? {
            return Err(Error::TooManyReaders);
        }
        tx.commit().await?;
        Ok(pb::RegisterReaderResponse {
            low_water: to_cursors(low_waters),
        })
    }

    async fn remove(&self, caller: &str, name: &str) -> Result<bool, Error> {
        let mut fields = Fields::default();
        check_name(name, &mut fields);
        fields.finish(())?;
        let mut tx = self.db.begin().await?;
        reader::lock(&mut tx).await?;
        let removed = reader::remove(&mut tx, &full_name(caller, name)).await?;
        tx.commit().await?;
        Ok(removed)
    }
}

/// Returns the reader's full name and how far it verified each partition.
fn parse(
    caller: &str,
    raw: &pb::RegisterReaderRequest,
) -> Result<(String, BTreeMap<u32, u64>), InvalidRequest> {
    let mut fields = Fields::default();
    check_name(&raw.reader, &mut fields);
    let mut verified = BTreeMap::new();
    for (index, cursor) in raw.verified.iter().enumerate() {
        let field = format!("verified[{index}].partition");
        let sequence = cursor.after_sequence;
        if cursor.partition >= PARTITIONS {
            fields.refuse(&field, "must be 0 to 63");
        } else if verified.insert(cursor.partition, sequence).is_some() {
            fields.refuse(&field, "must not come twice");
        }
        if i64::try_from(sequence).is_err() {
            fields.refuse(
                &format!("verified[{index}].after_sequence"),
                "is more than a sequence can be",
            );
        }
        // A partition at most once: what comes after the first 64 is refused by then.
        if index as u32 > PARTITIONS {
            break;
        }
    }
    fields.finish((full_name(caller, &raw.reader), verified))
}

fn check_name(name: &str, fields: &mut Fields) {
    let plain = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_./".contains(letter)
    };
    fields.text("reader", name, NAME_CHARS_MAX);
    if !name.chars().all(plain) {
        fields.refuse("reader", "must be of `a-z 0-9 - _ . /`");
    }
}

/// Bound to the caller: nobody lifts or lowers another's mark.
fn full_name(caller: &str, name: &str) -> String {
    format!("{caller}:{name}")
}

fn to_wire(reader: Reader) -> pb::Reader {
    pb::Reader {
        reader: reader.name,
        registered_at_ms: reader.registered_at.0,
        verified: to_cursors(reader.verified),
    }
}

fn to_cursors(sequences: BTreeMap<u32, u64>) -> Vec<pb::PartitionCursor> {
    let cursor = |(partition, after_sequence)| pb::PartitionCursor {
        partition,
        after_sequence,
    };
    sequences.into_iter().map(cursor).collect()
}
