"""What do the algorithms for gradients through time learn, and what do they cost?

    python benchmarks/gradients.py cue --json cue.json --figure docs/delayed_cue.png
    python benchmarks/gradients.py cost --json cost.json
    python benchmarks/gradients.py speed
    python benchmarks/gradients.py online

cue: a stream without an end. Now and then one of two signs appears for one step, and is asked for
after `--lag` steps of noise, during ten steps, by a flag. The cells begin with a memory of
`--memory` steps (forget bias log(memory - 1), input bias minus that: the chrono initialisation of
Tallec and Ollivier, arXiv 1804.11188, with one memory for all). The online algorithms learn from
the stream and are tried on another one; those that need the end of a series get the same data, cut
before each cue into series of their own, which begin from zero, and are tried on such series.
Reported: the accuracy where the
sign is due, mean and range over the seeds; chance is a half.

cost: time and peak memory of one epoch of `fit` over one series of `--lengths` steps: as an array
for BPTT, as a stream for the online algorithms. Each measurement is a process of its own.

speed: time of one gradient, beside BPTT's, for the same batch; the two take turns.

online: time of a step of learning from one time step: a layer's own trace and gradient, the whole
of `learn_one`, and torch's LSTM and linear layer, backpropagation through one step, torch's SGD.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gatewise
from gatewise.data import Stream
from gatewise.gradients import backward, get
from gatewise.gradients.peak_memory import peak_memory
from gatewise.kernels import Pass, recurrent
from gatewise.kernels.traces import TraceStep, zeros
from gatewise.layers import LSTM, Dense
from gatewise.models import Sequential

ANSWER = 10  # steps during which the sign is due
GAP = 10  # the most steps between an answer and the next cue
NOISE = 0.02  # its standard deviation; the sign is 1
POINTS = 10  # of a learning curve
SHAPE = {"series": 32, "steps": 1000, "inputs": 64, "units": 128}


def main() -> None:
    """Run the part that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parts = parser.add_subparsers(required=True)
    cue = parts.add_parser("cue", help="what is learnt across a lag")
    cue.add_argument("--lag", type=int, default=100)
    cue.add_argument("--chunk", type=int, default=10, help="k1, k2 and every")
    cue.add_argument("--memory", type=float, default=100.0, help="1 / (1 - f) at the beginning")
    cue.add_argument("--units", type=int, default=16)
    cue.add_argument("--lanes", type=int, default=16)
    cue.add_argument("--cues", type=int, default=300, help="in each lane")
    cue.add_argument("--rate", type=float, default=0.02, help="Adam's")
    cue.add_argument("--seeds", type=int, default=5)
    cue.add_argument("--workers", type=int, default=1, help="processes at a time")
    cue.add_argument("--only", nargs="*", help="algorithms, such as snap1:10")
    cue.add_argument("--figure", type=Path)
    cue.add_argument("--again", type=Path, help="show the --json of an earlier run, train nothing")
    cue.set_defaults(run=run_cue)
    cost = parts.add_parser("cost", help="time and memory against the length")
    cost.add_argument("--lengths", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    cost.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    cost.set_defaults(run=run_cost)
    speed = parts.add_parser("speed", help="time of a gradient beside BPTT's")
    speed.add_argument("--rounds", type=int, default=15)
    speed.add_argument("--chunk", type=int, default=100, help="k, every and the mean length")
    speed.add_argument("--quick", action="store_true", help="next to no data")
    speed.set_defaults(run=run_speed)
    online = parts.add_parser("online", help="time of a step of learning from one time step")
    online.add_argument("--steps", type=int, default=2000)
    online.set_defaults(run=run_online)
    for part in (cue, cost, speed, online):
        part.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = arguments.run(arguments)
    if arguments.json:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}
        arguments.json.write_text(json.dumps(about, indent=2) + "\n")


# ---- the delayed cue


