"""Simulated items and scores of pairs of runs, by somebody who had not read the rules that they judge.

Every public function takes a numpy Generator first and draws from nothing else. Scores are higher-is-better; a ``gap``
is positive when the candidate is worse. Seed effects are of the order that PolyPythias (van der Wal 2025), DataDecide
(Magnusson 2025) and Signal and Noise (Heineman 2025) report, no fits.
"""

# mypy: ignore-errors
# ruff: noqa
from __future__ import annotations

import math

import numpy as np

from strange_losses import _ar1, _logu, _Phi, _phi, _pick, _rho, _sig, _u

PAIR_NULLS = (
    "null_equal",
    "null_better",
    "null_same_recipe",
    "null_random_walk",
    "null_seed_heavy",
    "null_cluster",
    "null_late_crossing",
    "null_very_late_crossing",
    "null_level_shift",
    "null_dip",
    "null_mixed_items",
    "null_outlier_items",
    "null_shared_shocks",
    "null_wobble",
)
PAIR_ALT_SIZES = ("alt_small", "alt_medium", "alt_large")
PAIR_PATHS = ("const", "grow", "late", "step", "cluster", "early_fade")
PAIR_ALTS = PAIR_ALT_SIZES + tuple(f"{s}_{p}" for s in PAIR_ALT_SIZES for p in PAIR_PATHS)
SCORE_KINDS = (
    "chance",
    "chance_biased",
    "late",
    "late_jump",
    "rising",
    "saturating",
    "saturated",
    "u_shape",
    "falling",
    "rise_then_fall",
    "level_shift",
    "level_shift_up",
)


# --------------------------------------------------------------------------------------
# 2. paired items
# --------------------------------------------------------------------------------------
def _seed_path(rng, mode, t, sd, shape=()):
    """Zero-mean Gaussian(-like) seed effect over run fractions t; returns path and its sd at every t."""
    K = len(t)
    one = (slice(None),) + (None,) * len(shape)
    if mode == "const":
        return np.broadcast_to(sd * rng.standard_normal((1,) + shape), (K,) + shape).copy(), np.full(K, sd)
    if mode == "ou":
        dt = np.diff(t)
        ell = _u(rng, 0.15, 0.6)
        e = rng.standard_normal((K,) + shape)
        out = np.empty_like(e)
        out[0] = e[0]
        for i in range(1, K):
            a = math.exp(-dt[i - 1] / ell)
            out[i] = a * out[i - 1] + math.sqrt(1 - a * a) * e[i]
        return sd * out, np.full(K, sd)
    if mode == "rw":
        v = t
    elif mode == "logrw":  # seeds part early, then keep their places
        v = np.log1p(40 * t) / math.log1p(40)
    elif mode == "jump":  # a few sudden partings of the ways
        lam = 4.0
        counts = rng.poisson(lam * np.diff(np.r_[0.0, t])[one] * np.ones((1,) + shape))
        step = rng.standard_normal((K,) + shape) * np.sqrt(counts / lam)
        return sd * np.cumsum(step, 0), sd * np.sqrt(t)
    else:
        raise ValueError(f"unknown seed mode {mode!r}")
    step = rng.standard_normal((K,) + shape) * np.sqrt(np.diff(np.r_[0.0, v]))[one]
    return sd * np.cumsum(step, 0), sd * np.sqrt(v)


SEED_MODES = ("rw", "ou", "logrw", "const", "jump")
_GAPS = {
    "loglik": {"small": (0.005, 0.02), "medium": (0.02, 0.06), "large": (0.06, 0.25)},
    "acc": {"small": (0.005, 0.015), "medium": (0.015, 0.04), "large": (0.04, 0.12)},
    "seed": {"small": (1.0, 2.0), "medium": (2.0, 4.0), "large": (4.0, 10.0)},
}


