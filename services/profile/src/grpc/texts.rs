//! Whether the texts of an event's payload are of a length that readers may count on. The payload stays
//! the bytes that came: it is walked, not decoded.

use prost::bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use rapport_api::policy::TextField;

/// Characters of one text of a payload: ids, categories, references, names of models. What people write
/// travels in personal parts, which have a maximum of their own.
pub(super) const TEXT_CHARS_MAX: usize = 1_024;

/// Returns the names of `texts` that are too long in `payload`, in its order. Bytes that are no message end
/// the walk: who reads the event finds that out. Costs nothing where the payload is short.
pub(super) fn too_long(texts: &'static [TextField], payload: &[u8]) -> Vec<&'static str> {
    let mut found = Vec::new();
    if payload.len() > TEXT_CHARS_MAX {
        let texts: Vec<&TextField> = texts.iter().collect();
        // `None` is the end of what could be walked.
        let _ = walk(&texts, 0, payload, &mut found);
    }
    found.dedup();
    found
}

fn walk(
    texts: &[&'static TextField],
    depth: usize,
    mut bytes: &[u8],
    found: &mut Vec<&'static str>,
) -> Option<()> {
    while bytes.has_remaining() {
        let (number, wire) = decode_key(&mut bytes).ok()?;
        if wire != WireType::LengthDelimited {
            skip_field(wire, number, &mut bytes, DecodeContext::default()).ok()?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
        let (value, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        if length <= TEXT_CHARS_MAX {
            continue;
        }
        let here: Vec<&'static TextField> = texts
            .iter()
            .copied()
            .filter(|text| text.path[depth] == number)
            .collect();
        match here.as_slice() {
            [] => {}
            [text] if text.path.len() == depth + 1 => {
                let characters = std::str::from_utf8(value).map_or(length, |it| it.chars().count());
                if characters > TEXT_CHARS_MAX {
                    found.push(text.name);
                }
            }
            inside => walk(inside, depth + 1, value, found)?,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use rapport_api::event::v1::{OrderLine, Purchase, ViewItem};
    use rapport_api::policy;

    use super::*;

    fn check(event: &str, payload: &[u8], expected: &[&str]) {
        let texts = policy::event(event).unwrap().texts;
        assert_eq!(too_long(texts, payload), expected);
    }

    fn view(category: String) -> Vec<u8> {
        let item_id = "i".repeat(TEXT_CHARS_MAX + 1);
        let view = ViewItem {
            item_id,
            category,
            ..ViewItem::default()
        };
        view.encode_to_vec()
    }

    #[test]
    fn characters_are_counted_and_every_bad_field_named() {
        let most = "茶".repeat(TEXT_CHARS_MAX);
        check("view_item", &view(most.clone()), &["item_id"]);
        check("view_item", &view(most + "!"), &["item_id", "category"]);
    }

    #[test]
    fn texts_inside_a_message_are_found() {
        let line = |item_id: &str| OrderLine {
            item_id: item_id.to_owned(),
            ..OrderLine::default()
        };
        let purchase = Purchase {
            lines: vec![line("i-1"), line(&"i".repeat(60_000))],
            ..Purchase::default()
        };
        check("purchase", &purchase.encode_to_vec(), &["lines.item_id"]);
    }

    #[test]
    fn what_is_no_message_is_not_judged() {
        let damaged = view(String::new());
        check("view_item", &damaged[..TEXT_CHARS_MAX + 2], &[]);
        check("view_item", &[0xff; 2 * TEXT_CHARS_MAX], &[]);
    }
}
