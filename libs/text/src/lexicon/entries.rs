//! The words of the built-in lexicon, written for shop conversations. Only lists live here; how
//! they are read is `lexicon.rs`.

use super::Emotion::{self, Anger, Fear, Joy, Sadness, Surprise};

/// An emotion, how strongly its words carry it (1 to 3), and the words. A phrase writes its
/// spaces as `_`.
pub(super) type Entry = (Emotion, u8, &'static str);

pub(super) const ENGLISH: &[Entry] = &[
    (
        Joy,
        1,
        "good nice fine ok okay glad like liked likes easy smooth helpful helped fast quick \
        quickly useful comfortable clear polite friendly fair better thanks thank ty cheers welcome \
        pleased satisfied resolved solved fixed works worked appreciate appreciated cute pretty fresh",
    ),
    (
        Joy,
        2,
        "great happy happily lovely love loved loves awesome brilliant fantastic superb wonderful \
        delighted impressed enjoy enjoyed recommend recommended reliable beautiful excellent grateful \
        well_done good_job thank_you thanks_a_lot many_thanks spot_on yay bravo terrific stylish",
    ),
    (
        Joy,
        3,
        "amazing perfect outstanding exceptional incredible flawless best favourite favorite \
        thrilled ecstatic five_stars love_it over_the_moon",
    ),
    (
        Anger,
        1,
        "annoying annoyed bad wrong rude slow late delay delayed delays issue problem problems \
        faulty poor poorly broken broke damaged defective dirty overpriced misleading ignored ignore \
        unhelpful useless fail failed fails wasted waste refused complain complaint complaints mess \
        unreasonable inconvenient incompetent cheap_looking no_reply no_response not_working",
    ),
    (
        Anger,
        2,
        "angry mad terrible awful horrible disgusting disgusted disgrace hate hated hates unacceptable \
        ridiculous pathetic frustrated frustrating frustration joke rubbish trash garbage crap cheat \
        cheated cheating lied lie lies liar liars lying fake counterfeit nonsense outrageous shameful \
        shame unprofessional dishonest appalling dreadful fed_up ripped_off rip_off had_enough \
        never_again waste_of_money waste_of_time sick_of still_waiting shocking_service",
    ),
    (
        Anger,
        3,
        "furious outraged livid scam scammed scammer scammers fraud fraudsters thief thieves theft \
        stealing robbed worst disgraceful lawsuit sue lawyer police report_you consumer_protection \
        trading_standards chargeback damn hell idiot idiots stupid bastards wtf bullshit",
    ),
    (
        Sadness,
        1,
        "sad sadly sorry unfortunately disappointed disappointing disappointment pity regret \
        regrets unhappy unlucky miss missed missing tired let_down shame_really gone hoped lonely",
    ),
    (
        Sadness,
        2,
        "upset cry cried crying depressed depressing hopeless heartbroken hurt miserable gutted \
        devastating tearful grief mourning heartache",
    ),
    (
        Sadness,
        3,
        "devastated desperate despair in_tears broken_hearted",
    ),
    (
        Fear,
        1,
        "worry worried worrying worries concerned concern concerns nervous unsure anxious doubt \
        doubtful suspicious uneasy risky risk unsafe hesitant",
    ),
    (
        Fear,
        2,
        "afraid scared scary frightened fear fears danger dangerous alarmed stolen hacked leaked leak \
        unauthorised unauthorized phishing allergic allergy caught_fire electric_shock",
    ),
    (
        Fear,
        3,
        "terrified panic panicking panicked horrified nightmare",
    ),
    (
        Surprise,
        1,
        "surprise unexpected unexpectedly strange odd weird suddenly hm really",
    ),
    (
        Surprise,
        2,
        "surprised surprising wow whoa omg astonished unbelievable no_way what_on_earth out_of_the_blue",
    ),
    (
        Surprise,
        3,
        "shocked stunned astounded speechless gobsmacked",
    ),
];

pub(super) const CHINESE: &[Entry] = &[
    (
        Joy,
        1,
        "好 不错 可以 喜欢 方便 舒服 合适 实惠 便宜 划算 谢谢 感谢 多谢 谢啦 辛苦了 麻烦了 \
        漂亮 好看 好用 好吃 清楚 耐心 热情 礼貌 新鲜 好评 支持 推荐 放心 解决了 很快 值得 舒适 收到了 \
        [微笑] [嘻嘻] [赞] [鲜花]",
    ),
    (
        Joy,
        2,
        "满意 开心 高兴 快乐 喜爱 优秀 给力 超值 惊艳 点赞 靠谱 贴心 棒 真棒 太好了 很棒 哈哈 \
        物美价廉 物超所值 好喜欢 爱了 感动 幸福 温暖 [心] [哈哈] [爱你] [鼓掌] [太开心] [good]",
    ),
    (
        Joy,
        3,
        "完美 非常满意 太棒了 超级喜欢 爱死了 五星好评 无可挑剔",
    ),
    (
        Anger,
        1,
        "差 慢 坏了 坏的 破了 破损 有问题 毛病 瑕疵 质量差 太慢 不行 不好 不满 投诉 差评 失望透顶 \
        敷衍 推脱 推诿 拖延 不理 没人理 不回复 不处理 催了 还没到 还不发货 不发货 退钱 发错 漏发 少发 \
        描述不符 货不对版 没人管 踢皮球 态度差 浪费 掉色 异味 难用 难看 难吃 粗糙",
    ),
    (
        Anger,
        2,
        "生气 气人 气死 愤怒 恼火 火大 过分 太过分 坑人 坑爹 坑 骗 欺骗 骗人 被骗 上当 忽悠 虚假 假货 \
        垃圾 恶心 讨厌 无语 离谱 可恶 可恨 无耻 不要脸 流氓 黑心 奸商 恶劣 受够了 烦死 欺负 霸王条款 \
        什么玩意 什么态度 再也不买 再也不会 差劲 最差 太差 [怒] [鄙视] [吐] [哼] [抓狂]",
    ),
    (
        Anger,
        3,
        "骗子 诈骗 12315 消协 工商局 起诉 律师 报警 曝光 举报 滚 混蛋 王八蛋 他妈 妈的 气炸 忍无可忍 \
        垃圾店 骂人 [怒骂]",
    ),
    (
        Sadness,
        1,
        "失望 遗憾 可惜 难过 后悔 伤心 委屈 无奈 抱歉 心疼 心累 累 扫兴 唉 哎 [失望] [可怜]",
    ),
    (
        Sadness,
        2,
        "痛苦 心酸 沮丧 郁闷 绝望 流泪 哭了 想哭 难受 心痛 寒心 [泪] [悲伤] [伤心] [蜡烛]",
    ),
    (Sadness, 3, "崩溃 悲痛 心碎 痛哭 泪流满面 万念俱灰"),
    (
        Fear,
        1,
        "担心 担忧 不放心 紧张 怀疑 顾虑 着急 急死 焦虑 不安 怕 会不会",
    ),
    (
        Fear,
        2,
        "害怕 可怕 恐怖 恐惧 危险 漏电 起火 爆炸 过敏 中毒 盗刷 泄露 被盗 吓人 慌 有毒 [恐惧]",
    ),
    (Fear, 3, "吓死 恐慌 惊恐 毛骨悚然"),
    (Surprise, 1, "没想到 居然 竟然 奇怪 意外 突然 哇 咦"),
    (
        Surprise,
        2,
        "惊讶 吃惊 震惊 惊喜 天啊 天哪 不敢相信 难以置信 出乎意料 [吃惊] [惊讶]",
    ),
    (Surprise, 3, "目瞪口呆 惊呆 大吃一惊"),
];

/// Words that turn the next ones round, up to three units on.
pub(super) const NEGATIONS_ENGLISH: &str = "not no never none nothing without hardly barely cannot \
    can't don't doesn't didn't won't wouldn't isn't wasn't aren't weren't haven't hasn't couldn't \
    shouldn't neither nor far_from";
pub(super) const NEGATIONS_CHINESE: &str =
    "不 没 没有 无 别 不是 不太 不怎么 并不 毫不 毫无 一点都不 算不上 谈不上";

/// Words that make the next ones stronger.
pub(super) const INTENSIFIERS_ENGLISH: &str = "very so really extremely totally completely absolutely \
    incredibly too utterly super highly such quite";
pub(super) const INTENSIFIERS_CHINESE: &str =
    "很 太 非常 特别 十分 极其 超 超级 真 真的 实在 相当 好 最 超级无敌 简直 完全 无比";
