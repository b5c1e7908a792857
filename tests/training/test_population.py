"""Members of one compiled program against the same runs alone, and what may not touch what."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxrnn.training.population import data_specs, initial_members, make_advance, make_score, member_specs, score
from jaxrnn.training.population_data import population_data, split_in_order
from jaxrnn.training.population_devices import PopulationSettings, device_layout, place_on

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.data.windows import scored_streams, to_streams
from jaxrnn.evaluate import evaluate_ids
from jaxrnn.training.job import make_job, model_structure, step_settings
from jaxrnn.training.step import make_train_chunk
from tests.trees import assert_trees_close, assert_trees_equal

WORDS = np.random.default_rng(3).choice(["war ", "and ", "peace. ", "well, ", "prince "], 160)
CORPUS = corpus_from_text("".join(WORDS)[:800])
V, T, B, EPOCHS = len(CORPUS.vocabulary), 5, 4, 4
CONFIG = TrainConfig(
    cell="lstm",
    hidden=5,
    init="uniform",
    init_scale=0.3,
    bptt_length=T,
    batch_size=B,
    optimizer="rmsprop",
    learning_rate=0.01,
    loss_reduction="mean",
    epochs=EPOCHS,
    decay_rate=0.9,
    decay_after_epochs=1,
    dropout_output=0.2,
    validation_fraction=0.1,
)
SPLIT = split_in_order(CORPUS.ids)
WINDOWS = (len(SPLIT.train) - 1) // B // T


def changed(**values):
    return dataclasses.replace(CONFIG, **values)


MEMBERS = [changed(seed=1), changed(seed=2, learning_rate=0.03), changed(seed=1, dropout_output=0.5)]


@functools.cache
def programs(member_devices=1, batch_devices=1, batched=False, rule="none", validates=True):
    graphdef = model_structure(CONFIG, V)[0]
    step = step_settings(CONFIG, devices=batch_devices)
    explosion = 3 * float(np.log(V))
    settings = PopulationSettings(step, member_devices, batched, rule, 1, validates, explosion)
    return settings, make_advance(graphdef, settings), make_score(graphdef, settings)


def epochs_of(
    configs,
    epochs=EPOCHS,
    parts=(WINDOWS,),
    folds=None,
    retrain=False,
    stops=(),
    limit=EPOCHS,
    ids=CORPUS.ids,
    lost=(),
    ends=True,
    **layout,
):
    """The members after each epoch, and their test losses; every epoch goes in these parts.

    Members in `stops` do not run; those in `lost` have parameters that are not numbers. Without `ends` the validation
    data is not scored.
    """
    settings, advance, test_losses = programs(**layout)
    splits = [split_in_order(ids, fold=fold, folds=2) for fold in range(2)]
    data, test = population_data(splits, B, T, retrain)
    data = place_on(settings, data_specs(), data)
    members = initial_members(configs, folds or [0] * len(configs), [limit] * len(configs), V)
    members = members._replace(running=jnp.array([n not in stops for n in range(len(configs))]))
    for number in lost:
        params = jax.tree.map(lambda leaf, n=number: leaf.at[n].set(jnp.nan), members.train.params)
        members = members._replace(train=members.train._replace(params=params))
    members, seen = place_on(settings, member_specs(), members), []
    for _ in range(epochs):
        done = 0
        for updates in parts:
            done += updates
            members = advance(members, data, np.int32(updates), np.bool_(ends and done == sum(parts)))
        seen.append(jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, members))
        seen[-1] = jax.tree.map(np.array, seen[-1])
    return seen, np.array(test_losses(members, place_on(settings, data_specs().valid, test)))


def _is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def member(tree, number):
    return jax.tree.map(lambda leaf: leaf[number], tree)


@functools.cache
def together():
    return epochs_of(MEMBERS)


@functools.cache
def rough():
    """Members whose validation loss rises again: their best epoch is not the last."""
    members, test = epochs_of([changed(seed=s, learning_rate=0.3) for s in (1, 2, 3, 4, 5)], epochs=8, limit=8)
    assert not members[-1].diverged.any() and members[-1].best_epoch.min() < 7
    return members, test


@functools.cache
def alone(number, updates):
    """What `jaxrnn.train` makes of the same settings, by its own compiled chunk."""
    corpus = dataclasses.replace(CORPUS, ids=np.concatenate([SPLIT.train, SPLIT.valid]))
    config = dataclasses.replace(MEMBERS[number], validation_fraction=len(SPLIT.valid) / len(corpus.ids))
    job = make_job(config, corpus, 1)
    np.testing.assert_array_equal(job.train_ids, SPLIT.train)
    chunk = make_train_chunk(job.graphdef, job.settings)
    state, metrics = chunk(job.initial_state(), to_streams(job.train_ids, B), np.int32(updates))
    return state, np.array(metrics.loss_nats)


@pytest.mark.parametrize("number", range(3))
def test_a_member_equals_the_run_alone(number):
    """Not bit for bit: XLA fuses the loop over members otherwise than one run's loop."""
    members, _ = together()
    state, losses = alone(number, EPOCHS * WINDOWS)
    assert EPOCHS * WINDOWS > 100
    mine = member(members[-1], number).train
    assert_trees_close(mine.params, state.params, rtol=1e-5)
    assert_trees_close(mine.optimizer_state, state.optimizer_state, rtol=1e-4)
    assert (mine.update, mine.epoch, mine.window) == (EPOCHS * WINDOWS, EPOCHS, 0)
    by_epoch = losses[: EPOCHS * WINDOWS].reshape(EPOCHS, WINDOWS).mean(axis=1)
    np.testing.assert_allclose([m.train_loss_nats[number] for m in members], by_epoch, rtol=1e-5)


