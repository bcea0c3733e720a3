//! Changes of who is whom and of what they allow: each one transaction with its control record.
//!
//! Every change locks the control partition first, so changes are made one after the other and the
//! sequence of the record is the version of the graph.

use std::sync::Arc;
use std::time::Duration;

use profile_domain::{Graph, Link, LinkId, Member, Person, Unlink};
use prost::Message;
use rapport_api::event::v1::{
    ConsentChanged, ConsentRegister, Person as PersonRecord, SubjectsErased, SubjectsLinked,
    SubjectsUnlinked,
};
use rapport_flow::People;
use rapport_rpc::Caller;
use rapport_rpc::write::{self, Asked, Begun};
use rapport_store::idempotency::Slot;
use rapport_store::{Db, Tx};
use rapport_types::{Clock, ConsentState, Purpose, SubjectId, UnixMillis};
use ring::hmac;
use tracing::Instrument as _;

use crate::control::ControlWriter;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::log::{Hub, StoredBatch};
use crate::store::consent::Registers;
use crate::store::subject::SubjectRow;
use crate::store::{consent, link, subject};
use crate::subjects::Subjects;

/// Longest wait for this replica's own view to show a change before the answer goes out.
const OWN_VIEW_WAIT_MAX: Duration = Duration::from_secs(1);

/// The changes. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The database of subjects and of the control partition.
    pub db: Db,
    /// Where committed control records become known.
    pub hub: Arc<Hub>,
    /// This replica's view.
    pub people: People,
    /// The caches that an erasure empties.
    pub subjects: Subjects,
    /// Signs receipts.
    pub keyring: Arc<Keyring>,
    /// The time of records.
    pub clock: Arc<dyn Clock>,
}

/// A person and the links that hold it together.
#[derive(Debug, Clone)]
pub struct Linked {
    /// The person.
    pub person: Person,
    /// Its standing links, in order of their ids.
    pub links: Vec<Link>,
    /// The version of the graph.
    pub graph_version: u64,
}

impl Identity {
    /// Begins an idempotent write of `body`, the request of `method`.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Store`].
    pub async fn begin<T: Message + Default>(
        &self,
        caller: &Caller,
        method: &'static str,
        request_id: &str,
        body: &impl Message,
    ) -> Result<Begun<T>, Error> {
        // Keyed: a plain hash of a body with a phone number in it could be searched for.
        let signed = hmac::sign(self.keyring.unkeyed(), &body.encode_to_vec());
        let mut body_hash = [0; 32];
        body_hash.copy_from_slice(signed.as_ref());
        let asked = Asked::keyed(caller, method, request_id, body_hash);
        Ok(write::begin(&self.db, &asked, self.clock.now()).await?)
    }

