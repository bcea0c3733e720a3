//! What a shopper wants, by word rules: the answer until a trained model is loaded. The lists are
//! written for shops, in English and Chinese; how the result is used is `analysis.rs`.

mod words;

use rapport_text::normalise;
pub(crate) use words::HASTE;
use words::{REFUSALS, RULES};

/// A reason for writing to a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intent {
    /// Where is my parcel, and why is it late.
    Delivery,
    /// Money back.
    Refund,
    /// Another size, colour or a repair instead.
    Exchange,
    /// A question about goods or stock.
    Product,
    /// Paying, invoices, charges.
    Payment,
    /// A coupon or promotion.
    Coupon,
    /// Log-in, password, address, membership.
    Account,
    /// Unhappy, and wants it known.
    Complaint,
    /// Happy, and says so.
    Praise,
    /// My data: stop ads, delete, export.
    Privacy,
    /// None of these.
    Other,
}

impl Intent {
    /// Every intent; ties of the rules go to the first.
    pub const ALL: [Self; 11] = [
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
        Self::Other,
    ];

    /// Returns the name that labels, skills and reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
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
            Self::Other => "other",
        }
    }

    /// Returns the intent of a name, `None` if a model was trained with labels of its own.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|intent| intent.name() == name)
    }
}

/// Weight of saying nothing that a rule knows: a weak phrase ties with it, and wins by order.
const OTHER_WEIGHT: f64 = 1.0;
/// How far before a phrase a refusal still speaks of it, in bytes: "do not want to pay for a".
const REFUSAL_REACH_BYTES: usize = 16;

/// What the rules found.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) intent: Intent,
    /// Share of the evidence, in `(0, 1]`.
    pub(crate) probability: f64,
    /// The phrases that spoke for it, in the order of the rules.
    pub(crate) phrases: Vec<&'static str>,
}

/// Returns the likeliest intent. A phrase that is refused ("I do not want a refund") does not count.
///
/// Cost: `O(phrases · n)`, tens of microseconds for a short text.
pub(crate) fn intent_by_rules(text: &str) -> Found {
    let normal = normalise(text);
    // Signs become spaces, so that a phrase between spaces is made of whole words.
    let spaced: String = normal
        .chars()
        .map(|c| if is_word(c) { c } else { ' ' })
        .collect();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let spaced = format!(" {} ", words.join(" "));
    let mut sums = [0.0; Intent::ALL.len()];
    sums[Intent::Other as usize] = OTHER_WEIGHT;
    let mut found: Vec<(Intent, &'static str)> = Vec::new();
    for &(intent, weight, phrases) in RULES {
        for phrase in phrases
            .split('|')
            .filter(|phrase| says(&normal, &spaced, phrase))
        {
            sums[intent as usize] += weight;
            found.push((intent, phrase.trim_end_matches('*')));
        }
    }
    let mut best = Intent::Delivery;
    for intent in Intent::ALL {
        if sums[intent as usize] > sums[best as usize] {
            best = intent;
        }
    }
    let total: f64 = sums.iter().sum();
    let phrases = found
        .into_iter()
        .filter(|(of, _)| *of == best)
        .map(|(_, phrase)| phrase)
        .collect();
    Found {
        intent: best,
        probability: sums[best as usize] / total,
        phrases,
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '\''
}

/// Returns whether the text says a phrase at least once without refusing it.
fn says(normal: &str, spaced: &str, phrase: &str) -> bool {
    let wanted = |text: &str, phrase: &str| {
        text.match_indices(phrase).any(|(at, _)| {
            let from = text.floor_char_boundary(at.saturating_sub(REFUSAL_REACH_BYTES));
            let before = &text[from..at];
            // "不要退" refuses what "要退" would ask for.
            !before.ends_with('不') && !REFUSALS.iter().any(|refusal| before.contains(refusal))
        })
    };
    if !phrase.is_ascii() {
        return wanted(normal, phrase);
    }
    match phrase.strip_suffix('*') {
        Some(beginning) => wanted(spaced, &format!(" {beginning}")),
        None => wanted(spaced, &format!(" {phrase} ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, Intent, intent_by_rules};

    #[test]
    fn rules_read_messages_as_people_do() {
        for (text, expected) in [
            ("Where is my order?", Intent::Delivery),
            ("can I track my parcel", Intent::Delivery),
            ("我的快递到哪里了", Intent::Delivery),
            ("My parcel is late, still waiting", Intent::Delivery),
            ("都一周了还没收到货", Intent::Delivery),
            ("I want my money back, refund me", Intent::Refund),
            ("我要退款", Intent::Refund),
            ("Can I exchange it for a different size", Intent::Exchange),
            ("想换货,尺码不对", Intent::Exchange),
            ("I want to complain to your manager", Intent::Complaint),
            ("你们就是骗子,我要投诉到12315", Intent::Complaint),
            ("Is this in stock? what size should I get", Intent::Product),
            ("这件衣服什么材质,有货吗", Intent::Product),
            ("I was charged twice on my credit card", Intent::Payment),
            ("重复扣款了,怎么开发票", Intent::Payment),
            ("My coupon code does not work", Intent::Coupon),
            ("优惠券用不了,满减没有生效", Intent::Coupon),
            ("I forgot my password and cannot log in", Intent::Account),
            ("账号登录不了,收不到验证码", Intent::Account),
            ("Thank you, great service!", Intent::Praise),
            ("非常满意,谢谢", Intent::Praise),
            (
                "Please delete my data and stop sending me ads",
                Intent::Privacy,
            ),
            ("请删除我的个人信息,不要再推送广告", Intent::Privacy),
            ("hello there", Intent::Other),
            ("你好", Intent::Other),
            ("", Intent::Other),
        ] {
            let Found {
                intent,
                probability,
                phrases,
            } = intent_by_rules(text);
            assert_eq!(intent, expected, "{text:?}: {phrases:?}");
            assert!(probability > 0.0 && probability <= 1.0);
        }
    }

    #[test]
    fn refused_phrases_do_not_count() {
        for (text, expected) in [
            (
                "I don't want a refund, I want to exchange it",
                Intent::Exchange,
            ),
            ("I do not want to exchange it. Refund me.", Intent::Refund),
            ("我不要退款,我要换货", Intent::Exchange),
            ("不想换货,直接退款", Intent::Refund),
        ] {
            assert_eq!(intent_by_rules(text).intent, expected, "{text:?}");
        }
    }

    #[test]
    fn probability_is_the_share_of_the_evidence() {
        // One refund phrase weighs 3 against 1 for nothing.
        let found = intent_by_rules("refund");
        assert!((found.probability - 0.75).abs() < 1e-12);
        assert_eq!(found.phrases, ["refund"]);
    }

    #[test]
    fn english_phrases_match_whole_words() {
        assert_eq!(intent_by_rules("my chocolate").intent, Intent::Other); // not "late"
        assert_eq!(intent_by_rules("refunded").intent, Intent::Refund); // "refund*"
    }

    #[test]
    fn names_are_read_back() {
        for intent in Intent::ALL {
            assert_eq!(Intent::from_name(intent.name()), Some(intent));
        }
        assert_eq!(Intent::from_name("gift_wrap"), None);
    }
}