def _gap_path(rng, shape, t, g0, g1):
    """Expected gap by run fraction: `g0` early, exactly `g1` at t = 1."""
    if shape == "const":
        return np.full_like(t, g1)
    if shape == "grow":
        return g1 * t ** _u(rng, 0.7, 2.5)
    if shape == "step":
        at = _u(rng, 0.2, 0.85)
        return np.where(t >= at, g1, g0)
    lo, hi, w = {"late": (0.55, 0.85, 0.06), "very_late": (0.93, 0.98, 0.008), "early_fade": (0.1, 0.4, 0.06)}[shape]
    c, w = _u(rng, lo, hi), w * _u(rng, 0.3, 1.5)
    s = _sig((t - c) / w)
    s0, s1 = _sig((0 - c) / w), _sig((1 - c) / w)
    return g0 + (g1 - g0) * (s - s0) / (s1 - s0)


def paired_items(
    rng,
    kind="null_equal",
    n_checkpoints=50,
    n_items=500,
    *,
    score="loglik",
    n_baselines=1,
    observed_frac=1.0,
    seed_mode=None,
    seed_sd=None,
    cluster_sd=None,
    item_sd=None,
    n_clusters=None,
    gap=None,
    gap_unit="native",
    tie_z=2.0,
):
    """Candidate and baseline per-item scores at every checkpoint.

    Returns (candidate (K, n), baseline (K, n), truth dict); truth["baselines"] is (S, K, n) with S = n_baselines,
    baseline = baselines[0].  score: "loglik" (<= 0, nats; higher better) or "acc" (0/1).
    Truth at the END OF THE SCHEDULE (also when observed_frac < 1), in expectation over both runs' seeds, for these
    items: final_gap (> 0: candidate worse; mean nats or mean accuracy).  Exact by construction, not estimated.
    gap: override of the size of the final gap (>= 0, for alt_*).  gap_unit: native | seed (multiples of the seed sd of
    the difference).  seed_sd / cluster_sd / item_sd: relative (log-nats) for loglik, latent units for acc.
    """
    if kind not in PAIR_NULLS + PAIR_ALTS:
        raise ValueError(f"unknown kind {kind!r}; one of {PAIR_NULLS + PAIR_ALTS}")
    if score not in ("loglik", "acc"):
        raise ValueError("score is 'loglik' or 'acc'")
    K, n, S = int(n_checkpoints), int(n_items), int(n_baselines)
    if K < 4 or n < 20 or S < 1:
        raise ValueError("needs n_checkpoints >= 4, n_items >= 20, n_baselines >= 1")
    R = 1 + S
    is_null = kind.startswith("null")
    Kt = max(K, int(math.ceil(K / observed_frac)))
    t = np.arange(1, Kt + 1) / Kt
    acc = score == "acc"
    # ---- items
    C = int(n_clusters or rng.integers(4, 16))
    share = rng.dirichlet(np.full(C, 1.5))
    clus = rng.choice(C, n, p=share)
    outl = np.zeros(n, bool)
    if kind == "null_outlier_items":
        outl = rng.random(n) < 0.03
    # ---- seed scales
    scale = 12.0 if acc else 1.0  # latent margin units against log-nats
    sdG = seed_sd if seed_sd is not None else scale * _logu(rng, 0.0012, 0.006)
    sdC = cluster_sd if cluster_sd is not None else sdG * _u(rng, 1.0, 3.5)
    sdI = item_sd if item_sd is not None else (_u(rng, 0.5, 1.0) if acc else _logu(rng, 0.01, 0.06))
    sdF = 0.35 * sdI * _u(rng, 0.3, 1.0)  # fresh at every checkpoint
    sdW = 0.4 * sdG * _u(rng, 0.2, 1.0)  # checkpoint wobble common to a run's items
    mode = seed_mode or _pick(rng, SEED_MODES)
    if kind == "null_random_walk":
        mode = seed_mode or "rw"
    if kind == "null_seed_heavy":
        sdG, sdC = 4 * sdG, 3 * sdC
    if kind == "null_cluster":
        sdC = 5 * sdC
    if kind == "null_wobble":
        sdW = 4 * sdG
    mixp, mixk = (0.08, 3.0)  # heavy tail: some (run, item) pairs vary mixk times more
    # ---- effects per run
    # (one law for all runs, so that candidate and baseline are exchangeable where the gap is nought)
    cmode = _pick(rng, ("rw", "logrw", "ou", "jump"))
    effs = []
    ell = _u(rng, 0.05, 0.6)
    for _ in range(R):
        G, sG = _seed_path(rng, mode, t, sdG)
        Cc, sC = _seed_path(rng, cmode, t, sdC, (C,))
        heavy = np.where(rng.random(n) < mixp, mixk, 1.0)
        idio = _ar1(rng, Kt, sdI, math.exp(-1.0 / (ell * Kt)), (n,)) * heavy
        fresh = sdF * rng.standard_normal((Kt, n))
        wob = sdW * rng.standard_normal(Kt)
        effs.append(dict(G=G, C=Cc, tot=G[:, None] + Cc[:, clus] + idio + fresh + wob[:, None]))
    vcom = sG**2 + sC**2 + sdF**2 + sdW**2  # (Kt,) variance without the idiosyncratic part
    # ---- shared shocks: same data order, same eval code: both runs move together
    shared = np.zeros((Kt, n))
    z = _ar1(rng, Kt, sdG, _rho(Kt, 0.1))
    shared += z[:, None]
    if kind == "null_shared_shocks":
        shared += _ar1(rng, Kt, 8 * sdG, _u(rng, 0.0, 0.9), (C,))[:, clus]
    # ---- final gap and path
    path = None
    if is_null:
        g_scale = 1.0 if not acc else 0.5
        g0 = g1 = 0.0
        shape = "const"
        if kind == "null_better":
            g1 = -g_scale * _logu(rng, 0.003, 0.1)
            g0, shape = 0.0, _pick(rng, ("const", "grow", "step"))
        elif kind in ("null_late_crossing", "null_very_late_crossing"):
            g0 = g_scale * _logu(rng, 0.02, 0.3)
            g1 = -g_scale * _pick(rng, (0.0, 0.0, 0.005, 0.03))
            shape = "late" if kind == "null_late_crossing" else "very_late"
    else:
        parts = kind.split("_", 2)
        size, path = parts[1], (parts[2] if len(parts) > 2 else _pick(rng, PAIR_PATHS))
        unit = "seed" if gap_unit == "seed" else score
        g1 = float(gap) if gap is not None else _logu(rng, *_GAPS[unit][size])
        shape = "const" if path == "cluster" else path
        g0 = 0.0
        g0_rel = {"late": -_u(rng, 0.3, 2.0), "early_fade": _u(rng, 1.5, 4.0)}.get(path, 0.0)
    # ---- item weights of the gap (mean one after weighting, see below)
    w = rng.gamma(2.0, 0.5, n)
    if path == "cluster":
        hit = np.isin(clus, rng.choice(C, max(1, C // 4), replace=False))
        if not hit.any():
            hit = clus == clus[0]
        w = np.where(hit, 1.0, 0.0)
    out = []
    if not acc:
        floor = np.exp(rng.normal(math.log(1.8), 0.55, n))
        c = np.exp(rng.normal(math.log(0.5), 0.7, n)) * np.where(rng.random(n) < 0.15, 0.0, 1.0)
        neg = rng.random(n) < 0.05  # inverse-scaling items get slowly worse
        b = rng.uniform(0.15, 0.6, n)
        floor = np.where(outl, floor * 15, floor)
        nll0 = floor + np.where(neg, 0.15 * floor * np.log1p(9 * t[:, None]) / math.log(10), c * t[:, None] ** (-b))
        ce = np.exp(0.5 * vcom)[:, None] * (
            (1 - mixp) * math.exp(0.5 * sdI**2) + mixp * math.exp(0.5 * (mixk * sdI) ** 2)
        )
        sh = np.exp(shared)
        Ebase = nll0 * sh * ce  # expected over a run's own seed
        mb = Ebase.mean(1)
        cl = np.array([Ebase[-1][clus == j].sum() for j in range(C)]) / n
        seed_var = (
            mb[-1] ** 2 * (sG[-1] ** 2 + sdW**2)
            + (cl**2).sum() * sC[-1] ** 2
            + ((Ebase[-1] / n) ** 2).sum() * (sdI**2 * (1 + mixp * (mixk**2 - 1)) + sdF**2)
        )
    else:
        chance = _pick(rng, (0.0, 0.25, 0.25, 0.5))
        zc = {0.0: -2.0, 0.25: -0.674, 0.5: 0.0}[chance]
        learn = (
            np.where(rng.random(n) < 0.3, 0.15, 1.0) * rng.gamma(2.0, 1.0, n) * np.where(rng.random(n) < 0.07, -0.4, 1)
        )
        a = np.log1p(30 * t) / math.log1p(30) * _u(rng, 0.6, 1.4)
        diff = rng.normal(0, 1.0, n)
        m = zc + 0.8 * diff + learn * a[:, None] + shared
        v1 = np.sqrt(vcom + sdI**2)[:, None]
        v2 = np.sqrt(vcom + (mixk * sdI) ** 2)[:, None]

        def P(mm):
            return (1 - mixp) * _Phi(mm / v1) + mixp * _Phi(mm / v2)

        p0 = P(m)
        dens = ((1 - mixp) * _phi(m / v1) / v1 + mixp * _phi(m / v2) / v2)[-1] / n
        cl = np.array([dens[clus == j].sum() for j in range(C)])
        seed_var = (
            dens.sum() ** 2 * (sG[-1] ** 2 + sdW**2)
            + (cl**2).sum() * sC[-1] ** 2
            + (p0[-1] * (1 - p0[-1])).sum() / n**2
        )
    sd_one = math.sqrt(seed_var)
    sd_diff = sd_one * math.sqrt(1 + 1 / S)
    if not is_null:
        if gap_unit == "seed":
            g1 *= sd_diff
        g0 = g0_rel * g1
    gp = _gap_path(rng, shape, t, g0, g1)
    bump_both = np.zeros(Kt)
    if kind == "null_level_shift":  # mix change: both runs, or the candidate for a while
        at = int(rng.integers(Kt // 5, max(Kt // 5 + 1, (3 * Kt) // 4)))
        if rng.random() < 0.5:
            bump_both[at:] = _pick(rng, (-1, 1)) * _u(rng, 0.03, 0.15) * scale**0.5
        else:
            ln = max(1, int(_u(rng, 0.1, 0.9) * (Kt - 1 - at)))
            gp[at : at + ln] += (0.5 if acc else 1.0) * _logu(rng, 0.02, 0.2)
    if kind == "null_dip":  # spike of the candidate, recovers
        at = int(rng.integers(Kt // 6, max(Kt // 6 + 1, Kt - 2)))
        d = (0.4 if acc else 1.0) * _logu(rng, 0.1, 0.8)
        gp += d * np.where(np.arange(Kt) >= at, np.exp(-(np.arange(Kt) - at) / _u(rng, 0.5, max(1, Kt / 15))), 0)
        gp[-1] = min(gp[-1], 0.0)
    if kind == "null_mixed_items":  # half the clusters worse, half better, nothing on the mean
        side = np.where(np.isin(clus, np.arange(C // 2)), 1.0, -1.0) * rng.gamma(2.0, 0.5, n)
    # ---- apply
    if not acc:
        grow = np.exp(bump_both)[:, None]
        Ebase = Ebase * grow
        mb = Ebase.mean(1)
        wk = w[None, :] * (mb / (Ebase * w).mean(1))[:, None]
        fac = 1 + wk * (gp / mb)[:, None]
        if kind == "null_mixed_items":
            s = side[None, :] - (Ebase * side).sum(1, keepdims=True) / Ebase.sum(1, keepdims=True)
            fac = 1 + np.clip(_u(rng, 0.03, 0.12), 0, 0.9 / np.abs(s).max()) * s * t[:, None]
        if fac.min() < 0.05:  # keep nll positive: even weights
            fac = 1 + np.ones(n)[None, :] * (gp / mb)[:, None]
        for r in range(R):
            nll = nll0 * sh * grow * np.exp(effs[r]["tot"])
            out.append(-(nll * fac if r == 0 else nll))
        real = (Ebase * (fac - 1)).mean(1)
    else:
        m = m + bump_both[:, None]
        p0 = P(m)
        if kind == "null_mixed_items":
            w = side
            lift = _u(rng, 0.1, 0.4) * t  # item effects that the common shift below must cancel
            mc = m - lift[:, None] * side[None, :]
            ww = np.ones(n)
        else:
            mc, ww = m, w / w.mean()
        tgt = np.clip(p0.mean(1) - gp, None, 1.0)
        if gp.max() > 0:  # can't fall below the reach of the weights
            tgt = np.maximum(tgt, 0.02)
        lo, hi = np.full(Kt, -25.0), np.full(Kt, 25.0)
        for _ in range(45):
            mid = 0.5 * (lo + hi)
            big = P(mc - mid[:, None] * ww).mean(1) > tgt
            lo, hi = np.where(big, mid, lo), np.where(big, hi, mid)
        delta = 0.5 * (lo + hi)
        if kind != "null_mixed_items":
            delta = np.where(gp == 0.0, 0.0, delta)
        mcand = mc - delta[:, None] * ww
        real = p0.mean(1) - P(mcand).mean(1)
        for r in range(R):
            mm = mcand if r == 0 else m
            out.append((mm + effs[r]["tot"] > 0).astype(float))
    fg = float(real[-1])
    if is_null and abs(fg) < 1e-6:
        fg = 0.0
    better = "tie" if abs(fg) <= tie_z * sd_diff else ("baseline" if fg > 0 else "candidate")
    baselines = np.stack([o[:K] for o in out[1:]])
    truth = dict(
        kind=kind,
        is_null=is_null,
        final_gap=fg,
        candidate_worse=bool(fg > 0),
        better_beyond_seed=better,
        seed_sd_one_run=sd_one,
        seed_sd_diff=sd_diff,
        gap_in_seed_sd=fg / sd_diff,
        gap_path=real,
        observed=K,
        total=Kt,
        fraction=t[:K],
        clusters=clus,
        seed_mode=mode,
        cluster_mode=cmode,
        path=path or shape,
        baselines=baselines,
        score=score,
        seed_effects=np.stack([e["G"][:K] for e in effs]),
    )
    return out[0][:K], baselines[0], truth


# --------------------------------------------------------------------------------------
# 3. benchmark scores
# --------------------------------------------------------------------------------------
def scores(rng, kind="rising", n_checkpoints=50, n_items=500, *, n_choices=None, persistence=None, full=False):
    """Accuracy (K,) of a benchmark over checkpoints; with full=True (accuracy, truth dict).

    The same items are asked at every checkpoint, so their answers persist (guesses included).
    truth: p (K,) the exact expected accuracy, chance, signal (does p move beyond its start), trend at the end, items.
    """
    if kind not in SCORE_KINDS:
        raise ValueError(f"unknown kind {kind!r}; one of {SCORE_KINDS}")
    K, n = int(n_checkpoints), int(n_items)
    c = int(n_choices or _pick(rng, (2, 4, 4, 4, 5, 10)))
    t = np.arange(1, K + 1) / K
    diff = rng.normal(0, 1.0, n)
    top = _u(rng, 2.0, 5.0)
    lift = np.log1p(60 * t) / math.log1p(60)
    if kind in ("chance", "chance_biased"):
        a = np.full(K, -np.inf)
    elif kind == "late":
        a = -5.5 + (top + 4.5) * _sig((t - _u(rng, 0.7, 0.9)) / _u(rng, 0.03, 0.08))
    elif kind == "late_jump":
        a = np.where(t >= _u(rng, 0.6, 0.92), _u(rng, -0.5, 1.5), -7.0)
    elif kind in ("rising", "level_shift", "level_shift_up"):
        a = _u(rng, -3.5, -2.0) + top * t ** _u(rng, 0.6, 1.0)
    elif kind == "saturating":
        a = -3.0 + (top + 2.5) * (1 - np.exp(-t / _u(rng, 0.06, 0.2)))
    elif kind == "saturated":
        a = np.full(K, _u(rng, 4.0, 6.0))
    elif kind == "u_shape":
        x = _u(rng, 0.3, 0.5)
        a = _u(rng, -1.0, 0.0) - 2.0 * np.sin(np.pi * np.clip(t / (2 * x), 0, 1)) + 2.5 * np.clip(t - x, 0, None)
    elif kind == "falling":
        a = _u(rng, 0.0, 1.5) - _u(rng, 1.0, 3.0) * t ** _u(rng, 0.7, 1.5)
    else:  # rise_then_fall
        x = _u(rng, 0.4, 0.75)
        a = (
            -3.0
            + top * np.clip(lift / lift[int(x * K) - 1 if int(x * K) else 0], 0, 1)
            - _u(rng, 1.0, 3.0) * np.clip(t - x, 0, None) / (1 - x)
        )
    wob = _ar1(rng, K, _u(rng, 0.03, 0.15), _pick(rng, (0.0, 0.5, 0.9)))
    bad = rng.random(n) < _u(rng, 0.02, 0.12)  # mislabelled items: never "known"
    s = _u(rng, 0.8, 1.5)
    q = np.where(np.isfinite(a)[:, None], _sig(s * (np.where(np.isfinite(a), a + wob, -60)[:, None] - diff)), 0.0)
    q = np.where(bad, 0.0, q)
    guess = np.full((K, n), 1.0 / c)
    extra = {}
    if kind == "chance_biased" or (kind in ("late", "late_jump") and rng.random() < 0.5):
        # the model answers mostly one letter, and which letter changes: off chance by the key's imbalance
        key = rng.choice(c, n, p=rng.dirichlet(np.full(c, 60.0)))
        logits = _ar1(rng, K, 1.5, _rho(K, 0.1), (c,))
        pl = np.exp(logits - logits.max(1, keepdims=True))
        pl /= pl.sum(1, keepdims=True)
        guess = pl[:, key]
        extra["letter_bias"] = pl
    p_item = q + (1 - q) * guess
    if kind in ("level_shift", "level_shift_up"):  # harness / prompt format change
        at = int(rng.integers(max(1, K // 4), max(2, 3 * K // 4)))
        sgn = 1.0 if kind == "level_shift_up" else -1.0
        z = np.log(p_item / (1 - p_item + 1e-12) + 1e-12)
        z[at:] += sgn * _u(rng, 0.25, 0.8)
        p_item = _sig(z)
        extra["shift_at"] = at
    per = persistence if persistence is not None else _u(rng, 0.6, 0.97)
    u = _Phi(_ar1(rng, K, 1.0, per, (n,)))
    hit = (u < p_item).astype(float)
    acc = hit.mean(1)
    p = p_item.mean(1)
    if not full:
        return acc
    end = p[-max(1, K // 10) :].mean() - p[-max(2, K // 3) : -max(1, K // 10)].mean() if K >= 4 else 0.0
    return acc, dict(
        kind=kind,
        p=p,
        chance=1.0 / c,
        above_chance=bool(p[-1] > 1.0 / c + 0.02 and kind not in ("chance", "chance_biased")),
        signal=kind not in ("chance", "chance_biased", "saturated"),
        change=float(p[-1] - p[0]),
        late_slope=float(end),
        n_choices=c,
        items=hit,
        persistence=per,
        **extra,
    )
