"""ChannelAttribution beside `rapport lab attribution`, on the same file, in one run.

`attribution.py RAPPORT FILE [SEEDS]`, where RAPPORT is a program that knows `lab`. The rival goes first and
the two take turns. Prints what each says and costs; fails if our answer leaves the rival's own spread over
seeds, or if the rules that need no chance (first, last, linear) differ at all.
"""

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time

import ChannelAttribution
import pandas as pd

FASTER_MIN = 20.0


@contextlib.contextmanager
def silence():
    """The rival prints from C++: both Python's and the system's standard output are turned away."""
    saved, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)


def ours(program, file, models):
    command = [program, "lab", "attribution", "--json", "--paths", file, "--algorithm", models]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {row["algorithm"]: row for row in map(json.loads, lines)}


def markov(table, seed):
    before = time.process_time()
    with silence():
        found = ChannelAttribution.markov_model(
            table, "path", "conversions", var_value="value", var_null="null",
            order=1, seed=seed, out_more=True, verbose=False, flg_pro=False,
        )
    seconds = time.process_time() - before
    result = found["result"].set_index("channel_name")
    effects = found["removal_effects"].set_index("channel_name")
    return seconds, {
        "credit": result["total_conversions"].to_dict(),
        "value_credit": result["total_conversion_value"].to_dict(),
        "removal_effects": effects["removal_effects_conversion"].to_dict(),
    }


def rules(table, found):
    """The worst relative difference of the models that involve no chance."""
    with silence():
        rival = ChannelAttribution.heuristic_models(
            table, "path", "conversions", var_value="value", flg_pro=False
        ).set_index("channel_name")
    columns = {"first": "first_touch", "last": "last_touch", "linear": "linear_touch"}
    return max(
        abs(found[model][key][channel] - rival.loc[channel, f"{column}_{kind}"])
        / max(1.0, rival[f"{column}_{kind}"].sum())
        for model, column in columns.items()
        for key, kind in (("credit", "conversions"), ("value_credit", "value"))
        for channel in rival.index
    )


def main():
    program, file = sys.argv[1:3]
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 30
    table = pd.read_csv(file)
    theirs, their_seconds, our_seconds = [], [], []
    for seed in range(1, seeds + 1):
        seconds, answer = markov(table, seed)
        theirs.append(answer)
        their_seconds.append(seconds)
        mine = ours(program, file, "markov")["markov"]
        our_seconds.append(mine["fit_ms"] / 1e3)
    outside, names = [], sorted(mine["credit"])
    for key in ("removal_effects", "credit", "value_credit"):
        print(f"\n{key}: ours, then ChannelAttribution over {seeds} seeds")
        for name in names:
            values = [answer[key].get(name, 0.0) for answer in theirs]
            low, high, exact = min(values), max(values), mine[key][name]
            inside = low - 1e-9 <= exact <= high + 1e-9
            outside += [] if inside else [f"{key} {name}"]
            mean, sd = statistics.mean(values), statistics.stdev(values)
            print(f"  {name:12} {exact:12.4f}  mean {mean:12.4f}  sd {sd:9.4f}  {low:12.4f} to {high:12.4f}")
    theirs_median, ours_median = statistics.median(their_seconds), statistics.median(our_seconds)
    report = {
        "seeds": seeds,
        "rival_cpu_ms": theirs_median * 1e3,
        "our_cpu_ms": ours_median * 1e3,
        "times_faster": theirs_median / ours_median,
        "outside_the_rivals_spread": outside,
        "rules_differ_by": rules(table, ours(program, file, "first,last,linear")),
    }
    print("\n" + json.dumps(report))
    if outside or report["times_faster"] < FASTER_MIN or report["rules_differ_by"] > 1e-9:
        sys.exit("goal missed")


if __name__ == "__main__":
    main()
