//! Reading a case's messages, and what the log hears of a new one.

use care_domain::Analysis;
use rapport_api::care::v1 as pb;

use super::case::CaseApi;
use crate::error::{Error, hex};
use crate::events::Received;
use crate::store::case::CaseRow;
use crate::store::message;

/// Most messages of one case.
pub(super) const MESSAGES_MAX: usize = 200;

impl CaseApi {
    /// Returns the messages of a case, oldest first. Texts of an erased customer are empty.
    pub(super) async fn messages(&self, row: &CaseRow) -> Result<Vec<pb::Message>, Error> {
        let rows = message::of_case(&self.desk.db, &row.case_id, MESSAGES_MAX as u32).await?;
        let key = self.desk.keys.of(row.subject).await?;
        let mut messages = Vec::with_capacity(rows.len());
        for found in rows {
            let plain = key
                .as_ref()
                .map(|key| key.open(&found.message_id, &found.sealed));
            if plain == Some(None) {
                tracing::error!(
                    message = hex(&found.message_id),
                    "a sealed text does not open"
                );
                return Err(Error::Internal("a sealed text does not open"));
            }
            let text = String::from_utf8(plain.flatten().unwrap_or_default());
            messages.push(pb::Message {
                message_id: found.message_id.to_vec(),
                author: found.author,
                text: text.map_err(|_| Error::Internal("a text is not UTF-8"))?,
                written_at_ms: found.written_at.0,
            });
        }
        Ok(messages)
    }

    /// Returns what the log hears of a customer's message.
    pub(super) fn received(
        &self,
        row: &CaseRow,
        message_id: [u8; 16],
        text: &str,
        analysis: &Analysis,
    ) -> Received {
        Received {
            message_id,
            case_id: row.case_id,
            subject: row.subject,
            channel: row.channel,
            length: text.chars().count() as u32,
            intent: analysis.intent.clone(),
            language: analysis.language.code(),
            feeling: analysis.feeling,
            at: self.desk.clock.now(),
        }
    }
}
