"""Regenerates models.csv: customer value by other ways than the crate's.

Run `python3 golden.py > models.csv` with mpmath and scipy (any recent version). Likelihoods and expectations are
the papers' formulas with 60 digits, the hypergeometric function included; the fits are scipy's, by a search
without gradients over the papers' likelihoods, sharpened by one that follows them.
"""

import itertools
import math

import mpmath as mp
import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

mp.mp.dps = 60


def show(case, inputs, *values):
    print(",".join([case, " ".join(map(repr, inputs)), " ".join(repr(float(v)) for v in values)]), flush=True)


def purchase_terms(r, alpha, a, b, x, recency, age):
    """Likelihoods of a customer who is alive and of one who is not: equation 3 of Fader, Hardie, Lee 2005."""
    shared = mp.gamma(r + x) * alpha**r / mp.gamma(r)
    alive = mp.beta(a, b + x) / mp.beta(a, b) * shared / (alpha + age) ** (r + x)
    gone = mp.beta(a + 1, b + x - 1) / mp.beta(a, b) * shared / (alpha + recency) ** (r + x) if x else mp.mpf(0)
    return alive, gone


def expected(r, alpha, a, b, x, recency, age, horizon):
    """Equation 10; the mean over the chance to drop out where its first factor is infinite."""
    alive, gone = purchase_terms(r, alpha, a, b, x, recency, age)
    if a == 1:
        ahead = horizon / (alpha + age)
        density = lambda p: (1 - p) ** (b + x - 1) / mp.beta(1, b + x) * (1 - (1 + p * ahead) ** -(r + x)) / p
        mean = mp.quad(density, [0, mp.mpf("1e-3"), mp.mpf("0.1"), mp.mpf("0.5"), mp.mpf("0.9"), 1])
    else:
        hyper = mp.hyp2f1(r + x, b + x, a + b + x - 1, horizon / (alpha + age + horizon))
        mean = (a + b + x - 1) / (a - 1) * (1 - ((alpha + age) / (alpha + age + horizon)) ** (r + x) * hyper)
    return mean * alive / (alive + gone)


def spend_likelihood(p, q, v, x, mean):
    """Equation 1a of Fader, Hardie 2013."""
    gammas = mp.gamma(p * x + q) / mp.gamma(p * x) / mp.gamma(q)
    return mp.log(gammas * v**q * mean ** (p * x - 1) * x ** (p * x) / (v + x * mean) ** (p * x + q))


def precise(values):
    return [mp.mpf(value) for value in values]


PURCHASE_MODELS = [(0.25, 4.5, 0.8, 2.4), (0.05, 0.3, 0.02, 0.4), (1.5, 90.0, 1.0, 7.5), (40.0, 700.0, 0.3, 60.0),
                   (0.7, 8.0, 25.0, 300.0)]
HISTORIES = [(0, 0.0, 0.0), (0, 0.0, 38.9), (1, 0.14, 400.0), (2, 30.4, 38.9), (29, 36.0, 36.3), (400, 250.0, 520.0)]
SPEND_MODELS = [(6.25, 3.74, 15.44), (0.4, 0.9, 2_000.0), (800.0, 30.0, 1.5)]
SPENDS = [(1, 0.01), (2, 22.35), (30, 64.0), (900, 120_000.0)]

print("case,inputs,values")
for model, history in itertools.product(PURCHASE_MODELS, HISTORIES):
    alive, gone = purchase_terms(*precise(model + history))
    show("purchases", model + history, mp.log(alive + gone), alive / (alive + gone))
    for horizon in (0.5, 39.0, 2_000.0):
        show("expected", model + history + (horizon,), expected(*precise(model + history + (horizon,))))
for model, spend in itertools.product(SPEND_MODELS, SPENDS):
    show("spend", model + spend, spend_likelihood(*precise(model + spend)))


def customers(count):
    """The same customers as tests/golden.rs makes, from the same small generator."""
    state = count

    def wait(mean):
        nonlocal state
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        return -mean * math.log(((state >> 11) + 0.5) / 2**53)

    for n in range(count):
        age, gap, stays = 20.0 + n % 20, (2.0, 9.0, 40.0, 150.0)[n % 4], (0.4, 1.5, 6.0)[n % 3]
        worth, spent, frequency, recency = (8.0, 20.0, 30.0, 90.0, 25.0)[n % 5], 0.0, 0, 0.0
        while (at := recency + wait(gap)) < age:
            frequency, recency, spent = frequency + 1, at, spent + wait(worth) + wait(worth)
            if wait(stays) < 1.0:
                break
        yield frequency, recency, age, spent / max(frequency, 1)


def sharpen(likelihood, start):
    """Minimises by a search without gradients, then by one that follows them."""
    rough = minimize(likelihood, start, method="Nelder-Mead",
                     options={"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-10, "fatol": 1e-12})
    again = minimize(likelihood, rough.x, method="BFGS", options={"gtol": 1e-9})
    best = min(rough, again, key=lambda found: found.fun)
    return np.exp(best.x), -best.fun


def purchase_loss(at, x, recency, age):
    r, alpha, a, b = np.exp(at)
    shared = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    beta = gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    alive = -(r + x) * np.log(alpha + age)
    gone = np.where(x > 0, np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + recency), -np.inf)
    return -np.sum(shared + beta + np.logaddexp(alive, gone))


def spend_loss(at, x, mean):
    p, q, v = np.exp(at)
    return -np.sum(gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(v) + (p * x - 1) * np.log(mean)
                   + p * x * np.log(x) - (p * x + q) * np.log(v + x * mean))


for count in (400, 3_000):
    x, recency, age, mean = np.array(list(customers(count))).T
    found, likelihood = sharpen(lambda at: purchase_loss(at, x, recency, age), [0, 1, 0, 1])
    show("fit_purchases", (count,), *found, likelihood)
    repeats = x > 0
    found, likelihood = sharpen(lambda at: spend_loss(at, x[repeats], mean[repeats]), [1, 1, 3])
    show("fit_spend", (count,), *found, likelihood)
