"""Coefficients of scikit-learn's LogisticRegression on a small generated table.

Writes logistic.csv on stdout: the table (kind `row`: x1, x2, group, label), then per penalty the fitted
intercept and coefficients (kind `fit`: C, intercept, x1, x2, a, b, c). Numbers are standardised with the
deviation over n, categories one-hot: the model of libs/learn, whose penalty of the mean loss is 1 / (C n).
"""

import numpy as np
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(7)
n = 60
x1 = np.round(rng.normal(size=n) * 3 + 10, 3)
x2 = np.round(rng.exponential(size=n), 3)
group = rng.choice(["a", "b", "c"], size=n)
logit = 0.4 * (x1 - 10) - 1.1 * (x2 - 1) + (group == "b") * 1.2
label = (rng.uniform(size=n) < 1 / (1 + np.exp(-logit))).astype(int)

print("kind,1,2,3,4,5,6,7")
for row in zip(x1, x2, group, label):
    print("row," + ",".join(str(cell) for cell in row) + ",,,")

scaled = [(x - x.mean()) / x.std() for x in (x1, x2)]
design = np.column_stack(scaled + [group == level for level in "abc"]).astype(float)
for c in (0.1, 1.0, 10.0):
    model = LogisticRegression(C=c, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    model.fit(design, label)
    found = [c, model.intercept_[0], *model.coef_[0]]
    print("fit," + ",".join(repr(float(value)) for value in found))
