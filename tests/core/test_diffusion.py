"""The diffusion actor: its schedule, its samplers, and that it keeps both of two modes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ddiffpg_core.actor_settings import PREDICTS, ActorConfig
from ddiffpg_core.diffusion import DiffusionActor

CONFIG = ActorConfig(hidden=(64, 64), embedding_dim=2, time_dim=8, denoising_steps=10)
LEFT, RIGHT, NULL = (2.0, 0.0), (0.0, 2.0), (0.0, 0.0)


class Exact(DiffusionActor):
    """Knows the noise, and so has nothing to work out beforehand."""

    def denoiser(self, x, embedding):
        return lambda noisy, k: self.predict(noisy, torch.full(noisy.shape[:-1], k), x, embedding)


class OnePoint(Exact):
    """Knows the noise or the action exactly, as if every action were ``point``."""

    point = torch.tensor([0.3, -0.8])

    def predict(self, noisy, step, x, embedding):
        keep = self.keep[step][..., None]
        if self.predicts_action:
            return self.point.expand(noisy.shape)
        return (noisy - keep.sqrt() * self.point) / (1 - keep).sqrt()


class TwoPoints(Exact):
    """Knows noise or action as well as they can be known where -0.7 is taken three times out of ten, else +0.7."""

    def predict(self, noisy, step, x, embedding):
        keep, points = self.keep[step][..., None], torch.tensor([-0.7, 0.7])
        log_odds = torch.tensor([0.3, 0.7]).log() - (noisy - keep.sqrt() * points) ** 2 / (2 * (1 - keep))
        mean = (log_odds.softmax(-1) * points).sum(-1, keepdim=True)
        return mean if self.predicts_action else (noisy - keep.sqrt() * mean) / (1 - keep).sqrt()


def condition(count: int, embedding: tuple[float, float] = NULL) -> tuple[torch.Tensor, torch.Tensor]:
    """Features ``[count, 1]`` (all zero) and the embedding for each."""
    return torch.zeros(count, 1), torch.tensor(embedding).expand(count, 2)


@pytest.fixture(scope="module", params=PREDICTS)
def two_sided(request) -> DiffusionActor:
    """Taught -0.7 under LEFT, +0.7 under RIGHT, and under NULL three times out of ten -0.7, else +0.7."""
    torch.manual_seed(0)
    noise = torch.Generator().manual_seed(0)
    actor = DiffusionActor(1, 1, replace(CONFIG, predicts=request.param))
    optimizer = torch.optim.Adam(actor.parameters(), 2e-3)
    left = torch.arange(300) % 10 < 3
    side = torch.cat([torch.full((150,), -0.7), torch.full((150,), 0.7), torch.where(left, -0.7, 0.7)])[:, None]
    embedding = torch.cat([condition(150, LEFT)[1], condition(150, RIGHT)[1], condition(300)[1]])
    for _ in range(1200):
        loss = actor.loss(torch.zeros(600, 1), embedding, side, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return actor


def test_sampling_sees_the_network_that_was_taught(two_sided):
    torch.manual_seed(2)
    x, embedding, noisy = torch.randn(6, 1), torch.randn(6, 2), torch.randn(6, 1)
    epsilon = two_sided.denoiser(x, embedding)
    for k in range(CONFIG.denoising_steps):
        torch.testing.assert_close(epsilon(noisy, k), two_sided.predict(noisy, torch.full((6,), k), x, embedding))


# ---- schedule -------------------------------------------------------------------------------------


def test_schedule_of_five_steps_by_hand():
    # What is left of the signal after k of 5 steps is c(k) / c(0), c(k) = cos^2((k/5 + 0.008) / 1.008 * 90 deg):
    # the angles are 0.714, 18.571, 36.429, 54.286, 72.143 and 90 degrees.
    c = [math.cos(math.radians(d)) ** 2 for d in (0.714286, 18.571429, 36.428571, 54.285714, 72.142857)]
    actor = DiffusionActor(1, 1, ActorConfig(denoising_steps=5))
    torch.testing.assert_close(actor.keep[:4], torch.tensor([x / c[0] for x in c[1:]]), rtol=1e-5, atol=1e-6)
    # the last step would destroy everything; its beta is held at 0.999
    assert float(actor.beta[4]) == pytest.approx(0.999)
    assert float(actor.keep[4]) == pytest.approx(0.001 * c[4] / c[0], rel=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 5, 25])
def test_schedule_of_any_number_of_steps(steps):
    actor = DiffusionActor(1, 1, ActorConfig(denoising_steps=steps))
    assert len(actor.beta) == steps
    assert ((actor.beta > 0) & (actor.beta <= 0.999)).all()
    assert float(actor.keep_before[0]) == 1.0
    assert torch.equal(actor.keep_before[1:], actor.keep[:-1])
    assert (actor.keep.diff() < 0).all()


@pytest.mark.parametrize("steps", [1, 2, 5, 25])
def test_each_step_keeps_signal_and_noise_in_their_shares(steps):
    # A state is sqrt(keep) of the clean action, and noise of variance 1 - keep; after the step that is so for before:
    # of_clean + of_state sqrt(keep) = sqrt(before), and of_state^2 (1 - keep) + spread^2 = 1 - before.
    actor = DiffusionActor(1, 1, ActorConfig(hidden=(4,), denoising_steps=steps))
    for k in range(steps):
        of_clean, of_state, spread = actor.coefficients(k)
        keep, before = float(actor.keep[k]), float(actor.keep_before[k])
        assert of_clean + of_state * math.sqrt(keep) == pytest.approx(math.sqrt(before), abs=1e-5)
        assert of_state**2 * (1 - keep) + spread**2 == pytest.approx(1 - before, abs=1e-5)
    assert actor.coefficients(0) == pytest.approx((1, 0, 0), abs=1e-5)  # the last step is the clean action itself


# ---- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("predicts", PREDICTS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_both_samplers_undo_noise_that_is_known_exactly(steps, predicts):
    actor = OnePoint(1, 2, ActorConfig(hidden=(4,), embedding_dim=2, denoising_steps=steps, predicts=predicts))
    x, embedding = condition(50)
    noise = torch.Generator().manual_seed(1)
    point = actor.point.expand(50, 2)
    torch.testing.assert_close(actor.sample(x, embedding, noise), point, atol=1e-4, rtol=0)
    torch.testing.assert_close(actor.from_noise(torch.randn(50, actor.noise_dim, generator=noise), x, embedding), point,
                               atol=1e-3, rtol=0)


@pytest.mark.parametrize("predicts", PREDICTS)
def test_loss_is_zero_where_the_noise_is_known(predicts):
    actor = OnePoint(1, 2, ActorConfig(hidden=(4,), embedding_dim=2, predicts=predicts))
    x, embedding = condition(64)
    loss = actor.loss(x, embedding, actor.point.expand(64, 2), torch.Generator().manual_seed(2))
    assert float(loss) < 1e-6


def shares(action: torch.Tensor) -> tuple[float, float]:
    """Shares of actions near -0.7 and near +0.7."""
    return float(((action + 0.7).abs() < 0.2).float().mean()), float(((action - 0.7).abs() < 0.2).float().mean())


# Five steps are few: between two points that are equally near, even the exact denoiser leaves an eighth of the
# actions in the middle. Ten leave none.
@pytest.mark.parametrize(("steps", "off"), [(5, 0.13), (10, 0.04), (50, 0.02)])
@pytest.mark.parametrize("predicts", PREDICTS)
def test_both_samplers_keep_two_points_in_their_shares(steps, off, predicts):
    actor = TwoPoints(1, 1, ActorConfig(hidden=(4,), embedding_dim=2, denoising_steps=steps, predicts=predicts))
    noise = torch.Generator().manual_seed(3)
    x, embedding = condition(10000)
    for action in (actor.sample(x, embedding, noise),
                   actor.from_noise(torch.randn(10000, actor.noise_dim, generator=noise), x, embedding)):
        assert shares(action) == pytest.approx((0.3, 0.7), abs=off)


def test_a_trained_actor_keeps_both_modes(two_sided):
    """One that predicts the action weighs the noisiest steps more, and tells the two points apart less sharply."""
    noise = torch.Generator().manual_seed(4)
    for action in (two_sided.sample(*condition(2000), noise),
                   two_sided.from_noise(torch.randn(2000, two_sided.noise_dim, generator=noise),
                                        *condition(2000)).detach()):
        left, right = shares(action)
        assert left > (0.06 if two_sided.predicts_action else 0.1)
        assert right > 0.4
        assert float((action.abs() < 0.3).float().mean()) < 0.15  # a Gaussian policy would put most of it here


@pytest.mark.parametrize(("embedding", "side"), [(LEFT, 0), (RIGHT, 1)])
def test_the_embedding_selects_the_mode(two_sided, embedding, side):
    action = two_sided.sample(*condition(500, embedding), torch.Generator().manual_seed(5))
    assert shares(action)[side] > 0.97


def test_sampling_draws_the_noise_of_one_step_after_another(two_sided):
    x, embedding = condition(20)
    noise = torch.Generator().manual_seed(6)
    drawn = torch.cat([torch.randn(20, 1, generator=noise) for _ in range(two_sided.steps)], -1)
    action = two_sided.sample(x, embedding, torch.Generator().manual_seed(6))
    torch.testing.assert_close(action, two_sided.from_noise(drawn, x, embedding).detach())


def test_the_same_noise_gives_the_same_action(two_sided):
    x, embedding = condition(20)
    noise = torch.randn(20, two_sided.noise_dim, generator=torch.Generator().manual_seed(6))
    first = two_sided.from_noise(noise, x, embedding)
    assert torch.equal(first, two_sided.from_noise(noise, x, embedding))
    assert len(torch.unique(first)) == 20
    draws = [two_sided.sample(x, embedding, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws)


def test_actions_are_within_the_limits(two_sided):
    noise = torch.randn(500, two_sided.noise_dim, generator=torch.Generator().manual_seed(8)) * 5
    assert two_sided.from_noise(noise, *condition(500)).abs().max() <= 1
    assert two_sided.sample(*condition(500), torch.Generator().manual_seed(8)).abs().max() <= 1


def test_leading_dimensions_are_free():
    actor = DiffusionActor(3, 2, ActorConfig(hidden=(8,), embedding_dim=4))
    noise = torch.Generator().manual_seed(9)
    assert actor.sample(torch.zeros(5, 6, 3), torch.zeros(5, 6, 4), noise).shape == (5, 6, 2)
    assert actor.from_noise(torch.zeros(7, actor.noise_dim), torch.zeros(7, 3), torch.zeros(7, 4)).shape == (7, 2)
