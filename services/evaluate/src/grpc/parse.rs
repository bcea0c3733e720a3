//! Parsing that several reports share.

use rapport_api::evaluate::v1 as pb;
use rapport_rpc::Fields;
use rapport_types::UnixMillis;

use crate::report::Days;

/// Parses a period, up to `now` where its end is open; absent means all days.
pub(super) fn period(fields: &mut Fields, period: Option<pb::Period>, now: UnixMillis) -> Days {
    let Some(period) = period else {
        return Days::ALL;
    };
    let to = match period.to_ms {
        0 => now,
        to => UnixMillis(to),
    };
    if to.0 <= period.from_ms {
        fields.refuse("period.to_ms", "must be after from_ms");
    }
    Days::touched_by(UnixMillis(period.from_ms), to)
}