    /// Records the response, commits, and returns it once this replica's own view shows the change.
    ///
    /// # Errors
    /// [`Error::Store`]: unknown whether it happened; the same request id finds out.
    pub async fn finish<T: Message + 'static>(
        &self,
        tx: Tx,
        slot: Slot,
        response: T,
        records: impl IntoIterator<Item = StoredBatch>,
    ) -> Result<T, Error> {
        let records: Vec<StoredBatch> = records.into_iter().collect();
        let sequence = records.last().map_or(0, |record| record.last_sequence);
        let hub = Arc::clone(&self.hub);
        // A caller that gives up while the commit is on its way must not keep it from being known.
        let committed = async move {
            write::finish(tx, slot, &response).await?;
            records.into_iter().for_each(|record| hub.publish(record));
            Ok::<_, Error>(response)
        };
        let response = tokio::spawn(committed.in_current_span())
            .await
            .map_err(|_panicked| Error::Internal("a change panicked"))??;
        self.own_view_at(sequence).await;
        Ok(response)
    }

    /// Waits until this replica's view holds the control record `sequence`, at most a second.
    async fn own_view_at(&self, sequence: u64) {
        let mut changes = self.people.subscribe();
        let reached = async {
            while self.people.control_sequence() < sequence {
                // Lagging is as good as a change: look again.
                let _ = changes.recv().await;
            }
        };
        if tokio::time::timeout(OWN_VIEW_WAIT_MAX, reached)
            .await
            .is_err()
        {
            tracing::warn!(sequence, "own view is behind");
        }
    }

    /// Returns a person with its links.
    ///
    /// # Errors
    /// [`Error::SubjectNotFound`], [`Error::Store`].
    pub async fn person(&self, subject_id: SubjectId) -> Result<Linked, Error> {
        let rows = subject::rows(&self.db, &[subject_id]).await?;
        let own = living(&rows, subject_id)?;
        let links = link::standing_now(&self.db, &subject_id).await?;
        linked(own, links, self.people.graph_version())
    }

    /// Links two subjects, or with `commit` false only says what would happen.
    ///
    /// Returns the link's id, `None` if the same two are linked already, with the person.
    ///
    /// # Errors
    /// [`Error::SubjectNotFound`], [`Error::Graph`], [`Error::Store`].
    pub async fn link(
        &self,
        tx: &mut Tx,
        left: SubjectId,
        right: SubjectId,
        evidence: &str,
        commit: bool,
    ) -> Result<(Option<LinkId>, Linked, Option<StoredBatch>), Error> {
        let mut control = ControlWriter::lock(tx, self.clock.now()).await?;
        let rows = subject::rows_in(tx, &[left, right]).await?;
        let (left, right) = (living(&rows, left)?, living(&rows, right)?);
        let mut links = link::standing(tx, &left.subject).await?;
        links.extend(link::standing(tx, &right.subject).await?);
        links.sort_by_key(|link| link.id);
        links.dedup_by_key(|link| link.id);
        let direct = |link: &&Link| {
            (link.left.subject, link.right.subject) == (left.subject, right.subject)
                || (link.right.subject, link.left.subject) == (left.subject, right.subject)
        };
        if links.iter().any(|link| direct(&link)) {
            return Ok((
                None,
                linked(left, links, self.people.graph_version())?,
                None,
            ));
        }
        let mut graph = Graph::from_records(0, links, Vec::new())?;
        let new = Link {
            id: LinkId(*uuid::Uuid::now_v7().as_bytes()),
            left,
            right,
            evidence: evidence.to_owned(),
            at: control.now(),
        };
        let change = graph.link(new.clone())?;
        let person = change
            .after
            .into_iter()
            .next()
            .ok_or(Error::Internal("a link made no person"))?;
        let links = graph.links_of(&person).into_iter().cloned().collect();
        let graph_version = control.sequence();
        let linked = Linked {
            person,
            links,
            graph_version,
        };
        if !commit {
            return Ok((None, linked, None));
        }
        link::insert(tx, &new).await?;
        link::regroup(tx, std::slice::from_ref(&linked.person)).await?;
        let record = SubjectsLinked {
            link_id: new.id.0.to_vec(),
            person: Some(to_record(&linked.person)),
            graph_version,
            evidence: String::new(),
        };
        let record = control.append(tx, "subjects_linked", &record).await?;
        Ok((Some(new.id), linked, Some(record)))
    }

    /// Takes a link back, or with `commit` false only says what would be left.
    ///
    /// # Errors
    /// [`Error::LinkNotFound`], [`Error::Store`].
    pub async fn unlink(
        &self,
        tx: &mut Tx,
        link_id: LinkId,
        commit: bool,
    ) -> Result<(Vec<Linked>, Option<StoredBatch>), Error> {
        let mut control = ControlWriter::lock(tx, self.clock.now()).await?;
        let found = link::find(tx, link_id).await?;
        let side = found
            .filter(|(_, stands)| *stands)
            .ok_or(Error::LinkNotFound(link_id))?
            .0;
        let links = link::standing(tx, &side).await?;
        let mut graph = Graph::from_records(0, links, Vec::new())?;
        let at = control.now();
        let change = graph.unlink(Unlink {
            link_id,
            evidence: "unlink".to_owned(),
            at,
        })?;
        let graph_version = control.sequence();
        let left = change.after.iter().map(|person| Linked {
            links: graph.links_of(person).into_iter().cloned().collect(),
            person: person.clone(),
            graph_version,
        });
        let left: Vec<Linked> = left.collect();
        if !commit {
            return Ok((left, None));
        }
        link::cancel(tx, link_id, at).await?;
        link::regroup(tx, &change.after).await?;
        let record = SubjectsUnlinked {
            link_id: link_id.0.to_vec(),
            persons: change.after.iter().map(to_record).collect(),
            graph_version,
        };
        let record = control.append(tx, "subjects_unlinked", &record).await?;
        Ok((left, Some(record)))
    }

    /// Writes registers of every member of a person; returns what the person allows afterwards.
    ///
    /// # Errors
    /// [`Error::SubjectNotFound`], [`Error::Store`].
    pub async fn set_consent(
        &self,
        tx: &mut Tx,
        control: &mut ControlWriter,
        subject_id: SubjectId,
        writes: &[(Purpose, ConsentState)],
        evidence: &str,
        imported: bool,
    ) -> Result<(Registers, Option<StoredBatch>), Error> {
        let members = self.members(tx, subject_id).await?;
        let before = folded_over(tx, &members).await?;
        // Somebody who revoked on any device has revoked: then an import writes no member at all, so
        // that the record can say the same of every one.
        let refused = |purpose| imported && before.revoked & bit(purpose) != 0;
        let mut changed: Vec<(Purpose, ConsentState)> = Vec::new();
        for write in writes.iter().filter(|(purpose, _)| !refused(*purpose)) {
            let now = control.now();
            for member in &members {
                let wrote = consent::write(tx, member, *write, evidence, now).await?;
                if wrote && !changed.contains(write) {
                    changed.push(*write);
                }
            }
        }
        if changed.is_empty() {
            return Ok((before, None));
        }
        let record = ConsentChanged {
            subject_ids: members.iter().copied().map(SubjectId::to_vec).collect(),
            registers: changed.iter().map(to_register).collect(),
            evidence: String::new(),
            graph_version: self.people.graph_version(),
        };
        let record = control.append(tx, "consent_changed", &record).await?;
        Ok((folded_over(tx, &members).await?, Some(record)))
    }

    /// Erases a person; returns the receipt's id, its subjects, its time and its signature.
    ///
    /// # Errors
    /// [`Error::SubjectNotFound`], [`Error::Store`].
    pub async fn erase(
        &self,
        tx: &mut Tx,
        subject_id: SubjectId,
    ) -> Result<(Receipt, Option<StoredBatch>), Error> {
        let mut control = ControlWriter::lock(tx, self.clock.now()).await?;
        let members = self.members(tx, subject_id).await?;
        let receipt_id = *uuid::Uuid::now_v7().as_bytes();
        let erased_at = control.now();
        let mut signed = receipt_id.to_vec();
        members
            .iter()
            .for_each(|member| signed.extend_from_slice(member.as_bytes()));
        signed.extend_from_slice(&erased_at.0.to_be_bytes());
        let signature = self.keyring.sign(&signed);
        subject::erase(tx, &members, &receipt_id, &signature, erased_at).await?;
        link::dissolve(tx, &members, erased_at).await?;
        consent::forget(tx, &members).await?;
        let record = SubjectsErased {
            subject_ids: members.iter().copied().map(SubjectId::to_vec).collect(),
            graph_version: control.sequence(),
            receipt_id: receipt_id.to_vec(),
        };
        let record = control.append(tx, "subjects_erased", &record).await?;
        Ok((
            Receipt {
                receipt_id,
                members,
                erased_at,
                signature,
            },
            Some(record),
        ))
    }

    /// Returns the members of the person of a living subject, in creation order.
    async fn members(&self, tx: &mut Tx, subject_id: SubjectId) -> Result<Vec<SubjectId>, Error> {
        let rows = subject::rows_in(tx, &[subject_id]).await?;
        let own = living(&rows, subject_id)?;
        let mut members = link::members_of(tx, &subject_id).await?;
        if members.is_empty() {
            members.push(own);
        }
        Ok(members.into_iter().map(|member| member.subject).collect())
    }
}

