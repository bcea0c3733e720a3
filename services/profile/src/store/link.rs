//! The identity graph's records, read and written one person at a time.

use profile_domain::{Link, LinkId, Member, Person};
use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::{SubjectId, UnixMillis};

type LinkRow = (Vec<u8>, Vec<u8>, i64, Vec<u8>, i64, String, i64);

const STANDING: &str = "select l.link_id, l.left_id, a.created_at_ms, l.right_id, b.created_at_ms,
        l.evidence, l.created_at_ms
    from member m
    join link l on l.left_id = m.subject_id and l.cancelled_at_ms is null
    join subject a on a.subject_id = l.left_id
    join subject b on b.subject_id = l.right_id
    where m.anchor = (select anchor from member where subject_id = $1)
    order by l.link_id";
const FIND: &str = "select left_id, cancelled_at_ms from link where link_id = $1";
const INSERT: &str = "insert into link (link_id, left_id, right_id, evidence, created_at_ms)
    values ($1, $2, $3, $4, $5)";
const CANCEL: &str =
    "update link set cancelled_at_ms = $2 where link_id = $1 and cancelled_at_ms is null";
/// The evidence may name somebody: an erasure takes it away with the link.
const DISSOLVE: &str =
    "update link set evidence = '', cancelled_at_ms = coalesce(cancelled_at_ms, $2)
    where left_id = $1 or right_id = $1";
const LEAVE: &str = "delete from member where subject_id = $1";
const JOIN: &str = "insert into member (subject_id, anchor) values ($1, $2)";
const MEMBERS: &str = "select m.subject_id, m.anchor, s.created_at_ms from member m
    join subject s on s.subject_id = m.subject_id
    where m.anchor > $1 order by m.anchor, s.created_at_ms, m.subject_id limit $2";
const MEMBERS_OF: &str = "select m.subject_id, m.anchor, s.created_at_ms from member m
    join subject s on s.subject_id = m.subject_id
    where m.anchor = (select anchor from member where subject_id = $1)
    order by s.created_at_ms, m.subject_id";

/// Rows of one page of members; a person is never split over pages (see [`persons`]).
const PAGE_ROWS: i64 = 4_096;

/// Returns the standing links of the person of `subject`, in order of their ids.
///
/// # Errors
/// [`StoreError`].
pub async fn standing(tx: &mut Tx, subject: &SubjectId) -> Result<Vec<Link>, StoreError> {
    let rows: Vec<LinkRow> = on_tx!(tx, |conn| {
        sqlx::query_as(STANDING)
            .bind(subject.as_bytes().as_slice())
            .fetch_all(conn)
            .await
    })?;
    Ok(rows.into_iter().filter_map(to_link).collect())
}

/// As [`standing`], outside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn standing_now(db: &Db, subject: &SubjectId) -> Result<Vec<Link>, StoreError> {
    let rows: Vec<LinkRow> = on_db!(db, |pool| {
        sqlx::query_as(STANDING)
            .bind(subject.as_bytes().as_slice())
            .fetch_all(pool)
            .await
    })?;
    Ok(rows.into_iter().filter_map(to_link).collect())
}

/// Returns one side of a link and whether it stands, `None` if there is no such link.
///
/// # Errors
/// [`StoreError`].
pub async fn find(tx: &mut Tx, link_id: LinkId) -> Result<Option<(SubjectId, bool)>, StoreError> {
    let row: Option<(Vec<u8>, Option<i64>)> = on_tx!(tx, |conn| {
        sqlx::query_as(FIND)
            .bind(link_id.0.as_slice())
            .fetch_optional(conn)
            .await
    })?;
    Ok(
        row.and_then(|(left, cancelled)| {
            Some((SubjectId::parse(&left).ok()?, cancelled.is_none()))
        }),
    )
}

/// Stores a link.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(tx: &mut Tx, link: &Link) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        let query = sqlx::query(INSERT).bind(link.id.0.as_slice());
        let query = query.bind(link.left.subject.as_bytes().as_slice());
        let query = query.bind(link.right.subject.as_bytes().as_slice());
        query
            .bind(&link.evidence)
            .bind(link.at.0)
            .execute(conn)
            .await
            .map(|_| ())
    })?;
    Ok(())
}

