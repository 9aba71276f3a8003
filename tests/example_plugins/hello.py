"""A one-file plugin: a command and a score, as a newcomer would write them."""

from e2lm import Command, ScoreValue, SignalScore, hookimpl


@hookimpl
def e2lm_register_commands():
    def configure(parser):
        parser.add_argument("name", help="who is greeted")

    def run(arguments):
        print(f"hello {arguments.name}")
        return 0

    return [Command("hello", "Say hello.", configure, run)]


@hookimpl
def e2lm_register_signal_scores():
    def gain(curve, rng):
        return ScoreValue(float(curve.values_K[-1] - curve.values_K[0]), reason="a difference of two values")

    return [SignalScore("gain", "Last value minus first.", gain)]