def run_cue(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train with each algorithm and seed; print a row an algorithm."""
    chunk, beyond = arguments.chunk, arguments.lag + 2 * arguments.chunk
    beyond -= beyond % chunk
    online = (f"tbptt:{chunk}", f"tbptt:{chunk},{beyond}")
    online += (f"rtrl:{chunk}", f"snap1:{chunk}", f"eprop:{chunk}")
    names = arguments.only or [*online, "bptt", "bptt:sqrt", f"artbp:{chunk}"]
    print(f"{'algorithm':<14} {'data':<7} {'accuracy':>9}  range over {arguments.seeds} seeds")
    rows = []
    if arguments.again:
        earlier = json.loads(arguments.again.read_text())["rows"]
        names = [row["algorithm"] for row in earlier]
        found = [curve for row in earlier for curve in row["curves"]]
    else:
        runs = [(name, seed, arguments) for name in names for seed in range(arguments.seeds)]
        with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(learn, *zip(*runs, strict=True)))
    for number, name in enumerate(names):
        curves = found[number * arguments.seeds : (number + 1) * arguments.seeds]
        last = [curve[-1] for curve in curves]
        data = "stream" if get(name).online else "series"
        spread = f"{min(last):.3f} to {max(last):.3f}"
        print(f"{name:<14} {data:<7} {statistics.mean(last):>9.3f}  {spread}", flush=True)
        rows.append({"algorithm": name, "data": data, "curves": curves})
    if arguments.figure:
        draw(rows, arguments)
    return rows


def cues(seed: tuple[int, ...], number: int, lag: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield so many stretches of a lane (x, y, weight), each from one cue up to the next."""
    random = np.random.default_rng(seed)
    for _ in range(number):
        steps = lag + ANSWER + int(random.integers(GAP))
        sign = int(random.integers(2))
        x = random.normal(size=(steps, 3)).astype("float32") * NOISE
        x[0, sign] += 1
        x[:, 2] = 0
        x[lag : lag + ANSWER, 2] = 1
        due = np.zeros(steps, dtype="float32")
        due[lag : lag + ANSWER] = 1
        yield x, np.full((steps, 1), sign, dtype="float32"), due


def learn(name: str, seed: int, arguments: argparse.Namespace) -> list[float]:
    """Train on the cues; return the accuracy at so many points on the way."""
    torch.set_num_threads(1)
    gatewise.utils.set_random_seed(seed)
    model = cue_model(arguments)
    optimizer = gatewise.optimizers.Adam(arguments.rate, global_clipnorm=1.0)
    algorithm = get(name)
    model.compile(optimizer=optimizer, loss="binary_crossentropy", gradient=algorithm)
    curve = []
    for point in range(POINTS):
        lanes = [
            cues((seed, point, lane), arguments.cues // POINTS, arguments.lag)
            for lane in range(arguments.lanes)
        ]
        if algorithm.online:
            model.fit(Stream(lanes, lanes=arguments.lanes, chunk=arguments.chunk), verbose=0)
        else:
            # The stretches that lie side by side in the stream make a batch.
            x, y, due = (np.concatenate(part) for part in zip(*map(series_of, lanes), strict=True))
            order = np.arange(len(x)).reshape(arguments.lanes, -1).T.ravel()
            given = {"sample_weight": due[order], "batch_size": arguments.lanes}
            model.fit(x[order], y[order], **given, shuffle=False, verbose=0)
        curve.append(accuracy(model, arguments.lag, number=4 if algorithm.online else 1))
    return curve


def cue_model(arguments: argparse.Namespace) -> Sequential:
    """Return a model whose cells remember `--memory` steps, and take in little of each."""
    layer = LSTM(arguments.units, return_sequences=True, input_shape=(None, 3))
    model = Sequential([layer, Dense(1, activation="sigmoid")])
    with torch.no_grad():
        forget = float(np.log(arguments.memory - 1))
        layer.bias[: arguments.units] = -forget
        layer.bias[arguments.units : 2 * arguments.units] = forget
    return model


def series_of(lane: Iterator[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Return the stretches of a lane as series, without the gaps between them."""
    found = []
    for x, y, due in lane:
        steps = int(due.nonzero()[0][-1]) + 1
        found.append((x[:steps], y[:steps], due[:steps]))
    return tuple(np.stack(part) for part in zip(*found, strict=True))


def accuracy(model: Sequential, lag: int, number: int) -> float:
    """Return the accuracy where the sign is due, for 256 cues, so many after one another."""
    steps = number * (lag + ANSWER)
    lanes = [zip(*cues((7, lane), number, lag), strict=True) for lane in range(256 // number)]
    whole = [tuple(np.concatenate(part)[:steps] for part in lane) for lane in lanes]
    x, y, due = (np.stack(part) for part in zip(*whole, strict=True))
    right = (model.predict(x, batch_size=len(x), verbose=0) > 0.5) == (y > 0.5)
    return float(right[due > 0].mean())


def draw(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Draw the learning curves: each seed thin, their mean thick; streams left, series right."""
    from gatewise.plots.canvas import figure, styles

    drawn, panels = figure(1, 2, width=9.0, height=3.8, sharey=True)
    seen = np.arange(1, POINTS + 1) * (arguments.cues // POINTS) * arguments.lanes
    for axes, data in zip(panels, ("stream", "series"), strict=True):
        look = styles()
        for row in rows:
            if row["data"] != data:
                continue
            curves, style = np.array(row["curves"]), next(look)
            axes.plot(seen, curves.T, color=style["color"], linewidth=0.6, alpha=0.35)
            axes.plot(seen, curves.mean(0), label=row["algorithm"], linewidth=2, **style)
        axes.axhline(0.5, color="0.6", linewidth=0.8)
        axes.set_xlabel("cues seen")
        axes.set_title(f"{data}, lag {arguments.lag}", loc="left", fontsize=10)
        axes.legend(
            frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2)
        )
    panels[0].set_ylabel("accuracy where the sign is due")
    drawn.savefig(arguments.figure, dpi=110)


# ---- time and memory against the length

COST = ("bptt", "bptt:sqrt", "tbptt:100", "snap1:100", "eprop:100", "rtrl:100")


def run_cost(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each algorithm at each length in a process of its own."""
    if arguments.one:
        name, steps = arguments.one[0], int(arguments.one[1])
        print(json.dumps(cost_here(name, steps)))
        return []
    print(f"{'algorithm':<10} {'T':>8} {'seconds':>9} {'peak, MiB':>10}")
    rows = []
    for steps in arguments.lengths:
        for name in COST:
            command = [sys.executable, __file__, "cost", "--one", name, str(steps)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row = json.loads(done.stdout)
            peak = "-" if row["peak_mib"] is None else f"{row['peak_mib']:.1f}"
            print(f"{name:<10} {steps:>8} {row['seconds']:>9.3f} {peak:>10}", flush=True)
            rows.append(row)
    return rows


def cost_here(name: str, steps: int) -> dict[str, Any]:
    """Return the seconds of one epoch and the memory beyond what there was before."""
    gatewise.utils.set_random_seed(0)
    units, inputs = (32, 16) if not name.startswith("rtrl") else (8, 16)
    layer = LSTM(units, return_sequences=True, input_shape=(None, inputs))
    model = Sequential([layer, Dense(1)])
    model.compile(loss="mse", gradient=name)

    def pieces(length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, length, 500):
            size = min(500, length - start)
            x = np.random.default_rng(start).normal(size=(size, inputs)).astype("float32")
            yield x, x[:, :1]

    def fit(length: int) -> Callable[[], object]:
        if get(name).online:
            stream = Stream([pieces(length)], chunk=500)
            return lambda: model.fit(stream, verbose=0)
        x, y = (np.concatenate(part)[None] for part in zip(*pieces(length), strict=True))
        return lambda: model.fit(x, y, verbose=0)

    fit(500)()
    timed = fit(steps)
    began = time.perf_counter()
    timed()
    seconds = time.perf_counter() - began
    peak = peak_memory(fit(steps), torch.device("cpu"))
    mebibytes = None if peak is None else peak / 2**20
    return {"algorithm": name, "steps": steps, "seconds": seconds, "peak_mib": mebibytes}


# ---- time of a gradient


def run_speed(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Print each ratio of times: the median over rounds in which both take turns."""
    shape = SHAPE if not arguments.quick else dict.fromkeys(SHAPE, 4)
    series, steps, inputs, units = shape.values()
    gatewise.utils.set_random_seed(0)
    layer = LSTM(units, return_sequences=True, input_shape=(None, inputs))
    model = Sequential([layer, Dense(1)])
    model.compile(loss="mse")
    x, y = torch.randn(series, steps, inputs), torch.randn(series, steps, 1)
    k = min(arguments.chunk, steps)

    def through_layer() -> None:
        layer(x).square().mean().backward()

    def operator() -> None:
        weights = [layer.kernel, layer.recurrent_kernel, layer.bias]
        outputs, _ = recurrent(x, weights, None, specification=layer.specification)
        outputs.square().mean().backward()

    def of(name: str) -> Callable[[], object]:
        return lambda: backward(model, x, y, gradient=name)

    pairs = {"the layer / the operator": (through_layer, operator)}
    for name in ("bptt:sqrt", f"tbptt:{k}", f"snap1:{k}", f"eprop:{k}", f"artbp:{k}"):
        pairs[f"{name} / bptt"] = (of(name), of("bptt"))
    rows = []
    print(f"B {series}, T {steps}, I {inputs}, H {units}; median of {arguments.rounds} rounds")
    for name, (one, other) in pairs.items():
        ratios = sorted(timed(one, model) / timed(other, model) for _ in range(arguments.rounds))
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        ratio = statistics.median(ratios)
        print(f"{name:<26} {ratio:>6.3f}  quartiles {low:.3f} to {high:.3f}", flush=True)
        rows.append({"ratio": name, "median": ratio, "quartiles": [low, high]})
    return rows


def timed(run: Callable[[], object], model: Sequential) -> float:
    """Return the seconds of one run that begins without gradients."""
    model.zero_grad(set_to_none=True)
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


# ---- learning from one time step


def run_online(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Print microseconds a step: the median over the steps, for 64 inputs and 64 units."""
    torch.set_num_threads(1)
    inputs = units = 64
    x = np.random.default_rng(0).normal(size=(arguments.steps, inputs)).astype("float32")
    rows = []

    def report(what: str, step: Callable[[int], object]) -> None:
        times = []
        for t in range(arguments.steps):
            began = time.perf_counter()
            step(t)
            times.append((time.perf_counter() - began) * 1e6)
        low, middle, high = statistics.quantiles(times, n=4)
        print(f"{what:<34} {middle:>8.1f}  quartiles {low:.1f} to {high:.1f}", flush=True)
        rows.append({"what": what, "microseconds": middle, "quartiles": [low, high]})

    print(f"microseconds a step, I {inputs}, H {units}, one thread")
    for name in ("snap1", "eprop"):
        report(f"{name}, trace and gradient", own_step(name, inputs, units))
    for name in ("snap1", "eprop", "tbptt:1"):
        model = Sequential([LSTM(units, input_shape=(None, inputs)), Dense(1)])
        optimizer = gatewise.optimizers.SGD(0.01)
        model.compile(optimizer=optimizer, loss="mse", gradient=name)
        report(f"{name}, learn_one", lambda t, model=model: model.learn_one(x[t], x[t, :1]))
    report("torch, truncated after one step", torch_step(x, inputs, units))
    return rows


def own_step(name: str, inputs: int, units: int) -> Callable[[int], object]:
    """Return a step of an LSTM's state and traces, and the gradient of all of its weights."""
    layer = LSTM(units, input_shape=(None, inputs))
    layer.build((None, None, inputs))
    weights = [weight.detach() for weight in layer.weight_list()]
    state = [torch.zeros(1, units), torch.zeros(1, units)]
    x, signal = torch.randn(1, 1, inputs), [torch.randn(1, units), None]
    given = Pass(layer.specification, "cpu", x, weights, state, None)
    step = TraceStep(given, get(name).path)  # pyright: ignore[reportAttributeAccessIssue]
    trace = zeros(given)

    def take(_: int) -> None:
        nonlocal given
        _, final, *_ = step.advance(given, trace)
        step.gradient(signal, trace)
        given = given._replace(state=final)

    return take


def torch_step(x: np.ndarray, inputs: int, units: int) -> Callable[[int], object]:
    """Return a step of torch's own: the state carried, the gradient cut at the step."""
    layer, head = torch.nn.LSTM(inputs, units, batch_first=True), torch.nn.Linear(units, 1)
    optimizer = torch.optim.SGD([*layer.parameters(), *head.parameters()], lr=0.01)
    state = (torch.zeros(1, 1, units), torch.zeros(1, 1, units))

    def take(t: int) -> float:
        nonlocal state
        step = torch.from_numpy(x[t])[None, None]
        outputs, (h, c) = layer(step, state)
        loss = torch.nn.functional.mse_loss(head(outputs[:, -1]), step[0, :, :1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state = (h.detach(), c.detach())
        return loss.item()

    return take


if __name__ == "__main__":
    main()