/// Cancels a link that stands.
///
/// # Errors
/// [`StoreError`].
pub async fn cancel(tx: &mut Tx, link_id: LinkId, now: UnixMillis) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        sqlx::query(CANCEL)
            .bind(link_id.0.as_slice())
            .bind(now.0)
            .execute(conn)
            .await
            .map(|_| ())
    })?;
    Ok(())
}

/// Takes erased subjects out of the graph, with every link that they ever had.
///
/// # Errors
/// [`StoreError`].
pub async fn dissolve(
    tx: &mut Tx,
    subjects: &[SubjectId],
    now: UnixMillis,
) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        for subject in subjects {
            let id = subject.as_bytes().as_slice();
            sqlx::query(LEAVE).bind(id).execute(&mut *conn).await?;
            let dissolve = sqlx::query(DISSOLVE).bind(id);
            dissolve.bind(now.0).execute(&mut *conn).await?;
        }
        Ok(())
    })
}

/// Writes which persons the subjects of `after` belong to; persons of one leave no row.
///
/// # Errors
/// [`StoreError`].
pub async fn regroup(tx: &mut Tx, after: &[Person]) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        for person in after {
            for member in person.members() {
                let id = member.subject.as_bytes().as_slice();
                sqlx::query(LEAVE).bind(id).execute(&mut *conn).await?;
                if person.members().len() > 1 {
                    let join = sqlx::query(JOIN).bind(id);
                    join.bind(person.anchor().as_bytes().as_slice())
                        .execute(&mut *conn)
                        .await?;
                }
            }
        }
        Ok(())
    })
}

/// Returns the members of the person of `subject` in creation order, empty if it is alone.
///
/// # Errors
/// [`StoreError`].
pub async fn members_of(tx: &mut Tx, subject: &SubjectId) -> Result<Vec<Member>, StoreError> {
    let rows: Vec<(Vec<u8>, Vec<u8>, i64)> = on_tx!(tx, |conn| {
        sqlx::query_as(MEMBERS_OF)
            .bind(subject.as_bytes().as_slice())
            .fetch_all(conn)
            .await
    })?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some(to_member(row)?.1))
        .collect())
}

/// Returns a page of persons of two or more, after the one with anchor `after`, in order of anchors,
/// each with its members in creation order.
///
/// # Errors
/// [`StoreError`].
pub async fn persons(
    db: &Db,
    after: &[u8],
) -> Result<Vec<(SubjectId, Vec<SubjectId>)>, StoreError> {
    let rows: Vec<(Vec<u8>, Vec<u8>, i64)> = on_db!(db, |pool| {
        sqlx::query_as(MEMBERS)
            .bind(after)
            .bind(PAGE_ROWS)
            .fetch_all(pool)
            .await
    })?;
    let full = rows.len() as i64 == PAGE_ROWS;
    let mut persons: Vec<(SubjectId, Vec<SubjectId>)> = Vec::new();
    for (anchor, member) in rows.into_iter().filter_map(to_member) {
        match persons.last_mut() {
            Some((last, members)) if *last == anchor => members.push(member.subject),
            _ => persons.push((anchor, vec![member.subject])),
        }
    }
    // The last person of a full page may go on in the next one: leave it for there. A page holds at
    // least 64 persons, so one is never all there is.
    if full {
        persons.pop();
    }
    Ok(persons)
}

fn to_member((id, anchor, created_at_ms): (Vec<u8>, Vec<u8>, i64)) -> Option<(SubjectId, Member)> {
    let subject = SubjectId::parse(&id).ok()?;
    let member = Member {
        created_at: UnixMillis(created_at_ms),
        subject,
    };
    Some((SubjectId::parse(&anchor).ok()?, member))
}

fn to_link((id, left, left_at, right, right_at, evidence, at): LinkRow) -> Option<Link> {
    let member = |id: &[u8], at| {
        Some(Member {
            created_at: UnixMillis(at),
            subject: SubjectId::parse(id).ok()?,
        })
    };
    Some(Link {
        id: LinkId(id.try_into().ok()?),
        left: member(&left, left_at)?,
        right: member(&right, right_at)?,
        evidence,
        at: UnixMillis(at),
    })
}
