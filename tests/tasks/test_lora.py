"""Low-rank additions: nothing changes at first, little learns, and merging keeps what was learned."""

from __future__ import annotations

import torch

from skysense.observation import collate
from skysense.tasks.lora import RANK, add_lora, merge_lora
from tests.tasks.labelled_samples import both_example, tiny


def test_it_begins_as_the_model_and_merges_without_a_change() -> None:
    model = tiny()
    batch = collate([both_example(index).sample for index in range(2)])
    before = model(batch).fused_BDhw
    names = set(model.state_dict())
    count = add_lora(model)
    # five Swin blocks, two of each ViT, two of the fusion transformer; two weights each
    assert count == 2 * (5 + 2 + 2 + 2)
    torch.testing.assert_close(model(batch).fused_BDhw, before, rtol=0, atol=0)
    learning = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert len(learning) == 2 * count
    dims = [one.shape for name, one in learning.items() if name.endswith("down_RD")]
    assert all(shape[0] == RANK for shape in dims)
    optimiser = torch.optim.SGD(learning.values(), lr=1.0)
    for _ in range(2):
        optimiser.zero_grad()
        model(batch).fused_BDhw.square().sum().backward()
        optimiser.step()
    learned = model(batch).fused_BDhw
    assert not torch.allclose(learned, before)
    merge_lora(model)
    assert set(model.state_dict()) == names
    torch.testing.assert_close(model(batch).fused_BDhw, learned, rtol=1e-5, atol=1e-5)


def test_only_the_additions_get_gradients() -> None:
    model = tiny()
    add_lora(model)
    model(collate([both_example(0).sample])).fused_BDhw.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("parametrizations" in name and name.endswith(("_RD", "_OR")))
        if name.endswith("up_OR") and not name.startswith("s1"):
            assert parameter.grad is not None and parameter.grad.any(), name


def test_merging_without_additions_changes_nothing() -> None:
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    merge_lora(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
