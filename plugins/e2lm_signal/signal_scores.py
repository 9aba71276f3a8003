"""The signal scores of this plugin."""

from __future__ import annotations

from e2lm import SignalScore
from e2lm_signal.benchmark_rise import benchmark_rise_scores
from e2lm_signal.decisions import decision_accuracy_scores, settling_scores
from e2lm_signal.fine_tasks import fine_tasks_scores, fluid_scores
from e2lm_signal.noise import checkpoint_noise_scores
from e2lm_signal.official_score import official_scores
from e2lm_signal.reconstructed_score import reconstructed_scores
from e2lm_signal.signal_and_noise import signal_and_noise_scores
from e2lm_signal.signal_quality import signal_quality_scores


def signal_scores() -> list[SignalScore]:
    """Every built-in score of early signal, in the order of the report."""
    return [
        *signal_quality_scores(),
        *benchmark_rise_scores(),
        *checkpoint_noise_scores(),
        *official_scores(),
        *reconstructed_scores(),
        *fine_tasks_scores(),
        *signal_and_noise_scores(),
        *fluid_scores(),
        *decision_accuracy_scores(),
        *settling_scores(),
    ]
