//! What shoppers write to customer service, with the intent and emotion they truly have.

mod en;
mod zh;

use crate::shopper::Language;

/// What a message is about. The names are those of care's intents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Intent {
    /// Where is my parcel.
    Delivery,
    /// I want my money back.
    Refund,
    /// I want another size or a working one.
    Exchange,
    /// A question about an item.
    Product,
    /// Paying does not work, or worked twice.
    Payment,
    /// A coupon or promotion.
    Coupon,
    /// Signing in, address, membership.
    Account,
    /// Bad service.
    Complaint,
    /// Good service.
    Praise,
    /// My data: stop ads, delete, export.
    Privacy,
}

impl Intent {
    /// Every intent.
    pub const ALL: [Self; 10] = [
        Self::Delivery,
        Self::Refund,
        Self::Exchange,
        Self::Product,
        Self::Payment,
        Self::Coupon,
        Self::Account,
        Self::Complaint,
        Self::Praise,
        Self::Privacy,
    ];

    /// Returns the lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Refund => "refund",
            Self::Exchange => "exchange",
            Self::Product => "product",
            Self::Payment => "payment",
            Self::Coupon => "coupon",
            Self::Account => "account",
            Self::Complaint => "complaint",
            Self::Praise => "praise",
            Self::Privacy => "privacy",
        }
    }
}

/// What the writer feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Emotion {
    /// Nothing in particular.
    Neutral,
    /// Pleased.
    Joy,
    /// Angry.
    Anger,
    /// Disappointed.
    Sadness,
    /// Worried.
    Fear,
}

impl Emotion {
    /// Every emotion.
    pub const ALL: [Self; 5] = [
        Self::Neutral,
        Self::Joy,
        Self::Anger,
        Self::Sadness,
        Self::Fear,
    ];

    /// Returns the lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Joy => "joy",
            Self::Anger => "anger",
            Self::Sadness => "sadness",
            Self::Fear => "fear",
        }
    }
}

/// One text with its truth. `{item}` and `{order}` stand for a title and an order id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageTemplate {
    /// What it is about.
    pub intent: Intent,
    /// What the writer feels.
    pub emotion: Emotion,
    /// The text.
    pub text: &'static str,
}

impl MessageTemplate {
    /// Returns the text as one shopper would send it.
    #[must_use]
    pub fn filled(&self, item: &str, order: &str) -> String {
        self.text.replace("{item}", item).replace("{order}", order)
    }
}

/// Returns every text of a language, in a fixed order.
#[must_use]
pub fn message_templates(language: Language) -> &'static [MessageTemplate] {
    match language {
        Language::Chinese => zh::TEXTS,
        Language::English => en::TEXTS,
    }
}

/// Short for the tables of texts.
const fn text(intent: Intent, emotion: Emotion, text: &'static str) -> MessageTemplate {
    MessageTemplate {
        intent,
        emotion,
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn both_languages_have_enough_distinct_texts_of_every_kind() {
        for language in [Language::Chinese, Language::English] {
            let texts = message_templates(language);
            let distinct: BTreeSet<_> = texts.iter().map(|entry| entry.text).collect();
            assert_eq!(distinct.len(), texts.len());
            assert!(texts.len() >= 60, "{}", texts.len());
            for intent in Intent::ALL {
                assert!(
                    texts.iter().filter(|entry| entry.intent == intent).count() >= 6,
                    "{intent:?}"
                );
            }
            for emotion in Emotion::ALL {
                assert!(
                    texts
                        .iter()
                        .filter(|entry| entry.emotion == emotion)
                        .count()
                        >= 5,
                    "{emotion:?}"
                );
            }
        }
    }

    #[test]
    fn filling_leaves_no_hole() {
        for template in [Language::Chinese, Language::English]
            .into_iter()
            .flat_map(message_templates)
        {
            let filled = template.filled("Tea", "A1");
            assert!(!filled.contains('{') && !filled.contains('}'), "{filled}");
        }
    }
}
