from __future__ import annotations

import torch

from skysense.pretrain.heads import TeacherMemory


def test_memory_keeps_the_latest_and_overwrites_the_oldest() -> None:
    memory = TeacherMemory(5, 2)
    assert memory.known().shape == (0, 2)
    rows = torch.arange(8.0)[:, None].repeat(1, 2)
    memory.add(rows[:3])
    assert memory.known()[:, 0].tolist() == [0, 1, 2]
    memory.add(rows[3:7])
    assert sorted(memory.known()[:, 0].tolist()) == [2, 3, 4, 5, 6]
    again = TeacherMemory(5, 2)
    again.load_state_dict(memory.state_dict())  # a resumed run goes on at the same row
    for one in (memory, again):
        one.add(rows[7:])
    assert torch.equal(memory.known(), again.known())
    assert sorted(memory.known()[:, 0].tolist()) == [3, 4, 5, 6, 7]


def test_more_than_it_holds_and_a_memory_of_none() -> None:
    rows = torch.arange(8.0)[:, None]
    memory, none = TeacherMemory(3, 1), TeacherMemory(0, 1)
    for one in (memory, none):
        one.add(rows)
    assert sorted(memory.known()[:, 0].tolist()) == [0, 1, 2]
    assert none.known().shape == (0, 1)