/// What an erasure leaves behind.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Its id.
    pub receipt_id: [u8; 16],
    /// The subjects that were erased.
    pub members: Vec<SubjectId>,
    /// When.
    pub erased_at: UnixMillis,
    /// HMAC-SHA256 over id, subjects and time.
    pub signature: [u8; 32],
}

/// Returns what a person allows by the registers of its members.
async fn folded_over(tx: &mut Tx, members: &[SubjectId]) -> Result<Registers, Error> {
    let mut folded = Registers::default();
    for member in members {
        folded = folded.fold(consent::of(tx, member).await?);
    }
    Ok(folded)
}

fn living(rows: &[SubjectRow], subject_id: SubjectId) -> Result<Member, Error> {
    let row = rows
        .iter()
        .find(|row| row.subject_id == subject_id && row.wrapped_key.is_some());
    let row = row.ok_or(Error::SubjectNotFound(subject_id))?;
    Ok(Member {
        created_at: row.created_at,
        subject: subject_id,
    })
}

fn linked(own: Member, links: Vec<Link>, graph_version: u64) -> Result<Linked, Error> {
    let graph = Graph::from_records(0, links, Vec::new())?;
    let person = graph
        .person(own.subject)
        .unwrap_or_else(|| Person::single(own));
    let links = graph.links_of(&person).into_iter().cloned().collect();
    Ok(Linked {
        person,
        links,
        graph_version,
    })
}

fn to_record(person: &Person) -> PersonRecord {
    PersonRecord {
        anchor: person.anchor().to_vec(),
        members: person.subjects().map(SubjectId::to_vec).collect(),
    }
}

fn to_register((purpose, state): &(Purpose, ConsentState)) -> ConsentRegister {
    ConsentRegister {
        purpose: i32::from(*purpose as u8),
        state: i32::from(*state as u8),
    }
}

fn bit(purpose: Purpose) -> u8 {
    rapport_types::PurposeSet::default().with(purpose).0
}
