//! The phrases of each intent and of haste. How they are matched is `intent.rs` and `analysis.rs`.

use super::Intent;

/// An intent, the weight of each of its phrases, and the phrases, parted by `|`. English ones match
/// whole words, or the beginning of a word where they end in `*`; Chinese ones match anywhere.
pub(super) type Rule = (Intent, f64, &'static str);

/// Said shortly before a phrase, these turn it down.
pub(super) const REFUSALS: &[&str] = &[
    "don't want",
    "dont want",
    "do not want",
    "no need",
    "not asking for",
    "rather than",
    "instead of",
    "不要",
    "不想",
    "不用",
    "不需要",
    "不是要",
];

pub(super) const RULES: &[Rule] = &[
    // Naming an order is only what the message is about if nothing else is asked for.
    (
        Intent::Delivery,
        1.0,
        "order|parcel|package|shipment|courier|delivery|物流|快递|订单|包裹|收货|送货|配送",
    ),
    (
        Intent::Delivery,
        2.0,
        "where is my|where's my|track*|order status|status of my|shipped|been sent|dispatch*|\
         when will it arrive|when will my|deliver*|到哪了|到哪里了|到哪儿了|什么时候发货|什么时候到|\
         发货了吗|什么时候能到|物流信息|单号|派送|签收|发货",
    ),
    (
        Intent::Delivery,
        2.5,
        "late|delay*|still waiting|still not arrived|not arrived|not here yet|hasn't arrived|\
         haven't received|not received|never arrived|never came|overdue|been waiting|\
         supposed to arrive|lost in the post|stuck|还没到|还没收到|没收到|没有收到|还不发货|一直没发货|\
         太慢|延误|超时|迟迟|好几天了|等了|催|不动了|丢件|没更新|卡在",
    ),
    (
        Intent::Refund,
        3.0,
        "refund*|money back|return it|return this|return the|return my|want to return|send it back|\
         reimburse*|退款|退货|退钱|退回|退了|返还|把钱退|要退|想退|能退",
    ),
    (
        Intent::Exchange,
        3.0,
        "exchange*|swap*|replace*|different size|another size|wrong size|bigger size|smaller size|\
         different colour|different color|repair*|warranty|size up|size down|换货|换一|更换|换个|\
         尺码不对|换大|换小|换成|维修|保修|返修|能换|想换|发错",
    ),
    (
        Intent::Product,
        2.0,
        "in stock|back in stock|available|what size|which size|does it|do you have|do you sell|is this|\
         is it waterproof|waterproof|material|made of|how big|dimensions|compatible|how do i use|\
         ingredients|how long does|what colours|what colors|suitable|fit|有货|有没有|什么材质|材质|多大|\
         什么尺码|尺寸|怎么用|适合|区别|保质期|什么颜色|会不会掉色|防水|正品吗|多重|成分|能用吗|参数|补货",
    ),
    (
        Intent::Payment,
        2.5,
        "pay|paid|paying|payment*|charged|charge|invoice|receipt|credit card|debit card|card declined|\
         declined|bank|twice|checkout|付款|支付|扣款|扣了|重复扣|发票|信用卡|银行卡|花呗|微信支付|支付宝|\
         付不了|扣两次|结账|分期",
    ),
    (
        Intent::Coupon,
        3.0,
        "coupon*|voucher*|discount*|promo*|promo code|gift card|points|sale price|price match|优惠券|\
         优惠|红包|满减|折扣|券|促销|活动价|积分|领不到|打折|差价",
    ),
    (
        Intent::Account,
        2.5,
        "account|log in|login|log into|sign in|signing in|password|username|verification code|\
         change my email|change my address|change my phone|new address|membership|member|hacked|\
         账号|账户|帐号|登录|登陆|密码|验证码|注册|修改地址|改地址|换手机号|手机号|绑定|盗号|会员",
    ),
    (
        Intent::Complaint,
        2.5,
        "complain*|complaint|unacceptable|terrible service|awful service|bad service|worst|manager|\
         supervisor|scam*|fraud*|lawyer|trading standards|report you|rude|disgrace*|ridiculous|fake|\
         cheat*|nobody answers|ignored|投诉|差评|举报|曝光|消协|12315|骗子|欺骗|骗人|假货|态度差|态度恶劣|\
         态度|垃圾|太过分|维权|坑人|找你们领导|敷衍|没人理|推卸",
    ),
    (
        Intent::Praise,
        2.0,
        "thank you|thanks|love it|love the|love this|great service|amazing|excellent|perfect|well done|\
         fantastic|wonderful|awesome|so happy|very happy|great job|recommend you|helpful|谢谢|感谢|满意|\
         好评|点赞|太好了|太棒|很棒|喜欢|给力|不错|赞|贴心|会再来|推荐给",
    ),
    (
        Intent::Privacy,
        3.5,
        "my data|personal data|personal information|privacy|gdpr|unsubscribe|stop sending|stop the ads|\
         stop emailing|no more ads|delete my account|close my account|opt out|withdraw my consent|\
         copy of my data|个人信息|隐私|我的数据|数据删|删除我|注销|退订|别再推送|推送广告|骚扰|泄露|导出我|\
         停止推送|个性化广告|不要再发|撤回同意|授权",
    ),
];

/// Words of haste. Chinese ones match anywhere, English ones between spaces or signs.
pub(crate) const HASTE: &[&str] = &[
    "urgent",
    "urgently",
    "asap",
    "immediately",
    "right now",
    "right away",
    "today",
    "tonight",
    "tomorrow",
    "emergency",
    "at once",
    "deadline",
    "hurry",
    "as soon as possible",
    "straight away",
    "马上",
    "立刻",
    "立即",
    "尽快",
    "赶紧",
    "赶快",
    "着急",
    "急用",
    "加急",
    "今天",
    "明天就",
    "急急",
    "紧急",
    "火速",
    "现在就",
];
