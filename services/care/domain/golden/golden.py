"""Regenerates queueing.csv: queues and patience by other ways than the crate's.

Run `python3 golden.py > queueing.csv` with mpmath and statsmodels (any recent version). Queues are solved as
birth-and-death chains, state by state, with 40 digits; the product-limit curve is statsmodels'.
"""

import mpmath as mp
from statsmodels.duration.survfunc import SurvfuncRight

mp.mp.dps = 40


def show(case, **values):
    for key, value in values.items():
        print(f"{case},{key},{float(value)!r}", flush=True)


def chain(arrivals, service, agents, patience=None):
    """Probabilities of 0, 1, 2, .. people in the queue, until they no longer matter."""
    rate, served = mp.mpf(arrivals), 1 / mp.mpf(service)
    gives_up = 1 / mp.mpf(patience) if patience else mp.mpf(0)
    weights, most, n = [mp.mpf(1)], mp.mpf(1), 0
    while n <= agents or weights[-1] > mp.mpf(10) ** -30 * most:
        n += 1
        leaves = min(n, agents) * served + max(n - agents, 0) * gives_up
        weights.append(weights[-1] * rate / leaves)
        most = max(most, weights[-1])
    total = mp.fsum(weights)
    return [weight / total for weight in weights]


print("case,key,value")
for name, (per_hour, service, agents) in {
    "small": (200, 180, 14), "middle": (1_000, 300, 91), "one": (30, 60, 1), "large": (10_000, 300, 848),
}.items():
    rate = mp.mpf(per_hour) / 3_600
    load = rate * service
    blocked = load**agents / mp.factorial(agents) / mp.fsum(load**k / mp.factorial(k) for k in range(agents + 1))
    states = chain(rate, service, agents)
    waits = mp.fsum(states[agents:])
    queue = mp.fsum((n - agents) * p for n, p in enumerate(states) if n > agents)
    # Who finds n others waits for n - agents + 1 departures: a sum of exponential times, later than the
    # target if fewer departures than that happen until then.
    departures = mp.mpf(agents) / service * 20
    fewer, term, late = mp.mpf(0), mp.exp(-departures), mp.mpf(0)
    for n in range(agents, len(states)):
        fewer += term
        late += states[n] * fewer
        term *= departures / (n - agents + 1)
    show(f"c_{name}", erlang_b=blocked, wait_probability=waits, mean_wait=queue / rate, service_level=1 - late)

for name, (per_hour, service, agents, patience) in {
    "light": (200, 180, 14, 90), "over": (200, 180, 8, 60), "long": (360, 240, 26, 600), "single": (60, 90, 1, 30),
}.items():
    rate = mp.mpf(per_hour) / 3_600
    states = chain(rate, service, agents, patience)
    queue = mp.fsum((n - agents) * p for n, p in enumerate(states) if n > agents)
    busy = mp.fsum(min(n, agents) * p for n, p in enumerate(states))
    show(f"a_{name}", wait_probability=mp.fsum(states[agents:]), mean_wait=queue / rate,
         abandoned=queue / patience / rate, occupancy=busy / agents)

seconds = [3, 5, 5, 8, 8, 8, 12, 20, 21, 21, 40, 41]
gave_up = [1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1]
curve = SurvfuncRight(seconds, gave_up)
show("patience", **{str(int(t)): s for t, s in zip(curve.surv_times, curve.surv_prob)})
