"""What a time gate on an LSTM is good for: the gate drawn, noise it may shut out, samples at random times, its price.

    python -m experiments.temporal_gate openness      k_t for period 6, shift 3, open ratio 0.2
    python -m experiments.temporal_gate noise         waves under bursts of noise; learned gates beside the true one
    python -m experiments.temporal_gate sines         frequency from samples at coarse, fine and random times
    python -m experiments.temporal_gate speed         time per update, gated against plain

    phi = ((t - s) mod tau) / tau      k = 2 phi / r      while phi < r / 2
                                           2 - 2 phi / r  while phi < r
                                           alpha phi      else
    c_t = k c~_t + (1 - k) c_{t-1}     h_t = k h~_t + (1 - k) h_{t-1}

Published: report D draws the gate and says that it can shut out a periodic noise (s its onset, tau its period, r its
share), without a number. Neil, Pfeiffer and Liu (2016) report in a figure that the Phased LSTM stays accurate on
asynchronously sampled sines, where the LSTM falls behind.

Obtained on an AMD EPYC (Zen 4), no GPU, jax 0.10.2, 2026-11-21:
    openness  open 0.199 of the time, at the whole times 4, 10, 16, 22 only; every closed step keeps h bit for bit
    noise     the defaults, five seeds, 205 s of CPU, 2026-11-26; accuracy, chance is 0.33: gated LSTM 1.000 (0.999 to
              1.000), LSTM 0.340 +- 0.015, LSTM told the time 0.345 +- 0.010: ahead by 0.660 +- 0.015, in 5 of 5.
              True period 24, opens at 0, open ratio 0.25; the most used unit that is quiet in noise, by seed: (24.0,
              1.6, 0.18), (23.8, 0.3, 0.22), (24.0, 1.1, 0.20), (24.6, 22.1, 0.20), (23.3, 23.3, 0.23). Noise covers
              0.75 of the steps and has 0.11 to 0.18 of the answer's sensitivity |d logit / d x_t|. Not every unit
              learns the true gate: quiet ones have 0.00 to 0.17 of the use, and mean openness in noise goes from 0.77
              to 0.72.
              Found while the task was made, one or two seeds each: period 12 and starting periods 9 to 16 stayed at
              chance (0.30, 700 updates); period 12, weak noise, starting periods 2 to 50 reached 0.94, by the gates'
              clocks, since openness in noise hardly moved (0.77 to 0.72); period 12, 6 to 24: 0.98 and 0.32.
    sines     the defaults, three seeds, one core, 149 s (2026-11-21); run anew on 2026-11-26, experiments/README.md: of
              random times 0.970 +- 0.013 with the gate and 0.892 +- 0.003 without
    speed     gated 64.4 ms an update, plain 57.5 ms: 1.12 times (asked: at most 1.3); 128 units, batch 128, T = 100

Every network: one layer, a linear answer from h_T, Adam, gradient norm clipped to 1, fresh sequences each update.
`noise`: the gate is open during r, so the gate that shuts out bursts with onset o and share n has r = 1 - n and opens
when they end. Its steps are whole times. Periods start from 0.75 to 1.33 of the true one. The plain LSTM is trained
on the same sequences, once more with the time as a second input.
`sines`: periods outside the band are drawn evenly from 1 to 5 or from 6 to 100, one as likely as the other; all rows
are equally long, where the paper varies it. The plain LSTM reads value and time, at random times once more value and
the time since the sample before, which helps it much; the gated one reads the value, its gates the time.
`speed`: drawing the sequences is part of the update, for both cells.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from cyclopts import Parameter

from experiments.temporal_gate.options import check_counts, check_positive, checked_gate
from experiments.temporal_gate.report import print_gates, report_accuracies, save
from jaxrnn.checks import check_number
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal import run_app

app = cyclopts.App(help="What a time gate on an LSTM is good for.", version_flags=[])
RUN = Path("runs/temporal_gate")
PERIOD, SHIFT, OPEN_RATIO = 6.0, 3.0, 0.2
LEAK = 0.05  # larger than a network's 0.001, to be seen
WAVES = (20.0, 30.0, 45.0)
POINTS = 20  # of a learning curve


@app.command(name="openness")
def draw_openness(*, run: Path = RUN) -> int:
    """Draw k_t on a fine time axis, and a unit of the cell that keeps its state where k is 0.

    Args:
      run: directory of the picture and its numbers.
    """
    from experiments.temporal_gate.figures import gate_example, openness_figure

    times = np.arange(2401) / 100
    k, xs, h = gate_example(times, PERIOD, SHIFT, OPEN_RATIO, 0.0)
    leaking = gate_example(times, PERIOD, SHIFT, OPEN_RATIO, LEAK)[0]
    at_whole = k[::100]
    still = h[1:] == h[:-1]
    numbers = {
        "period": PERIOD,
        "shift": SHIFT,
        "open_ratio": OPEN_RATIO,
        "share_of_time_open": float((k > 0).mean()),
        "largest_k": float(k.max()),
        "whole_times_open": [int(t) for t in np.flatnonzero(at_whole)],
        "k_at_whole_times": at_whole.tolist(),
        "share_of_closed_steps_that_keep_h": float(still[k[1:] == 0].mean()),
    }
    print(f"open {numbers['share_of_time_open']:.3f} of the time, at the whole times {numbers['whole_times_open']}")
    save(run, "openness", openness_figure(times, k, leaking, xs, h, LEAK), numbers)
    return 0


@app.command
def noise(
    *,
    run: Path = RUN,
    seeds: int = 5,
    updates: int = 600,
    hidden: int = 32,
    batch_size: int = 64,
    length: int = 96,
    learning_rate: float = 1e-2,
    period: float = 24.0,
    onset: float = 6.0,
    share: float = 0.75,
    scale: float = 3.0,
    period_range: tuple[float, float] = (18.0, 32.0),
    open_ratio: float = 0.3,
) -> int:
    """Which of three slow sines lies under periodic bursts of noise: gated LSTM, plain LSTM, plain LSTM told the time.

    Args:
      run: directory of the picture and its numbers.
      seeds: networks of each kind.
      updates: of each network.
      hidden: H.
      batch_size: B.
      length: T.
      learning_rate: of Adam.
      period: true period of the bursts.
      onset: when a burst begins.
      share: noisy share of the period.
      scale: standard deviation of the noise; the sines' is 0.71.
      period_range: least and greatest period that a gate starts with.
      open_ratio: open share that a gate starts with.
    """
    from experiments.temporal_gate.figures import noise_figure
    from experiments.temporal_gate.learner import GATED, Learner, Size, learn
    from experiments.temporal_gate.tasks import NoisyWaves, TimedTask
    from experiments.temporal_gate.timed_signals import Bursts
    from experiments.temporal_gate.units import noise_of_gates, units_of_gates

    check_counts(seeds=seeds, updates=updates, hidden=hidden, batch_size=batch_size, length=length)
    check_positive(learning_rate=learning_rate, period=period)
    check_number("scale", scale, 0.0)
    check_number("share", share, 0.0, 1.0)
    bursts = Bursts(period, onset, share, scale)
    signal = NoisyWaves(length, WAVES, bursts)
    size = Size(hidden, batch_size, learning_rate)
    gate = checked_gate(period_range, open_ratio)
    networks = {
        "LSTM": Learner(TimedTask(signal), "lstm", {}, size),
        "LSTM told the time": Learner(TimedTask(signal, "time"), "lstm", {}, size),
        "gated LSTM": Learner(TimedTask(signal), GATED, gate, size),
    }
    every = max(1, updates // POINTS)
    curves = {name: learn(network, seeds, updates, every, name) for name, network in networks.items()}
    numbers: dict[str, Any] = {
        "bursts": bursts._asdict(),
        "wave_periods": WAVES,
        "size": vars(size) | {"length": length, "updates": updates, "seeds": seeds},
        "gate_at_first": gate,
        "accuracy": {name: curve.accuracy.tolist() for name, curve in curves.items()},
        "updates": curves["LSTM"].updates.tolist(),
        "gates": noise_of_gates(curves["gated LSTM"], bursts, length),
        "units": units_of_gates(curves["gated LSTM"]),
        "sensitivity": [of.tolist() for of in curves["gated LSTM"].sensitivity],
    }
    report_accuracies({name: curve.accuracy[:, -1] for name, curve in curves.items()}, "gated LSTM")
    print_gates(numbers["gates"], bursts)
    save(run, "noise", noise_figure(curves, signal, "gated LSTM"), numbers)
    return 0


@app.command
def sines(
    *,
    run: Path = RUN,
    seeds: int = 3,
    updates: int = 800,
    hidden: int = 32,
    batch_size: int = 64,
    length: int = 50,
    finer: int = 3,
    learning_rate: float = 5e-3,
    sampling: Annotated[list[str], Parameter(consume_multiple=True)] = ["coarse", "fine", "random"],  # noqa: B006
    period_range: tuple[float, float] = (1.0, 50.0),
    open_ratio: float = 0.1,
) -> int:
    """Whether a sine's period lies between 5 and 6: samples at coarse, fine and random times, both cells.

    Args:
      run: directory of the picture and its numbers.
      seeds: networks of each kind.
      updates: of each network.
      hidden: H.
      batch_size: B.
      length: T, and the duration; fine sampling has `finer` times as many steps.
      finer: fine samples a coarse one.
      learning_rate: of Adam.
      sampling: which ways: coarse, fine, random.
      period_range: least and greatest period that a gate starts with.
      open_ratio: open share that a gate starts with.
    """
    from experiments.temporal_gate.figures import sines_figure
    from experiments.temporal_gate.learner import GATED, Learner, Size, learn
    from experiments.temporal_gate.tasks import Sines, TimedTask

    ways = ("coarse", "fine", "random")
    if not sampling or not set(sampling) <= set(ways):
        raise ConfigurationError(
            f"--sampling expects ways out of {', '.join(ways)}; got {' '.join(sampling) or 'none'}"
        )
    check_counts(seeds=seeds, updates=updates, hidden=hidden, batch_size=batch_size, length=length, finer=finer)
    check_positive(learning_rate=learning_rate)
    size = Size(hidden, batch_size, learning_rate)
    gate = checked_gate(period_range, open_ratio)
    duration = float(length)
    signals = {
        "coarse": Sines(length, duration, False),
        "fine": Sines(finer * length, duration, False),
        "random": Sines(length, duration, True),
    }
    every = max(1, updates // POINTS)
    curves: dict[str, dict[str, Any]] = {}
    for mode in sampling:
        signal = signals[mode]
        networks = {
            "LSTM": Learner(TimedTask(signal, "time"), "lstm", {}, size),
            "gated LSTM": Learner(TimedTask(signal), GATED, gate, size),
        }
        if mode == "random":
            networks["LSTM told the gaps"] = Learner(TimedTask(signal, "gap"), "lstm", {}, size)
        curves[mode] = {
            name: learn(network, seeds, updates, every, f"{mode}, {name}") for name, network in networks.items()
        }
    for mode, of in curves.items():
        print(f"{mode}:")
        report_accuracies({name: curve.accuracy[:, -1] for name, curve in of.items()}, "gated LSTM")
    numbers = {
        "size": vars(size) | {"length": length, "finer": finer, "updates": updates, "seeds": seeds},
        "gate_at_first": gate,
        "accuracy": {m: {name: curve.accuracy.tolist() for name, curve in of.items()} for m, of in curves.items()},
        "updates": curves[sampling[0]]["LSTM"].updates.tolist(),
    }
    save(run, "sines", sines_figure(curves), numbers)
    return 0


@app.command
def speed(
    *,
    run: Path = RUN,
    hidden: int = 128,
    batch_size: int = 128,
    length: int = 100,
    rounds: int = 7,
    seconds: float = 2.0,
) -> int:
    """Time per update of the gated LSTM against the plain one, medians of interleaved rounds.

    Args:
      run: directory of the numbers.
      hidden: H.
      batch_size: B.
      length: T.
      rounds: interleaved rounds.
      seconds: that each takes in each round.
    """
    from experiments.benchmark.timing import interleaved_rates, median_ratio
    from experiments.temporal_gate.learner import GATED, Learner, Size
    from experiments.temporal_gate.tasks import Sines, TimedTask

    check_counts(hidden=hidden, batch_size=batch_size, length=length, rounds=rounds)
    check_positive(seconds=seconds)
    task, size = TimedTask(Sines(length, float(length), True)), Size(hidden, batch_size)
    competitors = {"LSTM": Learner(task, "lstm", {}, size), "gated LSTM": Learner(task, GATED, {}, size)}
    rates = interleaved_rates(competitors, rounds, seconds)
    milliseconds = {name: 1000 / statistics.median(of) for name, of in rates.items()}
    ratio = median_ratio(rates["LSTM"], rates["gated LSTM"])
    for name, of in milliseconds.items():
        print(f"{name}: {of:.2f} ms an update")
    print(f"gated / plain: {ratio:.3f} (hidden {hidden}, batch {batch_size}, T {length}, {rounds} rounds)")
    sizes = {"hidden": hidden, "batch_size": batch_size, "length": length, "rounds": rounds}
    save(run, "speed", None, {"sizes": sizes, "milliseconds": milliseconds, "ratio": ratio, "rates": rates})
    return 0


if __name__ == "__main__":
    run_app(app)
