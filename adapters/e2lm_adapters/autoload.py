"""placeholder"""


def arm() -> None:
    """Nothing yet."""
