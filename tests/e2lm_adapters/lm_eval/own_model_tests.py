"""``python -m tests.e2lm_adapters.lm_eval.own_model_tests CHECKOUT``: lm-eval's tests of ``hf``, held by ``e2lm-hf``.

CHECKOUT is lm-eval's repository, at the release that is installed; its packages on the index have no model tests. They
run as they are, on stand-ins, so that nothing is fetched: a GPT-NeoX with random weights, a tokenizer that gives the
few texts the tests spell out the tokens they expect, documents of the tasks' form. Where a test expects what Pythia
says, it is given what lm-eval's ``hf`` says of the same weights.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

#: Those that look at the class behind ``--model hf``. The others are about engines and services of their own.
MODULES = ("test_huggingface.py", "test_bos_handling.py", "test_max_length.py")
#: Of them: what no other weights can say, and the tests of other models.
NOT_OURS = "not test_model_generate and not vllm and not VLLM and not sglang and not Winml and not onnx"
TOKENS = {"foo": 12110, "Ġbar": 2534, "bar": 2009, "Ġfoo": 17374}
MERGES = [("f", "o"), ("fo", "o"), ("b", "a"), ("ba", "r"), ("Ġ", "bar"), ("Ġ", "foo")]
VOCABULARY, END = 17_408, "<|endoftext|>"
DOCUMENTS = 12


def write_model(folder: Path) -> None:
    """A GPT-NeoX with random weights, and the tokenizer."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = GPTNeoXConfig(vocab_size=VOCABULARY, max_position_embeddings=2048, initializer_range=0.2, **sizes)
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder, begins=False)


def write_tokenizer(folder: Path, begins: bool) -> None:
    """Bytes and the few words the tests spell out; with ``begins`` it puts its first token before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = dict(TOKENS)
    for number, piece in enumerate([END, *sorted(pre_tokenizers.ByteLevel.alphabet()), "fo", "ba"]):
        known.setdefault(piece, number)
    taken = set(known.values())
    known |= {f"<unused {number}>": number for number in range(VOCABULARY) if number not in taken}
    tokenizer = Tokenizer(models.BPE(known, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, known[END])]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END)
    fast.save_pretrained(folder)


def documents(path: str, *_: Any, **__: Any) -> Any:
    """What the tasks read, in their form."""
    from datasets import Dataset, DatasetDict

    make = {"allenai/ai2_arc": _question, "openai/gsm8k": _sum, "EleutherAI/wikitext_document_level": _page}[path]
    rows = Dataset.from_list([make(number) for number in range(DOCUMENTS)])
    return DatasetDict(dict.fromkeys(("train", "validation", "test"), rows))


def _question(number: int) -> dict[str, Any]:
    choices = {"text": [f"{word} {number}" for word in ("iron", "a lake", "wood", "the moon")], "label": list("ABCD")}
    return {"question": f"Which of these {number} is it?", "choices": choices, "answerKey": "ABCD"[number % 4]}


def _sum(number: int) -> dict[str, Any]:
    return {"question": f"What is {number} and 2?", "answer": f"It is {number + 2}. #### {number + 2}"}


def _page(number: int) -> dict[str, Any]:
    return {"page": f"= Page {number} =\n" + "A lake , a wood and the moon . " * (3 + 8 * number)}


class StandIns:
    """Puts ``e2lm-hf`` where lm-eval's tests look for ``hf``, and what ``hf`` says where they expect Pythia."""

    def __init__(self, folder: Path) -> None:
        import datasets
        import lm_eval.models.huggingface as stock
        from transformers import AutoTokenizer

        from e2lm_adapters.scoring.hf import E2lmHf

        places = {"EleutherAI/pythia-70m": folder, "EleutherAI/pythia-14m": folder}
        places["allenai/OLMo-3-7B-Instruct"] = folder / "begins"
        original = AutoTokenizer.from_pretrained
        self._stock: Any = stock.HFLM(str(folder), device="cpu", dtype="float32")

        class Local(E2lmHf):  # type: ignore[misc]
            def __init__(self, pretrained: str, **options: Any) -> None:
                super().__init__(str(places[pretrained]), show_progress=False, **options)

        def local(name: str, *rest: Any, **options: Any) -> Any:
            return original(str(places.get(name, name)), *rest, **options)

        datasets.load_dataset = documents  # type: ignore[assignment]
        AutoTokenizer.from_pretrained = local
        stock.HFLM = Local

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Let the tests expect what lm-eval's own ``hf`` says of the stand-in."""
        for tests in {
            item.cls for item in session.items if getattr(item, "cls", None) and hasattr(item.cls, "ROLLING")
        }:
            tests.MULTIPLE_CH_RES = [loglik for loglik, _ in self._stock.loglikelihood(tests.MULTIPLE_CH)]
            tests.generate_until_RES = self._stock.generate_until(tests.generate_until)
            tests.ROLLING_RES = self._stock.loglikelihood_rolling(tests.ROLLING)


def main(arguments: list[str]) -> int:
    """Pytest's exit code; 2 with one line where there is no such checkout."""
    checkout = Path(arguments[0] if arguments else "")
    tests = checkout.resolve() / "tests" / "models"
    found = [tests / name for name in MODULES if (tests / name).is_file()]
    if not found:
        print(
            f"{tests}: none of {', '.join(MODULES)}; give a checkout of lm-eval at the installed release: "
            "git clone --branch v0.4.13 https://github.com/EleutherAI/lm-evaluation-harness",
            file=sys.stderr,
        )
        return 2
    with TemporaryDirectory() as place:
        model = Path(place) / "model"
        write_model(model)
        write_tokenizer(model / "begins", begins=True)
        copies = [shutil.copy(one, place) for one in found]  # its own settings of pytest are about its own repository
        os.chdir(place)
        code = pytest.main(
            ["-c", os.devnull, "--rootdir", place, "-p", "no:cacheprovider", "-k", NOT_OURS, "-q", *map(str, copies)],
            plugins=[StandIns(model)],
        )
        os.chdir("/")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
