"""Simulated losses of pretraining runs, by somebody who had not read the rules that they judge.

Every public function takes a numpy Generator first and draws from nothing else. Losses are nats per token; a ``gap`` is
positive when the run is worse. Curves after Hoffmann 2022, Besiroglu 2024, Kaplan 2020, Tissue 2024, Luo 2025 and Wen
2024, constants from memory; sizes of noise, shifts and spikes are judgements, no fits to published logs.
"""

# mypy: ignore-errors
# ruff: noqa
from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

LOSS_NULLS = (
    "null_clean",
    "null_cosine",
    "null_wsd",
    "null_constant",
    "null_noisy",
    "null_slow_noise",
    "null_mixshift",
    "null_spiky",
    "null_spike_cluster",
    "null_rewarm",
    "null_restart",
    "null_epochs",
    "null_periodic",
    "null_batch_ramp",
    "null_flat_late",
    "null_slow_start",
    "null_everything",
)
LOSS_ALTS = (
    "alt_spike_recover",
    "alt_spike_partial",
    "alt_spike_stay",
    "alt_spike_train",
    "alt_diverge_fast",
    "alt_diverge_slow",
    "alt_plateau",
    "alt_nan",
    "alt_nan_burst",
    "alt_inf",
    "alt_collapse",
)
FORECAST_NULLS = ("null_at", "null_just_below", "null_below", "null_far_below")
FORECAST_ALTS = ("alt_tiny", "alt_small", "alt_medium", "alt_large")


# --------------------------------------------------------------------------------------
# small helpers
# --------------------------------------------------------------------------------------
def _u(rng, a, b):
    return float(rng.uniform(a, b))


def _logu(rng, a, b):
    return float(math.exp(rng.uniform(math.log(a), math.log(b))))


def _pick(rng, seq):
    return seq[int(rng.integers(len(seq)))]


def _ar1(rng, k, sd, rho, shape=(), df=None):
    """Stationary AR(1), marginal sd `sd`; Student-t innovations when df is given."""
    if df is None:
        e = rng.standard_normal((k,) + shape)
    else:
        e = rng.standard_t(df, (k,) + shape) / math.sqrt(df / (df - 2.0))
    out = np.empty_like(e)
    out[0] = e[0]
    c = math.sqrt(max(0.0, 1.0 - rho * rho))
    for i in range(1, k):
        out[i] = rho * out[i - 1] + c * e[i]
    return out * sd


def _rho(k, frac):
    """AR coefficient whose correlation time is `frac` of k points."""
    return math.exp(-1.0 / max(frac * k, 1e-9))


def _phi(z):
    return np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _Phi(z):
    """Normal cdf, Abramowitz & Stegun 7.1.26 (abs. error < 1.5e-7)."""
    z = np.asarray(z, float)
    x = np.abs(z) / math.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = 1.0 - poly * np.exp(-x * x)
    return 0.5 * (1.0 + np.sign(z) * erf)


def _sig(x):
    return 1.0 / (1.0 + np.exp(-np.clip(x, -60, 60)))


# --------------------------------------------------------------------------------------
# 1. loss curves
# --------------------------------------------------------------------------------------
@dataclass
class LossRun:
    kind: str
    is_null: bool
    tokens: np.ndarray  # (K,) tokens seen at each log line
    loss: np.ndarray  # (K,) what was logged
    clean: np.ndarray  # (K,) noise-free, spike-free(null spikes) curve; includes true shifts/faults
    final_tokens: float  # T, the end of the schedule
    final_loss: float  # noise-free loss at T (inf if diverged, nan if NaN to the end)
    counterfactual_final: float  # the same had the fault of an alt_* kind not occurred
    onset: int | None  # first faulty log index (alternatives)
    size: float  # size of the fault in nats (nan where it has no size)
    events: list = field(default_factory=list)
    params: dict = field(default_factory=dict)


