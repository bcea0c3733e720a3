//! What a shopper wants, by word rules: the answer until a trained model is loaded. The lists are
//! written for shops, in English and Chinese; how the result is used is `analysis.rs`.

use rapport_text::normalise;

/// A reason for writing to a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intent {
    /// Where is my order.
    OrderStatus,
    /// It should have been here by now.
    DeliveryLate,
    /// Money back.
    Refund,
    /// Another size, colour or a repair instead.
    Exchange,
    /// Unhappy, and wants it known.
    Complaint,
    /// A question about goods or stock.
    ProductQuestion,
    /// Paying, invoices, charges.
    Payment,
    /// Log-in, password, personal details.
    Account,
    /// Happy, and says so.
    Praise,
    /// None of these.
    Other,
}

impl Intent {
    /// Every intent; ties of the rules go to the first.
    pub const ALL: [Self; 10] = [
        Self::OrderStatus,
        Self::DeliveryLate,
        Self::Refund,
        Self::Exchange,
        Self::Complaint,
        Self::ProductQuestion,
        Self::Payment,
        Self::Account,
        Self::Praise,
        Self::Other,
    ];

    /// Returns the name that labels, skills and reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OrderStatus => "order_status",
            Self::DeliveryLate => "delivery_late",
            Self::Refund => "refund",
            Self::Exchange => "exchange",
            Self::Complaint => "complaint",
            Self::ProductQuestion => "product_question",
            Self::Payment => "payment",
            Self::Account => "account",
            Self::Praise => "praise",
            Self::Other => "other",
        }
    }

    /// Returns the intent of a name, `None` if a model was trained with labels of its own.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|intent| intent.name() == name)
    }
}

/// Weight of saying nothing that a rule knows: one weak phrase ties with it, and wins by order.
const OTHER_WEIGHT: f64 = 1.0;

/// An intent, the weight of each of its phrases, and the phrases. English ones match whole words,
/// or the beginning of a word where they end in `*`; Chinese ones match anywhere.
type Rule = (Intent, f64, &'static [&'static str]);

const RULES: &[Rule] = &[
    (
        Intent::OrderStatus,
        1.0,
        &[
            "order", "parcel", "package", "shipment", "物流", "快递", "订单", "包裹",
        ],
    ),
    (
        Intent::OrderStatus,
        2.0,
        &[
            "where is my",
            "where's my",
            "track*",
            "order status",
            "status of my",
            "has it shipped",
            "been shipped",
            "been sent",
            "when will it arrive",
            "when will my",
            "到哪了",
            "到哪里了",
            "什么时候发货",
            "什么时候到",
            "发货了吗",
            "查一下",
            "物流信息",
            "单号",
        ],
    ),
    (
        Intent::DeliveryLate,
        2.5,
        &[
            "late",
            "delay*",
            "still waiting",
            "still not arrived",
            "not arrived",
            "hasn't arrived",
            "haven't received",
            "not received",
            "never arrived",
            "overdue",
            "been waiting",
            "supposed to arrive",
            "还没到",
            "还没收到",
            "没收到",
            "没有收到",
            "还不发货",
            "一直没发货",
            "太慢",
            "延误",
            "超时",
            "迟迟",
            "好几天了",
            "等了",
            "催",
        ],
    ),
    (
        Intent::Refund,
        3.0,
        &[
            "refund*",
            "money back",
            "return it",
            "return this",
            "return the",
            "return my",
            "want to return",
            "send it back",
            "reimburse*",
            "退款",
            "退货",
            "退钱",
            "退回",
            "退了",
            "返还",
            "把钱退",
            "要退",
        ],
    ),
    (
        Intent::Exchange,
        3.0,
        &[
            "exchange",
            "swap",
            "replace*",
            "different size",
            "another size",
            "wrong size",
            "different colour",
            "different color",
            "repair*",
            "warranty",
            "换货",
            "换一",
            "更换",
            "换个",
            "尺码不对",
            "换大",
            "换小",
            "维修",
            "保修",
            "返修",
            "能换",
            "想换",
        ],
    ),
    (
        Intent::Complaint,
        2.0,
        &[
            "complain*",
            "unacceptable",
            "terrible service",
            "awful service",
            "worst",
            "manager",
            "supervisor",
            "scam*",
            "fraud*",
            "lawyer",
            "trading standards",
            "report you",
            "rude",
            "disgrace*",
            "ridiculous",
            "fake",
            "cheat*",
            "投诉",
            "差评",
            "举报",
            "曝光",
            "消协",
            "12315",
            "骗子",
            "欺骗",
            "骗人",
            "假货",
            "态度差",
            "态度恶劣",
            "垃圾",
            "太过分",
            "维权",
            "坑人",
            "找你们领导",
        ],
    ),
    (
        Intent::ProductQuestion,
        2.0,
        &[
            "in stock",
            "back in stock",
            "available",
            "what size",
            "which size",
            "does it",
            "do you have",
            "do you sell",
            "is this",
            "is it waterproof",
            "material",
            "made of",
            "how big",
            "dimensions",
            "compatible",
            "how do i use",
            "ingredients",
            "有货",
            "有没有",
            "什么材质",
            "材质",
            "多大",
            "什么尺码",
            "尺寸",
            "怎么用",
            "适合",
            "区别",
            "保质期",
            "什么颜色",
            "会不会掉色",
            "防水",
            "正品吗",
        ],
    ),
    (
        Intent::Payment,
        2.5,
        &[
            "pay",
            "paid",
            "payment*",
            "charged",
            "charge",
            "invoice",
            "receipt",
            "credit card",
            "debit card",
            "card declined",
            "declined",
            "coupon",
            "voucher",
            "discount code",
            "price",
            "twice",
            "付款",
            "支付",
            "扣款",
            "扣了",
            "重复扣",
            "发票",
            "优惠券",
            "红包",
            "信用卡",
            "银行卡",
            "价格",
            "多少钱",
            "花呗",
            "微信支付",
            "支付宝",
        ],
    ),
    (
        Intent::Account,
        2.5,
        &[
            "account",
            "log in",
            "login",
            "log into",
            "sign in",
            "password",
            "username",
            "verification code",
            "change my email",
            "change my address",
            "change my phone",
            "delete my data",
            "unsubscribe",
            "hacked",
            "账号",
            "账户",
            "帐号",
            "登录",
            "登陆",
            "密码",
            "验证码",
            "注册",
            "注销",
            "修改地址",
            "改地址",
            "手机号",
            "绑定",
            "盗号",
        ],
    ),
    (
        Intent::Praise,
        2.0,
        &[
            "thank you",
            "thanks",
            "love it",
            "love the",
            "love this",
            "great service",
            "amazing",
            "excellent",
            "perfect",
            "well done",
            "fantastic",
            "wonderful",
            "awesome",
            "so happy",
            "谢谢",
            "感谢",
            "满意",
            "好评",
            "点赞",
            "太好了",
            "太棒",
            "很棒",
            "喜欢",
            "给力",
            "不错",
        ],
    ),
];