def test_a_member_starts_as_the_run_alone_to_the_bit():
    members = initial_members(MEMBERS, [0] * 3, [1] * 3, V)
    for number in range(3):
        assert_trees_equal(member(members, number).train, make_job(MEMBERS[number], CORPUS, 1).initial_state())


def test_the_carry_is_zero_at_the_start_of_each_epoch():
    members, _ = together()
    for seen in members:
        assert all(not leaf.any() for leaf in jax.tree.leaves(seen.train.carry))
    halfway, _ = epochs_of(MEMBERS, epochs=1, parts=(WINDOWS - 1,))
    assert all(leaf.any() for leaf in jax.tree.leaves(halfway[0].train.carry))


def test_an_epoch_in_parts_has_the_same_bits():
    members, test = together()
    in_parts, test_in_parts = epochs_of(MEMBERS, parts=(7, WINDOWS - 8, 1))
    assert_trees_equal(in_parts, members)
    assert_trees_equal(test_in_parts, test)


def test_two_devices_give_the_bits_of_one():
    members, test = together()
    spread, spread_test = epochs_of([*MEMBERS, MEMBERS[0]], member_devices=2)
    for number in range(3):
        assert_trees_equal(member(spread[-1], number), member(members[-1], number))
    np.testing.assert_array_equal(spread_test[:3], test)


def test_a_shared_batch_and_a_batched_population_agree_with_members_in_sequence():
    members, test = together()
    for layout in ({"batch_devices": 2}, {"batched": True}):
        others, other_test = epochs_of(MEMBERS, **layout)
        assert_trees_close(others[-1].train.params, members[-1].train.params, rtol=1e-4)
        np.testing.assert_allclose(other_test, test, rtol=1e-5)
        assert_trees_equal(others[-1].train.epoch, members[-1].train.epoch)
        np.testing.assert_allclose(others[-1].train.valid_loss_nats, members[-1].train.valid_loss_nats, rtol=1e-5)


