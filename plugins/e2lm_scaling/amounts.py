"""How many parameters, tokens and FLOPs, and how much money, as people write them: no ``6.8e+09``."""

from __future__ import annotations

from e2lm_scaling.messages import say

#: Numbers that have a word, largest first, in languages that count by thousands and in Japanese.
WORDS = {"trillion": 1e12, "billion": 1e9, "million": 1e6}
WORDS_OF = {"ja": {"trillion": 1e12, "hundred_million": 1e8, "ten_thousand": 1e4}}
#: Amounts of money from here on are whole.
WHOLE_MONEY = 100.0


def counted(number: float) -> str:
    """How many parameters or tokens, as people say it.

    >>> counted(6.84e9), counted(4.92e11), counted(1234.0)
    ('6.84 billion', '492 billion', '1,234')
    >>> from e2lm.messages import speaking
    >>> with speaking("ja"):
    ...     counted(6.84e9), counted(4.92e11), counted(1.4e12), counted(125e6)
    ('68.4 億', '4,920 億', '1.4 兆', '1.25 億')
    """
    for key, unit in WORDS_OF.get(say.language, WORDS).items():
        if 0.9995 * unit <= number < 9.995e2 * max(WORDS.values()):
            return say(key, count=float(f"{number / unit:.3g}"))
    return f"{number:,.0f}" if number < 1e6 else powers_of_ten(number)


def powers_of_ten(number: float) -> str:
    """A large number without the e of computers.

    >>> powers_of_ten(1.2e22), powers_of_ten(5000.0)
    ('1.2 x 10^22', '5,000')
    """
    if number < 1e6:
        return f"{number:,.4g}" if number < 1e3 else f"{number:,.0f}"
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{float(mantissa):g} x 10^{int(exponent)}"


def money(amount: float, currency: str = "") -> str:
    """An amount, whole where it is not small.

    >>> money(-103820.4, "EUR"), money(0.25)
    ('-103,820 EUR', '0.25')
    """
    number = f"{amount:,.0f}" if abs(amount) >= WHOLE_MONEY or amount == 0 else f"{amount:.3g}"
    return f"{number} {currency}".rstrip()
