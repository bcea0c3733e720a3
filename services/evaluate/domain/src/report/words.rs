//! Every word of the page in every language. No number and no layout here.

use super::Language;
use crate::attribution::Model;
use crate::experiment::{Verdict, Warning};

/// The words of one language.
pub(super) struct Words {
    pub html_lang: &'static str,
    pub kicker: &'static str,
    pub period_to: &'static str,
    pub revenue: &'static str,
    pub orders: &'static str,
    pub active_month: &'static str,
    pub active_note: [&'static str; 3],
    pub roas: &'static str,
    pub roas_note: &'static str,
    pub decided: &'static str,
    pub decided_note: &'static str,
    pub days: &'static str,
    pub day: &'static str,
    pub trend: &'static str,
    pub trend_note: &'static str,
    pub daily_revenue: &'static str,
    pub active_people: &'static str,
    pub effects: &'static str,
    pub effects_note: &'static str,
    pub truth: &'static str,
    pub key_interval: &'static str,
    pub key_sequential: &'static str,
    pub experiment_columns: [&'static str; 8],
    pub truth_column: &'static str,
    pub funnel: &'static str,
    pub funnel_note: &'static str,
    pub funnel_columns: [&'static str; 3],
    pub of_previous: &'static str,
    pub campaigns: &'static str,
    pub campaigns_note: &'static str,
    pub campaign_columns: [&'static str; 10],
    pub attribution: &'static str,
    pub attribution_note: &'static str,
    pub channel: &'static str,
    pub other: &'static str,
    pub numbers: &'static str,
    pub nothing: &'static str,
    pub too_many: &'static str,
    pub missing: &'static str,
    pub method: &'static str,
    verdicts: [&'static str; 4],
    warnings: [&'static str; 5],
    models: [&'static str; 7],
    steps: [&'static str; 6],
}

/// Names of funnel steps that have a translation, in the order of `Words::steps`.
const STEPS: [&str; 6] = ["visit", "view", "click", "cart", "checkout", "purchase"];

pub(super) fn of(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::Chinese => &CHINESE,
    }
}

impl Words {
    pub(super) fn verdict(&self, verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Increase => self.verdicts[0],
            Verdict::Decrease => self.verdicts[1],
            Verdict::Inconclusive => self.verdicts[2],
            Verdict::Invalid => self.verdicts[3],
        }
    }

    pub(super) fn warning(&self, warning: Warning) -> &'static str {
        match warning {
            Warning::SampleRatioMismatch => self.warnings[0],
            Warning::SmallSample => self.warnings[1],
            Warning::Undefined => self.warnings[2],
            Warning::NotIfPeeked => self.warnings[3],
            Warning::NotAfterCorrection => self.warnings[4],
        }
    }

    pub(super) fn model(&self, model: Model) -> &'static str {
        match model {
            Model::First => self.models[0],
            Model::Last => self.models[1],
            Model::Linear => self.models[2],
            Model::Position => self.models[3],
            Model::TimeDecay => self.models[4],
            Model::Markov { .. } => self.models[5],
            Model::Shapley => self.models[6],
        }
    }

    pub(super) fn step<'a>(&self, name: &'a str) -> &'a str {
        STEPS
            .iter()
            .position(|step| *step == name)
            .map_or(name, |place| self.steps[place])
    }
}

const ENGLISH: Words = Words {
    html_lang: "en",
    kicker: "Performance report",
    period_to: "to",
    revenue: "Net revenue",
    orders: "orders",
    active_month: "People active in 30 days",
    active_note: ["today", "in 7 days", "stickiness"],
    roas: "Return on ad spend",
    roas_note: "revenue per unit of cost, each order once",
    decided: "Experiments with a result",
    decided_note: "of those shown",
    days: "days",
    day: "Day",
    trend: "Day by day",
    trend_note: "Net revenue, and the people who did something in the shop. Days are UTC.",
    daily_revenue: "Net revenue per day",
    active_people: "Active people per day",
    effects: "Experiments: effect over the control",
    effects_note: "Change of the metric relative to the control. The bold whisker is the 95% interval for a \
                   test of fixed size; the pale one stays valid however often you look.",
    truth: "True effect",
    key_interval: "95% interval",
    key_sequential: "valid at any time",
    experiment_columns: [
        "Experiment",
        "Metric",
        "People",
        "Control",
        "Treated",
        "Effect (95% interval)",
        "p",
        "Verdict",
    ],
    truth_column: "True effect",
    funnel: "From visit to purchase",
    funnel_note: "People who reached each step, and the share of the step before.",
    funnel_columns: ["Step", "People", "Of the step before"],
    of_previous: "of the step before",
    campaigns: "Campaigns",
    campaigns_note: "Rates carry their 95% Wilson interval. A dash is undefined, not zero.",
    campaign_columns: [
        "Campaign",
        "People",
        "Impressions",
        "Clicks",
        "CTR",
        "CVR",
        "Cost",
        "Revenue",
        "ROAS",
        "ROI",
    ],
    attribution: "Attribution: conversions by channel and model",
    attribution_note: "The same conversions, shared out by different rules. Where the models agree, believe them.",
    channel: "Channel",
    other: "Other",
    numbers: "Show the numbers",
    nothing: "Nothing to show for this period yet.",
    too_many: "More channels or paths than can be told apart. Ask for a shorter period.",
    missing: "decisions were made but never reached the log; the figures are incomplete.",
    method: "Two-valued metrics: pooled z-test; other metrics: Welch. Sequential: asymptotic confidence \
             sequence tuned at 5,000 people. Shares of arms: chi-squared, alarm below 0.001. Only people \
             who agreed to be measured are counted.",
    verdicts: ["Increase", "Decrease", "Undecided", "Invalid"],
    warnings: [
        "arms do not have their promised shares",
        "small sample",
        "no estimate",
        "only if the size was fixed in advance",
        "not after correction for several arms",
    ],
    models: [
        "First",
        "Last",
        "Linear",
        "Position",
        "Time decay",
        "Markov",
        "Shapley",
    ],
    steps: [
        "Visit",
        "View",
        "Click",
        "Add to cart",
        "Checkout",
        "Purchase",
    ],
};

const CHINESE: Words = Words {
    html_lang: "zh-CN",
    kicker: "效果评估报告",
    period_to: "至",
    revenue: "净收入",
    orders: "笔订单",
    active_month: "月活跃人数（30 天）",
    active_note: ["日活", "周活", "黏性"],
    roas: "广告支出回报率",
    roas_note: "每单位成本带来的收入，每笔订单只计一次",
    decided: "已有结论的实验",
    decided_note: "（本报告所列）",
    days: "天",
    day: "日期",
    trend: "每日走势",
    trend_note: "净收入，以及当天在店内有行为的人数。按 UTC 日期统计。",
    daily_revenue: "每日净收入",
    active_people: "每日活跃人数",
    effects: "实验：相对对照组的效果",
    effects_note: "指标相对对照组的变化。粗线为固定样本量检验的 95% 置信区间；浅线无论何时查看都有效。",
    truth: "真实效果",
    key_interval: "95% 置信区间",
    key_sequential: "随时有效区间",
    experiment_columns: [
        "实验",
        "指标",
        "人数",
        "对照组",
        "实验组",
        "效果（95% 区间）",
        "p 值",
        "结论",
    ],
    truth_column: "真实效果",
    funnel: "从访问到购买",
    funnel_note: "到达每一步的人数，及其占上一步的比例。",
    funnel_columns: ["步骤", "人数", "占上一步"],
    of_previous: "占上一步",
    campaigns: "营销活动",
    campaigns_note: "比率附 95% Wilson 区间。短横线表示无定义，而非零。",
    campaign_columns: [
        "活动",
        "触达人数",
        "展示",
        "点击",
        "点击率",
        "转化率",
        "成本",
        "收入",
        "ROAS",
        "ROI",
    ],
    attribution: "归因：各渠道在不同模型下的转化",
    attribution_note: "同样的转化，按不同规则分配。各模型一致之处，最为可信。",
    channel: "渠道",
    other: "其他",
    numbers: "查看数据",
    nothing: "该时段暂无数据。",
    too_many: "渠道或路径过多，无法逐一区分。请选择更短的时段。",
    missing: "个决策已作出但未进入日志，数据不完整。",
    method: "二值指标用合并 z 检验，其余用 Welch 检验；序贯区间为渐近置信序列（按 5,000 人调优）；\
             分组比例用卡方检验，低于 0.001 报警。仅统计同意度量的用户。",
    verdicts: ["提升", "下降", "未定", "无效"],
    warnings: [
        "分组比例异常",
        "样本较小",
        "无法估计",
        "仅在样本量事先固定时成立",
        "多组校正后不显著",
    ],
    models: [
        "首次触点",
        "末次触点",
        "线性",
        "位置",
        "时间衰减",
        "马尔可夫",
        "沙普利值",
    ],
    steps: ["访问", "浏览", "点击", "加入购物车", "结算", "购买"],
};