@pytest.mark.parametrize("trained", [together, rough])
def test_the_scores_are_those_of_the_text_read_stream_by_stream(trained):
    graphdef = model_structure(CONFIG, V)[0]
    members, test = trained()
    for ids, losses, params in (
        (SPLIT.valid, members[-1].train.valid_loss_nats, members[-1].train.params),
        (SPLIT.test, test, members[-1].train.best_params),
    ):
        own = -(-(len(ids) - 1 - T) // B)  # of each stream, after the T symbols before it; they are the first one's too
        for number in range(3):
            total = 0.0
            for start in range(0, B * own, own):
                whole = evaluate_ids(graphdef, member(params, number), ids[start : start + T + own + 1])
                total += whole.loss_nats * whole.characters
                if start:
                    before = evaluate_ids(graphdef, member(params, number), ids[start : start + T + 1])
                    total -= before.loss_nats * before.characters
            np.testing.assert_allclose(losses[number], total / (len(ids) - 1), rtol=1e-5)


def test_scores_in_streams_are_nearly_those_of_one_stream():
    graphdef = model_structure(CONFIG, V)[0]
    params = member(together()[0][-1], 0).train.params
    in_one = evaluate_ids(graphdef, params, CORPUS.ids).loss_nats
    starts = -(-(len(CORPUS.ids) - 1) // 16)
    cold = [evaluate_ids(graphdef, params, CORPUS.ids[at : at + starts + 1]) for at in range(0, 16 * starts, starts)]
    cold_loss = sum(s.loss_nats * s.characters for s in cold) / sum(s.characters for s in cold)
    settings = step_settings(dataclasses.replace(CONFIG, bptt_length=20), None)
    cut = scored_streams(CORPUS.ids, 16, 20)
    loss = score(graphdef, settings, params, cut, cut.scored.shape[0] // 20)
    assert abs(cold_loss - in_one) > 1e-2
    np.testing.assert_allclose(loss, in_one, atol=1e-3)


@pytest.mark.parametrize("trained", [together, rough])
def test_the_best_parameters_are_those_of_the_lowest_validation_loss(trained):
    members, _ = trained()
    for number in range(3):
        losses = [m.train.valid_loss_nats[number] for m in members]
        best = int(np.argmin(losses))
        assert members[-1].best_epoch[number] == best + 1
        assert members[-1].train.early_stopping.best[number] == losses[best]
        last, then = member(members[-1].train, number), member(members[best].train, number)
        assert_trees_equal(last.best_params, then.params)
        assert (last.best_update, last.best_smooth_loss_nats) == (then.update, then.smooth_loss_nats)
        assert last.valid_update == len(members) * WINDOWS


@pytest.mark.parametrize("batched", [False, True])
def test_a_diverging_member_is_dropped_and_the_others_keep_their_bits(batched):
    calm, _ = together() if not batched else epochs_of(MEMBERS, batched=True)
    wild, _ = epochs_of([MEMBERS[0], changed(seed=2, learning_rate=10.0), MEMBERS[2]], batched=batched)
    assert wild[-1].diverged.tolist() == [False, True, False]
    assert not wild[0].running[1]
    before = initial_members([changed(seed=2, learning_rate=10.0)], [0], [EPOCHS], V).train
    assert wild[-1].train.update[1] == 0
    assert_trees_equal(member(wild[-1].train.params, 1), member(before.params, 0))
    for number in (0, 2):
        assert_trees_equal(member(wild[-1], number), member(calm[-1], number))


@pytest.mark.parametrize(("updates", "ends"), [(20, False), (5, True)])
def test_a_member_that_is_not_finite_is_dropped(updates, ends):
    """By its updates, ten of which are left out in a row, or, before there are ten, by its validation loss."""
    members, _ = epochs_of(MEMBERS, epochs=1, parts=(updates,), lost=(1,), ends=ends)
    calm, _ = epochs_of(MEMBERS, epochs=1, parts=(updates,), ends=ends)
    assert members[0].diverged.tolist() == [False, True, False]
    assert members[0].running.tolist() == [True, False, True] and members[0].train.update[1] == 0
    for number in (0, 2):
        assert_trees_equal(member(members[0], number), member(calm[0], number))


def test_the_validation_text_is_read_with_a_fresh_carry_after_a_document():
    end = int(CORPUS.ids[3])
    graphdef = model_structure(CONFIG, V)[0]
    params = member(together()[0][-1], 0).train.params
    cut = scored_streams(SPLIT.valid, 1, T)
    settings = step_settings(CONFIG, end)
    with_resets = score(graphdef, settings, params, cut, cut.scored.shape[0] // T)
    expected = evaluate_ids(graphdef, params, SPLIT.valid, document_end=end).loss_nats
    assert abs(expected - evaluate_ids(graphdef, params, SPLIT.valid).loss_nats) > 1e-3
    np.testing.assert_allclose(with_resets, expected, rtol=1e-5)


@pytest.mark.parametrize("batched", [False, True])
def test_a_member_that_does_not_run_is_untouched(batched):
    still, _ = epochs_of(MEMBERS, epochs=2, stops=(1,), batched=batched)
    calm, _ = together() if not batched else epochs_of(MEMBERS, epochs=2, batched=True)
    start = initial_members(MEMBERS, [0] * 3, [1] * 3, V)
    assert_trees_equal(member(still[-1].train.params, 1), member(start.train.params, 1))
    assert still[-1].train.update[1] == 0 and still[-1].train_loss_nats[1] == np.inf
    assert_trees_equal(member(still[-1], 2), member(calm[1], 2))


def test_members_stop_after_their_epochs():
    members, _ = epochs_of(MEMBERS, epochs=EPOCHS + 1)
    assert_trees_equal(members[-1], members[-2])
    assert not members[-1].running.any() and members[-2].train.epoch.tolist() == [EPOCHS] * 3


def test_patience_stops_a_member_where_its_validation_loss_rises():
    members, _ = epochs_of([changed(seed=s, learning_rate=0.5) for s in range(3)], epochs=10, limit=10, rule="patience")
    for number in range(3):
        losses = [float(m.train.valid_loss_nats[number]) for m in members]
        epochs = int(members[-1].train.epoch[number])
        rises = [t for t in range(1, len(losses)) if losses[t] >= min(losses[:t])]
        assert epochs == (rises[0] + 1 if rises else 10)
    assert min(members[-1].train.epoch) < 10


def test_folds_read_other_parts_of_the_text():
    members, test = epochs_of([MEMBERS[0]] * 2, epochs=1, folds=[0, 1])
    assert_trees_equal(member(members[0], 0), member(together()[0][0], 0))
    assert abs(test[0] - test[1]) > 1e-4
    rolled, rolled_test = epochs_of([MEMBERS[0]] * 2, epochs=1, ids=np.roll(CORPUS.ids, -(len(CORPUS.ids) // 2)))
    assert_trees_equal(member(rolled[0].train, 0), member(members[0].train, 1))
    assert rolled_test[0] == test[1]


@pytest.mark.parametrize(("folds", "starts"), [(2, [0, 10]), (3, [0, 6, 13])])
def test_a_fold_begins_its_share_of_the_text_later_and_goes_on_at_the_start(folds, starts):
    text = list(range(100, 120))
    for fold, start in enumerate(starts):
        turned = text[start:] + text[:start]
        parts = split_in_order(np.array(text), fold=fold, folds=folds)
        assert [part.tolist() for part in parts] == [turned[:16], turned[16:18], turned[18:]]


def test_retraining_reads_training_and_validation_data_and_keeps_the_latest_parameters():
    both = population_data([SPLIT], B, T, retrain=True)[0].train[0]
    np.testing.assert_array_equal(both, to_streams(np.concatenate([SPLIT.train, SPLIT.valid]), B))
    windows = (len(both) - 1) // T
    members, _ = epochs_of(MEMBERS[:2], epochs=2, parts=(windows,), retrain=True, validates=False)
    assert_trees_equal(members[-1].train.best_params, members[-1].train.params)
    assert members[-1].best_epoch.tolist() == [2, 2]


def test_war_and_peace_splits_as_in_the_thesis():
    assert [len(part) for part in split_in_order(np.zeros(3_196_213, np.uint8))] == [2_556_970, 319_621, 319_622]


def test_devices_are_spread_over_members_first():
    assert [device_layout(m, 4, 100) for m in (1, 2, 3, 8)] == [(1, 4), (2, 2), (2, 2), (4, 1)]
