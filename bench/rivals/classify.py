"""TF-IDF + LinearSVC beside `rapport lab classify`, on the same rows, in one run.

`classify.py RAPPORT TRAIN TEST [--drop-overlap]`, where RAPPORT is a program that knows `lab`. The rival is
scikit-learn's, with the features that serve it best in each script: characters 1 to 3 where most letters
are Han, words 1 to 2 and pieces of words 2 to 5 elsewhere. Ours is told neither. Prints one JSON line.
"""

import json
import resource
import subprocess
import sys
import time

import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

# Texts looked at to tell the script, and timed one at a time.
SCRIPT_TEXTS = 1_000
TIMED_TEXTS = 500


def rows(path):
    # Only an empty field is missing: "null" and "NA" are texts like any other.
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    if {"text", "label"} <= set(table.columns):
        return table[["text", "label"]]
    return table.iloc[:, :2].set_axis(["text", "label"], axis=1)


def features(texts):
    letters = [letter for text in texts[:SCRIPT_TEXTS] for letter in text if letter.isalpha()]
    han = sum("\u4e00" <= letter <= "\u9fff" for letter in letters)
    if 2 * han > len(letters):
        return TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )


def rival(train, test):
    before = time.process_time()
    model = make_pipeline(features(list(train.text)), LinearSVC())
    model.fit(train.text, train.label)
    fitted = time.process_time() - before
    said = model.predict(test.text)
    before = time.process_time()
    for text in test.text[:TIMED_TEXTS]:
        model.predict([text])
    each = (time.process_time() - before) / min(TIMED_TEXTS, len(test))
    return {
        "accuracy": accuracy_score(test.label, said),
        "macro_f1": f1_score(test.label, said, average="macro"),
        "us_per_text": each * 1e6,
        "train_cpu_seconds": fitted,
        # In kilobytes on Linux.
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def ours(program, train, test, flags):
    command = [program, "lab", "classify", "--json", "--algorithm", "auto"]
    command += ["--train", train, "--test", test, *flags]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return next(row for row in map(json.loads, lines.splitlines()) if row["chosen"])


def main():
    program, train_path, test_path, *flags = sys.argv[1:]
    if set(flags) - {"--drop-overlap"}:
        sys.exit(f"unknown flags: {flags}")
    train, test = rows(train_path), rows(test_path)
    if flags:
        test = test[~test.text.isin(set(train.text))]
    found = ours(program, train_path, test_path, flags)
    if found["test_rows"] != len(test):
        sys.exit(f"not the same rows: {found['test_rows']} ours, {len(test)} theirs")
    theirs = rival(train, test)
    report = {
        "rows": len(test),
        "linear_svc": theirs,
        "ours": {key: found[key] for key in [*theirs, "model_bytes"]},
        "accuracy_gain": found["accuracy"] - theirs["accuracy"],
        "macro_f1_gain": found["macro_f1"] - theirs["macro_f1"],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
