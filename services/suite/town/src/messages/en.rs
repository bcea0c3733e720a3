//! Messages in English.

use super::Emotion::{Anger, Fear, Joy, Neutral, Sadness};
use super::Intent::{
    Account, Complaint, Coupon, Delivery, Exchange, Payment, Praise, Privacy, Product, Refund,
};
use super::{MessageTemplate, text};

/// Every text.
pub(super) const TEXTS: &[MessageTemplate] = &[
    text(Delivery, Neutral, "When will order {order} be shipped?"),
    text(
        Delivery,
        Neutral,
        "Could you tell me where my parcel is? The number is {order}.",
    ),
    text(
        Delivery,
        Anger,
        "It has been a week and nothing has arrived. Did you even send it?!",
    ),
    text(
        Delivery,
        Anger,
        "Tracking stuck for three days. This is ridiculous, sort it out now.",
    ),
    text(
        Delivery,
        Fear,
        "It says delivered but there is no parcel. I'm worried it was stolen.",
    ),
    text(
        Delivery,
        Sadness,
        "The {item} was a birthday present and it still isn't here. So sad.",
    ),
    text(
        Delivery,
        Neutral,
        "Can the courier bring it to my office instead?",
    ),
    text(
        Delivery,
        Fear,
        "I leave on Monday and I'm afraid it won't arrive in time.",
    ),
    text(
        Refund,
        Neutral,
        "I would like a refund for order {order}, please.",
    ),
    text(
        Refund,
        Anger,
        "Ten days and still no refund. Are you stealing my money?!",
    ),
    text(
        Refund,
        Anger,
        "Terrible quality. Give me my money back right now!",
    ),
    text(
        Refund,
        Neutral,
        "How many days until the refund shows on my card?",
    ),
    text(
        Refund,
        Fear,
        "Will I ever see that money again? I'm getting anxious.",
    ),
    text(
        Refund,
        Sadness,
        "The {item} looks nothing like the photo. I'm disappointed and want a refund.",
    ),
    text(
        Refund,
        Neutral,
        "I ordered one too many by mistake, please cancel and refund it.",
    ),
    text(
        Exchange,
        Neutral,
        "The {item} is too small. Can I swap it for a larger size?",
    ),
    text(
        Exchange,
        Neutral,
        "You sent the wrong colour, I would like the blue one.",
    ),
    text(
        Exchange,
        Anger,
        "It arrived broken. I demand a replacement, this is unacceptable!",
    ),
    text(
        Exchange,
        Sadness,
        "It broke after one use, I'm quite upset. Can you replace it?",
    ),
    text(
        Exchange,
        Neutral,
        "Who pays the postage when I exchange something?",
    ),
    text(
        Exchange,
        Fear,
        "I already opened the box, I hope I can still exchange it?",
    ),
    text(
        Exchange,
        Anger,
        "Second replacement and it is faulty again! Do you check anything at all?",
    ),
    text(
        Product,
        Neutral,
        "Is the {item} in stock, and what is it made of?",
    ),
    text(
        Product,
        Neutral,
        "Is the {item} suitable for sensitive skin?",
    ),
    text(
        Product,
        Neutral,
        "Does this model support fast charging? How big is the battery?",
    ),
    text(
        Product,
        Joy,
        "I love the {item}! Does it come in other colours?",
    ),
    text(Product, Neutral, "What is the best-before date?"),
    text(
        Product,
        Fear,
        "We have a baby at home. Is the {item} safe? I worry about what is in it.",
    ),
    text(
        Product,
        Neutral,
        "I am 170 cm and 60 kg, which size should I take?",
    ),
    text(Payment, Neutral, "Can I pay by credit card?"),
    text(
        Payment,
        Fear,
        "The page froze after I paid. I'm scared that I will be charged twice.",
    ),
    text(
        Payment,
        Anger,
        "You charged me twice! Return the extra payment immediately.",
    ),
    text(
        Payment,
        Neutral,
        "My payment failed, it says the card is not supported. What now?",
    ),
    text(Payment, Neutral, "May I have an invoice for order {order}?"),
    text(
        Payment,
        Anger,
        "Checkout keeps failing, I wasted an hour on your useless system!",
    ),
    text(
        Payment,
        Sadness,
        "The payment timed out and the last one is gone. What a pity.",
    ),
    text(Coupon, Neutral, "How do I use a coupon?"),
    text(
        Coupon,
        Neutral,
        "Can the voucher be combined with the sale?",
    ),
    text(
        Coupon,
        Anger,
        "The voucher does not work at all. That is cheating your customers!",
    ),
    text(
        Coupon,
        Joy,
        "Thanks for the coupon, it made my day! When is the next sale?",
    ),
    text(
        Coupon,
        Sadness,
        "The price dropped the day after I bought it. I feel let down. Any discount?",
    ),
    text(Coupon, Neutral, "When does my discount code expire?"),
    text(
        Coupon,
        Fear,
        "My voucher ends tomorrow and I'm afraid I can't use it. Could you extend it?",
    ),
    text(Account, Neutral, "How do I change my delivery address?"),
    text(
        Account,
        Neutral,
        "I have a new phone number. How do I add it to my account?",
    ),
    text(
        Account,
        Fear,
        "Someone signed in from another city. Has my account been hacked?",
    ),
    text(
        Account,
        Anger,
        "The code never comes and I can't log in. So annoying!",
    ),
    text(Account, Neutral, "Where can I see my membership points?"),
    text(
        Account,
        Sadness,
        "My member level is gone after three years. That makes me sad.",
    ),
    text(
        Account,
        Neutral,
        "I forgot my password, how can I reset it?",
    ),
    text(
        Complaint,
        Anger,
        "Nobody answers, and then your agent was rude. I want to make a complaint!",
    ),
    text(
        Complaint,
        Anger,
        "This is the third time I contact you and nothing is fixed. I'm furious.",
    ),
    text(
        Complaint,
        Anger,
        "You sell fakes and deny it. I will report you to the authorities.",
    ),
    text(
        Complaint,
        Sadness,
        "I always trusted this shop. This time you really let me down.",
    ),
    text(
        Complaint,
        Anger,
        "Your bot is useless. Get me a human being, now!",
    ),
    text(
        Complaint,
        Sadness,
        "A loyal customer for years, and treated like this. It hurts.",
    ),
    text(
        Complaint,
        Neutral,
        "I would like to report how the courier behaved.",
    ),
    text(
        Praise,
        Joy,
        "The {item} is wonderful, I am very happy with it!",
    ),
    text(
        Praise,
        Joy,
        "Your agent was so patient and solved it at once. Thank you!",
    ),
    text(Praise, Joy, "Arrived the very next day. Great service!"),
    text(
        Praise,
        Joy,
        "Beautifully packed, my friend loved the gift. I will be back.",
    ),
    text(
        Praise,
        Joy,
        "Third time I buy it and the quality is as good as ever.",
    ),
    text(
        Praise,
        Joy,
        "Everything you suggest is just what I was looking for. Lovely!",
    ),
    text(
        Praise,
        Neutral,
        "Got the parcel, all in order. Thanks to support.",
    ),
    text(
        Privacy,
        Neutral,
        "How do I turn off personalised recommendations?",
    ),
    text(
        Privacy,
        Anger,
        "Why do you keep sending me ads? I never agreed to that!",
    ),
    text(
        Privacy,
        Neutral,
        "Please close my account and delete my personal data.",
    ),
    text(
        Privacy,
        Fear,
        "Was my phone number leaked? I get strange calls and it frightens me.",
    ),
    text(
        Privacy,
        Neutral,
        "Can you send me a copy of the data you hold about me?",
    ),
    text(
        Privacy,
        Anger,
        "You gave my details away without permission. Outrageous!",
    ),
];
