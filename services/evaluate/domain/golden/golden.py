"""Regenerates experiment.csv: what statsmodels, scipy and gbstats say about the cases of tests/golden.rs.

Run `python3 golden.py > experiment.csv` with numpy, scipy, statsmodels and gbstats (any recent version).
The samples are a formula that both languages can compute, so no file of numbers is needed.
"""

import numpy as np
from gbstats.frequentist.tests import (
    FrequentistConfig,
    SequentialConfig,
    SequentialTwoSidedTTest,
    TwoSidedTTest,
)
from gbstats.models.statistics import (
    RegressionAdjustedStatistic,
    SampleMeanStatistic,
    compute_theta,
)
from scipy import integrate, stats
from statsmodels.stats import multitest, power, proportion


def sample(n, step, modulus):
    """The n numbers ((i * step + 5) mod modulus) / 10, i from 0."""
    return np.array([((i * step + 5) % modulus) / 10 for i in range(n)])


def show(case, **values):
    for key, value in values.items():
        print(f"{case},{key},{float(value)!r}")


print("case,key,value")

for name, (k0, n0, k1, n1) in {
    "small": (12, 80, 25, 90),
    "large": (50_000, 1_000_000, 50_600, 1_000_400),
    "rare": (3, 40_000, 11, 39_000),
}.items():
    p = proportion.proportions_ztest([k1, k0], [n1, n0])[1]
    low, high = proportion.confint_proportions_2indep(k1, n1, k0, n0, method="wald")
    p0, p1 = k0 / n0, k1 / n1
    se = np.sqrt(p0 * (1 - p0) / n0 + p1 * (1 - p1) / n1)
    show(f"proportions_{name}", effect=p1 - p0, se=se, p=p, low=low, high=high)

control, treated = sample(37, 7919, 101), sample(53, 104729, 97) + 1.5
test = stats.ttest_ind(treated, control, equal_var=False)
ci = test.confidence_interval(0.95)
show("welch", effect=treated.mean() - control.mean(), p=test.pvalue, low=ci.low, high=ci.high)


def delta_ratio(numerator, denominator):
    ratio = numerator.mean() / denominator.mean()
    cov = np.cov(numerator, denominator)
    gradient = np.array([1, -ratio]) / denominator.mean()
    return ratio, gradient @ cov @ gradient / len(numerator)


r0, v0 = delta_ratio(control, sample(37, 31, 53) + 1)
r1, v1 = delta_ratio(treated, sample(53, 37, 59) + 1)
se = np.sqrt(v0 + v1)
z = stats.norm.ppf(0.975)
show("ratio", effect=r1 - r0, se=se, p=2 * stats.norm.sf(abs(r1 - r0) / se), low=r1 - r0 - z * se)

x0, x1 = sample(37, 7919, 89), sample(53, 104729, 83)
y0, y1 = 2 * x0 + sample(37, 13, 17), 2 * x1 + sample(53, 19, 23) + 0.4
theta = np.cov(np.r_[y0, y1], np.r_[x0, x1])[0, 1] / np.var(np.r_[x0, x1], ddof=1)
test = stats.ttest_ind(y1 - theta * x1, y0 - theta * x0, equal_var=False)
ci = test.confidence_interval(0.95)
effect = (y1 - theta * x1).mean() - (y0 - theta * x0).mean()
show("cuped", theta=theta, effect=effect, se=effect / test.statistic, p=test.pvalue, low=ci.low)


def mean_of(values):
    return SampleMeanStatistic(n=len(values), sum=values.sum(), sum_squares=(values**2).sum())


def adjusted(values, covariate):
    parts = mean_of(values), mean_of(covariate)
    return RegressionAdjustedStatistic(len(values), *parts, (values * covariate).sum(), theta=0)


# GrowthBook's engine, as one experimenter runs it: after the end, and while it goes on.
arms = adjusted(y0, x0), adjusted(y1, x1)
for arm in arms:
    arm.theta = compute_theta(*arms)
for case, pair in (("means", (mean_of(control), mean_of(treated))), ("cuped", arms)):
    fixed = TwoSidedTTest(*pair, FrequentistConfig(difference_type="absolute")).compute_result()
    always = SequentialTwoSidedTTest(*pair, SequentialConfig(difference_type="absolute")).compute_result()
    show(f"gbstats_{case}", effect=fixed.expected, p=fixed.p_value, low=fixed.ci[0], high=fixed.ci[1])
    show(f"gbstats_{case}_any_time", low=always.ci[0], high=always.ci[1])

for n, se in ((200, 0.1), (5_000, 0.02), (2_000_000, 0.001)):
    alpha, variance = 0.05, se**2 * n
    rho = np.sqrt((-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / 5_000)
    reach = np.sqrt(variance) * np.sqrt(
        2 * (n * rho**2 + 1) / (n**2 * rho**2) * np.log(np.sqrt(n * rho**2 + 1) / alpha)
    )
    show(f"sequence_{n}", low=0.03 - reach, high=0.03 + reach)

observed, shares = np.array([4_930, 5_170, 2_480]), np.array([2, 2, 1])
test = stats.chisquare(observed, observed.sum() * shares / shares.sum())
show("sample_ratio", chi_squared=test.statistic, p=test.pvalue)

ps = [0.01, 0.04, 0.03, 0.005, 0.5, 0.04]
for method in ("holm", "fdr_bh"):
    adjusted = multitest.multipletests(ps, method=method)[1]
    show(method, **{str(i): value for i, value in enumerate(adjusted)})

size = power.normal_sample_size_one_tail(0.3, 0.8, 0.025, 1.7 * np.sqrt(2))
show("size_means", control=size)
size = proportion.samplesize_proportions_2indep_onetail(0.01, 0.05, 0.9, ratio=1, alpha=0.05)
show("size_proportions", control=size)


def beats(a, b):
    first, second = stats.beta(a[0] + 1, a[1] - a[0] + 1), stats.beta(b[0] + 1, b[1] - b[0] + 1)
    middle, reach = first.mean(), 12 * first.std()
    ends = max(0, middle - reach), min(1, middle + reach)
    inside = lambda x: first.pdf(x) * second.sf(x)
    return integrate.quad(inside, *ends, points=[middle], epsabs=1e-14, epsrel=1e-13, limit=500)[0]


for name, a, b in (("few", (2, 30), (5, 28)), ("none", (0, 50), (1, 60)), ("many", (800, 9_000), (870, 9_100))):
    show(f"beats_{name}", probability=beats(a, b))
