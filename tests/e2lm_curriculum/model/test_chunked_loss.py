from __future__ import annotations

import pytest
import torch

from e2lm_curriculum.model import loss as chunked_loss
from e2lm_curriculum.model.family import new_llama
from e2lm_curriculum.model.loss import chunked_cross_entropy
from e2lm_curriculum.model.size import model_size


@pytest.mark.parametrize("chunk_rows", [1, 7, 50, 1000])
def test_loss_and_gradients_are_those_of_plain_cross_entropy(chunk_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_loss, "LOGITS_PER_CHUNK_CPU", chunk_rows * 97)
    generator = torch.Generator().manual_seed(0)
    hidden_RD = torch.randn(50, 12, generator=generator, requires_grad=True)
    head_VD = torch.randn(97, 12, generator=generator, requires_grad=True)
    target_R = torch.randint(0, 97, (50,), generator=generator)
    expected = torch.nn.functional.cross_entropy(hidden_RD @ head_VD.t(), target_R)
    expected_gradients = torch.autograd.grad(2 * expected, (hidden_RD, head_VD))
    loss = chunked_cross_entropy(hidden_RD, head_VD, target_R)
    gradients = torch.autograd.grad(2 * loss, (hidden_RD, head_VD))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients, expected_gradients)


def test_huge_logits_do_not_overflow() -> None:
    hidden_RD = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss = chunked_cross_entropy(hidden_RD, torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == 0.0
    assert hidden_RD.grad is not None
    assert hidden_RD.grad.isfinite().all()


def test_the_trained_llama_has_the_loss_and_gradients_of_the_stock_llama() -> None:
    ours = new_llama(model_size("2x32"), vocabulary=300, sequence_length=16, seed=0)
    input_ids_BT = torch.randint(0, 300, (3, 16), generator=torch.Generator().manual_seed(0))
    loss = ours(input_ids=input_ids_BT, labels=input_ids_BT).loss
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in ours.named_parameters()}
    ours.zero_grad()
    stock = super(type(ours), ours).forward(input_ids=input_ids_BT, labels=input_ids_BT).loss
    stock.backward()
    torch.testing.assert_close(loss, stock)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_under_autocast_the_loss_is_close_and_gradients_keep_the_type_of_the_weights() -> None:
    model = new_llama(model_size("1x32"), vocabulary=300, sequence_length=16, seed=0)
    input_ids_BT = torch.randint(0, 300, (3, 16), generator=torch.Generator().manual_seed(0))
    exact = model(input_ids=input_ids_BT, labels=input_ids_BT).loss.item()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(input_ids=input_ids_BT, labels=input_ids_BT).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact, rel=0.01)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_the_same_seed_gives_the_same_weights_and_leaves_the_stream_of_torch_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = (new_llama(model_size("1x16"), 300, 16, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