/// Returns the likeliest intent, its share of the evidence in `(0, 1]`, and the phrases that spoke
/// for it, in the order of the rules.
///
/// Cost: `O(phrases · n)`, tens of microseconds for a short text.
pub(crate) fn intent_by_rules(text: &str) -> (Intent, f64, Vec<&'static str>) {
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
        for &phrase in phrases {
            if says(&normal, &spaced, phrase) {
                sums[intent as usize] += weight;
                found.push((intent, phrase));
            }
        }
    }
    // Naming an order is only what the sentence is about, unless nothing else is asked for.
    let mut best = Intent::OrderStatus;
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
    (best, sums[best as usize] / total, phrases)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '\''
}

fn says(normal: &str, spaced: &str, phrase: &str) -> bool {
    if !phrase.is_ascii() {
        return normal.contains(phrase);
    }
    match phrase.strip_suffix('*') {
        Some(beginning) => spaced.contains(&format!(" {beginning}")),
        None => spaced.contains(&format!(" {phrase} ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Intent, intent_by_rules};

    #[test]
    fn rules_read_messages_as_people_do() {
        for (text, expected) in [
            ("Where is my order?", Intent::OrderStatus),
            ("can I track my parcel", Intent::OrderStatus),
            ("我的快递到哪里了", Intent::OrderStatus),
            ("My parcel is late, still waiting", Intent::DeliveryLate),
            ("都一周了还没收到货", Intent::DeliveryLate),
            ("I want my money back, refund me", Intent::Refund),
            ("我要退款", Intent::Refund),
            ("Can I exchange it for a different size", Intent::Exchange),
            ("想换货,尺码不对", Intent::Exchange),
            ("I want to complain to your manager", Intent::Complaint),
            ("你们就是骗子,我要投诉到12315", Intent::Complaint),
            (
                "Is this in stock? what size should I get",
                Intent::ProductQuestion,
            ),
            ("这件衣服什么材质,有货吗", Intent::ProductQuestion),
            ("I was charged twice on my credit card", Intent::Payment),
            ("重复扣款了,怎么开发票", Intent::Payment),
            ("I forgot my password and cannot log in", Intent::Account),
            ("账号登录不了,收不到验证码", Intent::Account),
            ("Thank you, great service!", Intent::Praise),
            ("非常满意,谢谢", Intent::Praise),
            ("hello there", Intent::Other),
            ("你好", Intent::Other),
            ("", Intent::Other),
        ] {
            let (intent, probability, phrases) = intent_by_rules(text);
            assert_eq!(intent, expected, "{text:?}: {phrases:?}");
            assert!(probability > 0.0 && probability <= 1.0);
        }
    }

    #[test]
    fn probability_is_the_share_of_the_evidence() {
        // One refund phrase weighs 3 against 1 for nothing.
        let (_, probability, phrases) = intent_by_rules("refund");
        assert!((probability - 0.75).abs() < 1e-12);
        assert_eq!(phrases, ["refund*"]);
    }

    #[test]
    fn english_phrases_match_whole_words() {
        assert_eq!(intent_by_rules("my chocolate").0, Intent::Other); // not "late"
        assert_eq!(intent_by_rules("refunded").0, Intent::Refund); // "refund*"
    }
}
