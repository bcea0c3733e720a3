"""Regenerates special.csv: 30-digit mpmath values of the functions in libs/math.

Run `python3 golden.py > special.csv` with mpmath and scipy installed (any recent version). Every
value is also compared with scipy to 1e-9, so a mistake in this script cannot become the truth.
"""

import mpmath as mp
from scipy import special, stats

mp.mp.dps = 30


def beta_inc(a, b, x):
    return mp.betainc(a, b, 0, x, regularized=True)


def t_sf(df, t):
    df, t = mp.mpf(df), mp.mpf(t)
    tail = beta_inc(df / 2, mp.mpf(1) / 2, df / (df + t * t)) / 2
    return tail if t >= 0 else 1 - tail


def chi2_cdf(df, x):
    return mp.gammainc(mp.mpf(df) / 2, 0, mp.mpf(x) / 2, regularized=True)


def f_sf(d1, d2, f):
    d1, d2, f = mp.mpf(d1), mp.mpf(d2), mp.mpf(f)
    return beta_inc(d2 / 2, d1 / 2, d2 / (d1 * f + d2))


def root(cdf, p, start):
    """Polishes scipy's quantile between two points that surely enclose the true one."""
    start, p = mp.mpf(start), mp.mpf(p)
    ends = (start * (1 - mp.mpf("1e-7")), start * (1 + mp.mpf("1e-7")))
    return mp.findroot(lambda x: cdf(x) / p - 1, ends, solver="illinois", tol=1e-24)


def row(name, args, exact, check):
    exact = float(exact)
    if abs(exact - check) > 1e-9 * abs(exact) + 1e-300:
        raise SystemExit(f"{name}{args}: mpmath {exact!r}, scipy {check!r}")
    padded = list(args) + [0.0] * (3 - len(args))
    print(",".join([name] + [repr(float(a)) for a in padded] + [repr(exact)]), flush=True)


print("function,a,b,c,value")
for x in (1e-8, 0.1, 0.5, 0.999, 1.001, 1.5, 2.001, 3.7, 10.0, 171.5, 1e6, 1e15):
    row("ln_gamma", (x,), mp.loggamma(mp.mpf(x)), special.gammaln(x))
for x in (-3.0, -0.5, 1e-10, 0.3, 0.84, 1.2, 2.5, 5.0):
    row("erf", (x,), mp.erf(mp.mpf(x)), special.erf(x))
for x in (-3.0, 0.3, 0.84, 1.3, 2.9, 6.5, 26.0):
    row("erfc", (x,), mp.erfc(mp.mpf(x)), special.erfc(x))
for a in (0.1, 0.5, 1.0, 3.5, 15.9, 16.1, 100.0, 5000.0):
    for ratio in (0.05, 0.6, 0.97, 1.0, 1.1, 2.0):
        x = a * ratio
        exact_p = mp.gammainc(mp.mpf(a), 0, mp.mpf(x), regularized=True)
        exact_q = mp.gammainc(mp.mpf(a), mp.mpf(x), mp.inf, regularized=True)
        if exact_p > 1e-280:
            row("gamma_p", (a, x), exact_p, special.gammainc(a, x))
        if exact_q > 1e-280:
            row("gamma_q", (a, x), exact_q, special.gammaincc(a, x))
for a, b in ((0.5, 0.5), (0.3, 7.0), (2.0, 3.0), (12.0, 1.0), (40.0, 60.5), (150.0, 90.0)):
    for x in (1e-6, 0.02, 0.3, 0.4, 0.5, 0.62, 0.99):
        exact = beta_inc(mp.mpf(a), mp.mpf(b), mp.mpf(x))
        if exact > 1e-280:
            row("beta_inc", (a, b, x), exact, special.betainc(a, b, x))
for x in (-37.0, -8.0, -1.96, -0.3, 0.0, 0.7, 3.0, 8.1):
    row("normal_cdf", (x,), mp.ncdf(mp.mpf(x)), stats.norm.cdf(x))
for p in (1e-300, 1e-20, 0.001, 0.025, 0.074, 0.3, 0.5, 0.8, 0.926, 0.975, 0.999999):
    exact = 0 if p == 0.5 else root(mp.ncdf, p, stats.norm.ppf(p))
    row("normal_quantile", (p,), exact, stats.norm.ppf(p))
for df in (1.0, 2.5, 7.0, 30.0, 400.0, 20000.0):
    for t in (-2.2, -0.01, 0.4, 1.96, 6.0, 20.0):
        row("t_sf", (df, t), t_sf(df, t), stats.t.sf(t, df))
    for p in (1e-8, 0.025, 0.4, 0.9, 0.995):
        start = stats.t.ppf(p, df)
        if df <= 30:
            row("t_quantile", (df, p), root(lambda t: t_sf(df, -t), p, start), start)
for df in (1.0, 2.0, 9.0, 64.0, 3000.0):
    for x in (0.01 * df, 0.8 * df, df + 3.0, 1.5 * df + 10.0):
        exact = mp.gammainc(mp.mpf(df) / 2, mp.mpf(x) / 2, mp.inf, regularized=True)
        row("chi2_sf", (df, x), exact, stats.chi2.sf(x, df))
    for p in (1e-6, 0.05, 0.5, 0.95, 0.9999):
        start = stats.chi2.ppf(p, df)
        row("chi2_quantile", (df, p), root(lambda x: chi2_cdf(df, x), p, start), start)
for d1, d2 in ((1.0, 1.0), (3.0, 12.0), (10.0, 4.0), (50.0, 200.0)):
    for f in (0.1, 0.9, 1.7, 5.0):
        row("f_sf", (d1, d2, f), f_sf(d1, d2, f), stats.f.sf(f, d1, d2))
    for p in (0.001, 0.3, 0.5, 0.95, 0.999):
        start = stats.f.ppf(p, d1, d2)
        row("f_quantile", (d1, d2, p), root(lambda f: 1 - f_sf(d1, d2, f), p, start), start)
for a, b in ((0.5, 0.5), (2.0, 8.0), (30.0, 120.0)):
    for p in (0.001, 0.3, 0.5, 0.975):
        start = stats.beta.ppf(p, a, b)
        row("beta_quantile", (a, b, p), root(lambda x: beta_inc(a, b, x), p, start), start)