def _schedule(name, x, warm, p):
    """lr/peak at fraction x of the schedule."""
    x = np.asarray(x, float)
    w = np.clip(x / max(warm, 1e-12), 0, 1)
    if name == "cosine":
        y = np.clip((x - warm) / (1 - warm), 0, 1)
        s = p["min_lr"] + (1 - p["min_lr"]) * 0.5 * (1 + np.cos(np.pi * y))
    elif name == "wsd":
        y = np.clip((x - (1 - p["decay"])) / p["decay"], 0, 1)
        s = {
            "linear": 1 - (1 - p["min_lr"]) * y,
            "sqrt": 1 - (1 - p["min_lr"]) * np.sqrt(y),
            "exp": np.exp(y * math.log(max(p["min_lr"], 1e-2))),
        }[p["shape"]]
    elif name == "linear":
        y = np.clip((x - warm) / (1 - warm), 0, 1)
        s = 1 - (1 - p["min_lr"]) * y
    elif name == "constant":
        s = np.ones_like(x)
    else:
        raise ValueError(f"unknown schedule {name!r}")
    return w * s


def loss_curve(
    rng,
    kind="null_clean",
    n_checkpoints=200,
    *,
    schedule=None,
    source=None,
    observed_frac=1.0,
    final_tokens=None,
    n_params=None,
    grid=None,
    noise_sd=None,
    rho=None,
    spike_size=None,
    onset_frac=None,
    future_shift=0.0,
    full=False,
):
    """One training-loss log.  Returns (tokens_K, loss_K), or a LossRun with full=True.

    schedule       cosine | wsd | linear | constant     (None: drawn, or fixed by the kind)
    source         train (one step's loss) | train_mean (mean since the last line) | val (fixed held-out set)
    observed_frac  the log stops at this fraction of the schedule; final_loss is still that at the end
    grid           linear | pythia (powers of two first) | recadence (logging interval changed mid-run)
    future_shift   nats of data-mix shift that takes place after the log's last line (enters final_loss)
    """
    if kind not in LOSS_NULLS + LOSS_ALTS:
        raise ValueError(f"unknown kind {kind!r}; one of {LOSS_NULLS + LOSS_ALTS}")
    if not 0 < observed_frac <= 1:
        raise ValueError("observed_frac in (0, 1]")
    K = int(n_checkpoints)
    if K < 6:
        raise ValueError("needs n_checkpoints >= 6")
    is_null = kind.startswith("null")
    every = kind == "null_everything"
    # ---- recipe
    fam = _pick(rng, ("hoffmann", "besiroglu", "kaplan", "drawn"))
    N = n_params or _logu(rng, 7e7, 3e10)
    T = float(final_tokens or min(N * _logu(rng, 8, 300), 1.5e13))
    V0 = math.log(_pick(rng, (32000, 50257, 65536, 100277, 128256))) + _u(rng, 0.0, 0.3)
    shift = _u(rng, -0.35, 0.35)  # tokenizer / corpus difficulty
    if fam == "hoffmann":
        E, B, beta = 1.69 + 406.4 / N**0.34 + shift, 410.7, 0.28
    elif fam == "besiroglu":
        E, B, beta = 1.82 + 482.0 / N**0.348 + shift, 2085.4, 0.366
    elif fam == "kaplan":  # data law with no floor but the model's
        beta = 0.095
        E, B = max(0.05, (8.8e13 / N) ** 0.076 - 1.7) * 0.5, 5.4e13**0.095
    else:
        beta = _u(rng, 0.18, 0.5)
        E = _u(rng, 1.3, 2.4)
        B = _logu(rng, 0.12, 0.9) * T**beta  # reducible loss left at T: 0.12 .. 0.9
    if kind == "null_flat_late":  # far over-trained: looks like a plateau, is the law
        E, beta = _u(rng, 1.5, 2.4), _u(rng, 0.3, 0.5)
        B = _logu(rng, 0.005, 0.03) * T**beta * 3
    sched = (
        schedule
        or {"null_cosine": "cosine", "null_wsd": "wsd", "null_constant": "constant", "null_flat_late": "constant"}.get(
            kind
        )
        or _pick(rng, ("cosine", "cosine", "wsd", "wsd", "linear", "constant"))
    )
    sp = dict(
        min_lr=_pick(rng, (0.0, 0.1, 0.1, 0.01)), decay=_u(rng, 0.05, 0.25), shape=_pick(rng, ("linear", "sqrt", "exp"))
    )
    warm = _u(rng, 0.001, 0.02)
    if kind == "null_slow_start":  # long warm-up, early kink (induction-head bump)
        warm = _u(rng, 0.04, 0.12)
    hill, hexp = _u(rng, 0.02, 0.12), _u(rng, 0.6, 1.2)
    batch = _logu(rng, 2.5e5, 8e6)
    # ---- grid of log lines (tokens)
    Tobs = T * observed_frac
    grid = grid or _pick(rng, ("linear", "linear", "linear", "recadence", "pythia"))
    if grid == "linear":
        g = np.arange(1, K + 1) / K
    elif grid == "pythia":
        m = min(10, K // 4)
        gl = 2.0 ** np.arange(m) / 2.0**m / max(K - m, 1)
        g = np.r_[gl, np.arange(1, K - m + 1) / (K - m)]
    elif grid == "recadence":
        c, r = _u(rng, 0.25, 0.7), _pick(rng, (0.2, 0.5, 2.0, 4.0))
        w = np.where(np.arange(K) < c * K, 1.0, r)
        g = np.cumsum(w) / w.sum()
    else:
        raise ValueError(f"unknown grid {grid!r}")
    bratio = np.ones(K)
    if kind == "null_batch_ramp" or (every and rng.random() < 0.3):
        bratio = np.clip(0.1 + 0.9 * np.arange(K) / (K * _u(rng, 0.1, 0.5)), 0.1, 1)
        g = np.cumsum(np.diff(np.r_[0, g]) * bratio)
        g /= g[-1]
    tokens = np.maximum(np.round(g * Tobs / batch), 1) * batch
    for i in range(1, K):  # strictly increasing even on tiny grids
        if tokens[i] <= tokens[i - 1]:
            tokens[i] = tokens[i - 1] + batch
    if observed_frac == 1.0:
        T = float(tokens[-1])
    # ---- law on a fine grid: power law in the lr-weighted tokens + "valley wall" height that follows the lr
    xs = np.r_[0.0, np.geomspace(1e-7, 0.02, 1500), np.linspace(0.02, 1, 6000)[1:]]
    lr = _schedule(sched, xs, warm, sp)
    events = []
    rewarm = kind == "null_rewarm" or (every and rng.random() < 0.3)
    if rewarm:  # restart of the schedule: the loss rises, lawfully
        r0, dip = _u(rng, 0.3, 0.75) * observed_frac, _u(rng, 0.05, 0.3)
        ramp = np.clip((xs - r0) / _u(rng, 0.004, 0.03), 0, 1)
        before = np.where(xs < r0, np.clip((r0 - xs) / (0.35 * r0), dip, 1), 1)
        lr = np.where(xs < r0, lr * before, lr * (dip + (1 - dip) * ramp))
        hill *= _u(rng, 1.0, 2.2)
        events.append(("rewarm", r0 * T))
    S1 = np.r_[0, np.cumsum(0.5 * (lr[1:] + lr[:-1]) * np.diff(xs))] * T
    lag = _u(rng, 0.001, 0.01)
    ema = np.empty_like(lr)
    ema[0] = lr[0]
    dec = np.exp(-np.diff(xs) / lag)
    for i in range(1, len(lr)):
        ema[i] = dec[i - 1] * ema[i - 1] + (1 - dec[i - 1]) * lr[i]
    D0 = max((B / max(V0 - E, 1.0)) ** (1 / beta), batch)
    fine = np.minimum(E + B * (S1 + D0) ** (-beta), V0) + hill * ema**hexp
    if kind == "null_slow_start":
        fine = fine + _u(rng, 0.3, 1.2) * _sig(-(xs - warm * 1.1) / (0.12 * warm))

    # ---- lawful shifts
    add = np.zeros_like(xs)
    if kind == "null_mixshift" or (every and rng.random() < 0.6):
        for _ in range(int(rng.integers(1, 4))):
            at = _u(rng, 0.08, 0.95) * observed_frac
            d = _pick(rng, (-1, 1, 1)) * _logu(rng, 0.01, 0.25)
            w = _pick(rng, (1e-4, 1e-4, 0.01, 0.05))
            kept = _pick(rng, (1.0, 1.0, 0.4, 0.0))  # part of the shift that adaptation doesn't undo
            rel = np.exp(-np.clip(xs - at, 0, None) / _u(rng, 0.02, 0.15))
            add += d * np.clip((xs - at) / w, 0, 1) * (kept + (1 - kept) * rel)
            events.append(("mixshift", at * T, d, kept))
    if kind == "null_epochs" or (every and rng.random() < 0.25):
        n_ep = int(rng.integers(2, 6))
        d = _logu(rng, 0.005, 0.06)
        for e in range(1, n_ep):
            add -= d * 0.8**e * (xs >= e / n_ep)
            events.append(("epoch", e / n_ep * T))
    if future_shift:
        at = observed_frac + (1 - observed_frac) * _u(rng, 0.05, 0.9)
        add += future_shift * (xs >= at)
        events.append(("future_shift", at * T, future_shift))
    fine = fine + add
    final = float(fine[-1])
    clean = np.interp(tokens / T, xs, fine)
    # ---- noise
    source = source or _pick(rng, ("train", "train", "train_mean", "val"))
    base_sd = {
        "train": _logu(rng, 0.012, 0.07),
        "train_mean": _logu(rng, 0.002, 0.015),
        "val": _logu(rng, 0.0008, 0.005),
    }[source]
    if kind == "null_clean":
        base_sd *= 0.5
    sd = base_sd if noise_sd is None else float(noise_sd)
    r = rho if rho is not None else _pick(rng, (0.0, 0.2, 0.5, 0.7))
    df = None
    if kind in ("null_noisy", "null_everything"):
        sd, r, df = (
            (min(2.0 * sd, 0.05) if noise_sd is None else sd),
            (rho if rho is not None else _u(rng, 0.5, 0.95)),
            4,
        )
    noise = _ar1(rng, K, sd, r, df=df) / np.sqrt(bratio)
    noise = np.clip(noise, -5 * sd / np.sqrt(bratio), 5 * sd / np.sqrt(bratio))
    noise *= np.clip(clean / max(final, 0.5), 1.0, 2.5)  # noise is larger early
    slow_sd = _logu(rng, 0.001, 0.006) if noise_sd is None else 0.3 * sd
    if kind in ("null_slow_noise", "null_everything"):
        slow_sd = _logu(rng, 0.005, 0.03)
    noise += _ar1(rng, K, slow_sd, _rho(K, _u(rng, 0.02, 0.15)))
    if kind == "null_periodic" or (every and rng.random() < 0.3):
        per = _u(rng, 5, max(6, K / 4))
        noise += _logu(rng, 0.01, 0.06) * np.sin(2 * np.pi * (np.arange(K) / per + rng.random()))
    # ---- normal spikes (never in `clean`)
    bumps = np.zeros(K)
    n_sp = {"null_spiky": 3 + K // 60, "null_spike_cluster": 0, "null_everything": 2 + K // 100}.get(
        kind, 0 if kind in ("null_clean", "null_flat_late") else int(rng.poisson(0.7))
    )
    locs = list(rng.integers(2, max(3, K), n_sp))
    if kind == "null_spike_cluster":
        c = int(rng.integers(K // 6, max(K // 6 + 1, K - K // 6)))
        locs += [min(K - 1, c + int(j)) for j in rng.integers(0, max(2, K // 10), 4 + K // 80)]
    for at in locs:
        h, tau = _logu(rng, 0.02, 0.22), _logu(rng, 0.15, 4.0)
        bumps[at:] += h * np.exp(-np.arange(K - at) / tau)
        events.append(("small_spike", float(tokens[at]), h))
    bumps = np.minimum(bumps, 0.25)
    if kind == "null_restart" or (every and rng.random() < 0.4):  # crash, reload, replayed / skipped data
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(K // 10 + 1, K)) if K > 3 else K - 1
            n = int(rng.integers(1, max(2, K // 25)))
            bumps[at : at + n] += _logu(rng, 0.01, 0.12) * np.exp(-np.arange(len(bumps[at : at + n])) / max(n / 3, 0.5))
            j = slice(at, min(K, at + n))
            if rng.random() < 0.5:  # replayed batches: seen once, a little lower
                bumps[j] -= _logu(rng, 0.005, 0.04)
            events.append(("restart", float(tokens[at])))
    loss = clean + noise + bumps
    # ---- faults
    onset, size, cf = None, float("nan"), final
    if not is_null:
        f = onset_frac if onset_frac is not None else _u(rng, 0.15, 0.85)
        onset = int(min(K - 1, max(1, round(f * K))))
        after = np.arange(K - onset, dtype=float)
        fault = np.zeros(K)
        left = T - tokens[onset]  # tokens after onset
        lines_left = (K - onset) + (T - tokens[-1]) / max(tokens[-1] - tokens[-2] if K > 1 else batch, 1)
        size = float(spike_size) if spike_size is not None else _logu(rng, 0.3, 3.0)
        if kind == "alt_spike_recover":
            tau = _u(rng, 1.0, max(1.5, 0.06 * K))
            fault[onset:] = size * np.exp(-after / tau)
            final += size * math.exp(-lines_left / tau)
        elif kind == "alt_spike_partial":
            keep = _u(rng, 0.1, 0.5)
            fault[onset:] = size * (keep + (1 - keep) * np.exp(-after / _u(rng, 1.0, max(1.5, 0.06 * K))))
            final += keep * size
        elif kind == "alt_spike_stay":
            fault[onset:] = size
            final += size
        elif kind == "alt_spike_train":  # repeated, growing, precursor of a loss of the run
            at, h = onset, 0.3
            while at < K:
                fault[at:] += h * np.exp(-np.arange(K - at) / _u(rng, 0.7, 3.0))
                at += int(rng.integers(3, max(4, K // 12) + 1))
                h = min(h * _u(rng, 1.05, 1.5), 4.0)
            fault = np.minimum(fault, 4.0)
            size = float(fault.max())
        elif kind == "alt_diverge_fast":
            top = max(_u(rng, 6.5, V0) - clean[onset], 1.0)
            grow = _u(rng, 1.0, max(2.0, 0.04 * K))
            fault[onset:] = top * (1 - np.exp(-(after + 1) / grow))
            size, final = float(top), float(final + top)
        elif kind == "alt_diverge_slow":
            size = float(spike_size) if spike_size is not None else _logu(rng, 0.15, 3.0)
            z = (tokens[onset:] - tokens[onset]) / max(tokens[-1] - tokens[onset], batch)
            p = _u(rng, 1.0, 2.5)
            fault[onset:] = size * z**p  # `size` is reached on the log's last line
            final += min(size * (left / max(tokens[-1] - tokens[onset], batch)) ** p, max(V0 - final, 0))
        elif kind == "alt_plateau":
            stuck = clean[onset]
            fault[onset:] = stuck - clean[onset:]
            size, final = float(stuck - final), float(stuck)
        elif kind == "alt_nan":
            fault[onset:] = np.nan
            size = float("nan")
            final = float("nan")
        elif kind == "alt_nan_burst":
            fault[onset : onset + int(rng.integers(1, 4))] = np.nan
            size = float("nan")
        elif kind == "alt_inf":
            fault[onset:] = size * np.exp(np.minimum(after, 50))
            fault[min(K, onset + int(rng.integers(0, 4))) :] = np.inf
            final = float("inf")
        elif kind == "alt_collapse":  # too good: leaked or repeated data
            size = -_logu(rng, 0.3, 1.5)
            low = max(size, 0.05 - clean[-1])
            fault[onset:] = low * (1 - np.exp(-(after + 1) / _u(rng, 0.5, max(1.0, 0.05 * K))))
            final += low
        clean = clean + fault
        loss = loss + fault
        events.append((kind, float(tokens[onset])))
    with np.errstate(invalid="ignore"):
        loss = np.where(loss < 0.01, 0.01, loss)
    run = LossRun(
        kind,
        is_null,
        tokens,
        loss,
        clean,
        T,
        final,
        cf,
        onset,
        size,
        events,
        dict(
            family=fam,
            N=N,
            E=E,
            B=B,
            beta=beta,
            schedule=sched,
            warmup=warm,
            hill=hill,
            source=source,
            noise_sd=sd,
            rho=r,
            slow_sd=slow_sd,
            grid=grid,
            batch=batch,
            observed_frac=observed_frac,
            **sp,
        ),
    )
    return run if full else (run.tokens, run.loss)


@dataclass
class ForecastCase:
    kind: str
    is_null: bool  # True: final_loss <= x, so the statement "loss at T will be above x" is false
    tokens: np.ndarray
    loss: np.ndarray
    T: float
    x: float
    final_loss: float
    gap: float  # final_loss - x  (<= 0 under a null)
    run: LossRun = None


FORECAST_GAPS = {
    "null_at": (0.0, 0.0),
    "null_just_below": (-0.01, -0.001),
    "null_below": (-0.06, -0.01),
    "null_far_below": (-0.4, -0.06),
    "alt_tiny": (0.002, 0.01),
    "alt_small": (0.01, 0.03),
    "alt_medium": (0.03, 0.1),
    "alt_large": (0.1, 0.5),
}


def forecast_case(
    rng, kind="null_just_below", n_checkpoints=200, *, run_kind=None, observed_frac=None, gap=None, **loss_kw
):
    """A prefix of a run, a horizon T and a bar x.  gap = final_loss - x is drawn for the kind (or given).

    run_kind: a LOSS_NULLS kind (None: drawn among all of them, WSD with its decay still to come included);
    an alt_* loss kind is allowed where its final loss is finite.
    """
    if kind not in FORECAST_GAPS:
        raise ValueError(f"unknown kind {kind!r}; one of {tuple(FORECAST_GAPS)}")
    rk = run_kind or _pick(rng, LOSS_NULLS)
    of = observed_frac if observed_frac is not None else _u(rng, 0.15, 0.95)
    run = loss_curve(rng, rk, n_checkpoints, observed_frac=of, full=True, **loss_kw)
    if not math.isfinite(run.final_loss):
        raise ValueError(f"run_kind {rk!r} has no finite final loss")
    lo, hi = FORECAST_GAPS[kind]
    if gap is None:
        gap = 0.0 if lo == hi else (1 if lo > 0 else -1) * _logu(rng, min(abs(lo), abs(hi)), max(abs(lo), abs(hi)))
    elif (gap <= 0) != kind.startswith("null"):
        raise ValueError("gap's sign disagrees with the kind")
    x = run.final_loss if gap == 0 else run.final_loss - gap
    return ForecastCase(
        kind, gap <= 0, run.tokens, run.loss, run.final_tokens, float(x), run.final_loss, float(gap), run
    )
