import pytest
import torch

from faceforward.datamodules.draws import DrawSampler, FixedDraws, ResumableLoader, collate, seed_of
from faceforward.diffusion.losses import draw
from faceforward.errors import ConfigurationError


def batches(sampler, size):
    draws = list(sampler)
    return [draws[i : i + size] for i in range(0, len(draws), size)]


@pytest.mark.parametrize("weights", [None, [1.0] * 10 + [3.0] * 13])
def test_ranks_share_the_global_batches_of_one_rank(weights):
    alone = batches(DrawSampler(23, 6, seed=4, weights=weights), 6)
    ranks = [
        batches(DrawSampler(23, 3, seed=4, weights=weights, replicas=2, rank=rank), 3) for rank in range(2)
    ]
    assert [first + second for first, second in zip(*ranks, strict=True)] == alone
    assert len(alone) == 3  # the incomplete batch is dropped


def test_passes_differ_and_every_sample_comes_once_in_each():
    first, second = list(DrawSampler(20, 5, seed=1)), list(DrawSampler(20, 5, seed=1, done=lambda: 4))
    assert sorted(d.index for d in first) == sorted(d.index for d in second) == list(range(20))
    assert first != second
    assert not {d.seed for d in first} & {d.seed for d in second}


def test_an_iteration_starts_after_what_is_done():
    done = 13  # three passes of four batches, and one batch
    sampler = DrawSampler(20, 5, seed=1, done=lambda: done)
    assert list(sampler) == list(DrawSampler(20, 5, seed=1, done=lambda: 12))[5:]
    assert len(sampler) == 20  # Lightning counts the batches of a whole pass
    sampler.set_epoch(7)
    done = 16
    assert list(sampler) == list(DrawSampler(20, 5, seed=1, done=lambda: 16))


def test_heavier_samples_are_drawn_more_often():
    weights = [1.0] * 500 + [4.0] * 500
    drawn = [d.index for d in DrawSampler(1000, 10, weights=weights)]
    assert sum(index >= 500 for index in drawn) / 1000 == pytest.approx(0.8, abs=0.05)


def test_too_few_photographs_for_a_batch_are_named():
    with pytest.raises(ConfigurationError, match="5 training photographs do not fill one batch of 3 on 2"):
        DrawSampler(5, 3, replicas=2)


def test_a_pass_ends_with_whole_steps_of_accumulated_gradients():
    sampler = DrawSampler(11, 2, accumulate=3)
    assert sampler.batches == 3
    assert len(list(sampler)) == len(sampler) == 6
    with pytest.raises(ConfigurationError, match=r"2 on 1 rank\(s\), 6 times: lower .*accumulate_grad"):
        DrawSampler(11, 2, accumulate=6)


def test_another_order_is_said_when_a_run_is_resumed(caplog):
    def loader(**facts):
        sampler = DrawSampler(**{"size": 8, "batch_size": 2, "seed": 1, **facts})
        return ResumableLoader(list(range(8)), 2, sampler=sampler)

    saved = loader().state_dict()
    loader().load_state_dict(saved)
    loader().load_state_dict({})  # of an older checkpoint
    assert not caplog.text
    loader(batch_size=4, weights=[1.0] * 8).load_state_dict(saved)
    assert "batch_size 2 -> 4, batches 4 -> 2, weights" in caplog.text


def test_validation_draws_never_change():
    assert list(FixedDraws(4, seed=2)) == list(FixedDraws(4, seed=2))
    order = [draw.index for draw in FixedDraws(100, seed=2)]
    assert sorted(order) == list(range(100))
    assert order == [
        draw.index for draw in FixedDraws(100, seed=3)
    ]  # runs are compared over the same first ones
    assert max(order[:10]) > 50  # not those of the first names
    assert len(FixedDraws(4)) == 4


def test_seeds_fit_int64_and_do_not_collide():
    seeds = [seed_of(1, epoch, place) for epoch in range(20) for place in range(500)]
    assert len(set(seeds)) == len(seeds)
    assert torch.tensor(seeds).dtype == torch.int64


def test_an_unknown_gender_can_be_batched():
    samples = [{"age": 3, "gender": None, "seed": 1}, {"age": 4, "gender": "male", "seed": 2}]
    batch = collate(samples)
    assert batch["gender"] == [None, "male"]
    assert batch["age"].tolist() == [3, 4]


def test_what_is_drawn_depends_on_the_seed_alone():
    both = draw([5, 9], (2, 3, 3), 1000, times=2)
    alone = draw([9], (2, 3, 3), 1000, times=2)
    assert both.timesteps.shape == (2, 2)
    torch.testing.assert_close(both.noise[:, 1:], alone.noise, rtol=0, atol=0)
    torch.testing.assert_close(both.posterior[1:], alone.posterior, rtol=0, atol=0)
    assert torch.equal(both.timesteps[:, 1:], alone.timesteps)
    assert not torch.equal(both.noise[0], both.noise[1])
