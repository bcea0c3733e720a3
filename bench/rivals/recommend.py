"""`implicit` beside our iALS: the same pairs, the same loss, one run; and beside `rapport lab recommend`.

`recommend.py IALS_RATE RAPPORT TRAIN TEST [FACTORS]`. The rival goes first. Its loss is the sum over pairs
of c (1 - xy)^2, over all others of (xy)^2, plus r (|x|^2 + |y|^2). Ours has weights 1 and a instead, which
is the same problem for a = 1 / (c - 1), regularisation r / c and vectors scaled by the root of c / (c - 1):
its loss is c^2 / (c - 1) times ours, minus pairs * c / (c - 1). Prints CPU-seconds to the rival's own last
loss, then its ranking by `lab`'s protocol beside ours. Fails if ours takes more than 1 / 1.5 of the rival's
CPU-seconds.
"""

import csv
import gzip
import json
import os
import subprocess
import sys
import time

# The rival spreads over threads by itself; its algebra library must not do so again. Read at import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares

CONFIDENCE = 40.0
REGULARISATION = 4.0
ITERATIONS = 15
FASTER_MIN = 1.5
K = 20


def rows(file):
    opened = gzip.open if file.endswith(".gz") else open
    with opened(file, "rt", encoding="utf-8-sig", newline="") as text:
        table = csv.DictReader(text)
        return [(row["user"], row["item"]) for row in table]


def matrix(train):
    users = {name: at for at, name in enumerate(dict.fromkeys(user for user, _ in train))}
    items = {name: at for at, name in enumerate(dict.fromkeys(item for _, item in train))}
    pairs = sorted({(users[user], items[item]) for user, item in train})
    at = np.array(pairs)
    ones = np.ones(len(pairs), dtype=np.float32)
    return users, items, sp.csr_matrix((ones, (at[:, 0], at[:, 1])), (len(users), len(items)))


def loss(x, y, pairs):
    x, y = x.astype(np.float64), y.astype(np.float64)
    coo = pairs.tocoo()
    had = np.einsum("ij,ij->i", x[coo.row], y[coo.col])
    everything = np.sum((x.T @ x) * (y.T @ y))
    lengths = REGULARISATION * (np.sum(x * x) + np.sum(y * y))
    return CONFIDENCE * np.sum((1 - had) ** 2) + everything - np.sum(had**2) + lengths


def rival(pairs, factors):
    model = AlternatingLeastSquares(
        factors=factors, regularization=REGULARISATION, alpha=CONFIDENCE,
        iterations=ITERATIONS, random_state=0,
    )
    before = time.process_time()
    model.fit(pairs, show_progress=False)
    return model, time.process_time() - before


def ours(program, pairs, factors):
    coo = pairs.tocoo()
    lines = "".join(f"{user} {item}\n" for user, item in zip(coo.row, coo.col))
    weights = [str(1 / (CONFIDENCE - 1)), str(REGULARISATION / CONFIDENCE)]
    command = [program, str(factors), *weights, str(ITERATIONS)]
    found = subprocess.run(command, input=lines, check=True, capture_output=True, text=True).stdout
    scale = CONFIDENCE**2 / (CONFIDENCE - 1)
    for line in found.splitlines():
        epochs, seconds, value = line.split()
        yield int(epochs), float(seconds), scale * float(value) - pairs.nnz * CONFIDENCE / (CONFIDENCE - 1)


def ranking(model, users, items, pairs, test):
    """Recall and NDCG at K as LAB.md defines them; ties are not met with real factors."""
    held = {}
    for user, item in test:
        held.setdefault(user, set()).add(item)
    names = list(items)
    discounts = 1 / np.log2(np.arange(2, K + 2))
    recall, ndcg = [], []
    known = [user for user in held if user in users]
    for start in range(0, len(known), 1_000):
        some = known[start:start + 1_000]
        at = np.array([users[user] for user in some])
        lists, _ = model.recommend(at, pairs[at], N=K, filter_already_liked_items=True)
        for user, shown in zip(some, lists):
            hits = np.array([names[item] in held[user] for item in shown])
            recall.append(hits.sum() / len(held[user]))
            ndcg.append((hits * discounts).sum() / discounts[: len(held[user])].sum())
    lost = len(held) - len(known)
    return sum(recall) / (len(recall) + lost), sum(ndcg) / (len(ndcg) + lost)


def main():
    rate, program, train, test = sys.argv[1:5]
    factors = int(sys.argv[5]) if len(sys.argv) > 5 else 64
    users, items, pairs = matrix(rows(train))
    model, seconds = rival(pairs, factors)
    goal = loss(model.user_factors, model.item_factors, pairs)
    print(f"implicit, {factors} factors, {ITERATIONS} iterations: {seconds:.2f} CPU-s, loss {goal:.1f}")
    reached = None
    for epochs, spent, value in ours(rate, pairs, factors):
        print(f"ours, {epochs} epochs: {spent:.2f} CPU-s, loss {value:.1f}")
        if reached is None and value <= goal:
            reached = spent
    recall, ndcg = ranking(model, users, items, pairs, rows(test))
    print(f"implicit: R@{K} {recall:.4f}, N@{K} {ndcg:.4f}")
    command = [program, "lab", "recommend", "--train", train, "--test", test, "--json", "--algorithm", "ials"]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        row = json.loads(line)
        spent = row["train_cpu_seconds"] + row["score_cpu_seconds"]
        print(f"ours, {row['algorithm']}: R@{K} {row['recall']:.4f}, N@{K} {row['ndcg']:.4f}, {spent:.1f} CPU-s")
    if reached is None:
        sys.exit("ours never reached the rival's loss")
    print(f"to the rival's last loss: {seconds / reached:.2f} times as fast per CPU-second")
    if seconds < FASTER_MIN * reached:
        sys.exit(f"less than {FASTER_MIN} times")


if __name__ == "__main__":
    main()
