"""What jaxrnn is measured against trains the same recipe."""

import jax
import numpy as np
import pytest

from experiments.benchmark.baselines import CLIP_VALUE, FlaxBook, NumpyBook, TorchBook, Windows, initial_parameters
from jaxrnn.inspect.gradient_check import vanilla_loss_and_gradients

V = 7
IDS = np.random.default_rng(0).integers(0, V, 131).astype(np.uint8)


def larger_parameters():
    """Weights and biases that are not small, so that every gradient is."""
    draw = np.random.default_rng(1)
    return {
        name: value + 0.2 * draw.standard_normal(value.shape) for name, value in initial_parameters(V, 100, 2).items()
    }


def test_windows_follow_each_other_and_begin_again():
    windows = Windows(np.arange(11), length=5)
    seen = [windows.next() for _ in range(3)]
    assert [(list(x), list(y), starts) for x, y, starts in seen] == [
        ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5], True),
        ([5, 6, 7, 8, 9], [6, 7, 8, 9, 10], False),
        ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5], True),
    ]


def test_numpy_gradients_equal_the_library_oracle():
    parameters = larger_parameters()
    book = NumpyBook(IDS, V, parameters=parameters)
    h = np.random.default_rng(2).uniform(-1, 1, 100)
    book.h = h[:, None]
    inputs, targets, _ = book.windows.next()
    loss, (dU, dW, dV, db, dc) = book.loss_and_gradients(inputs, targets)
    expected_loss, gradients, h_last = vanilla_loss_and_gradients(parameters, inputs, targets, h)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
    np.testing.assert_allclose(book.h[:, 0], h_last, rtol=1e-9)
    for name, gradient in {"W_x": dU.T, "W_h": dW.T, "W_y": dV.T, "b": db[:, 0], "b_y": dc[:, 0]}.items():
        np.testing.assert_allclose(gradient, gradients[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_torch_gradients_equal_the_library_oracle():
    torch = pytest.importorskip("torch")
    parameters = larger_parameters()
    book = TorchBook(IDS, V, dtype=torch.float64, parameters=parameters)
    inputs, targets, _ = book.windows.next()
    loss = book.loss_and_gradients(inputs, targets)
    expected_loss, gradients, h_last = vanilla_loss_and_gradients(
        parameters, inputs.numpy(), targets.numpy(), np.zeros(100)
    )
    np.testing.assert_allclose(loss.item(), expected_loss, rtol=1e-12)
    np.testing.assert_allclose(book.h[0].numpy(), h_last, rtol=1e-9)
    for name, parameter in zip(["W_x", "W_h", "b", "W_y", "b_y"], book.trained, strict=True):
        gradient = parameter.grad.numpy().T  # type: ignore[union-attr]
        np.testing.assert_allclose(gradient, gradients[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_numpy_and_flax_train_alike():
    parameters = larger_parameters()
    with jax.enable_x64(True):
        flax_book = FlaxBook(IDS, V, dtype=np.float64, parameters=parameters)
        numpy_book = NumpyBook(IDS, V, parameters=parameters)
        for update in range(8):  # into the second epoch
            np.testing.assert_allclose(flax_book.advance(1), numpy_book.advance(1), rtol=1e-8, err_msg=f"{update}")


def test_torch_trains():
    pytest.importorskip("torch")
    book = TorchBook(IDS, V)
    first = book.advance(1)
    assert first == pytest.approx(25 * np.log(V), rel=1e-2)
    assert book.advance(300) < 0.9 * first


def test_numpy_book_clips():
    book = NumpyBook(np.zeros(131, np.uint8), V)
    book.c[1] = 20.0  # sure of the wrong symbol: the gradient is 25 times 1
    book.advance(1)
    assert max(memory.max() for memory in book.memory) == CLIP_VALUE**2


def test_numpy_book_goes_on_and_resets_the_carry_at_an_epoch():
    parameters = larger_parameters()
    whole, split = (NumpyBook(IDS, V, parameters=parameters, learning_rate=0.01) for _ in range(2))
    whole_loss = whole.advance(8)
    assert [split.advance(updates) for updates in (1, 4, 3)][-1] == whole_loss
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(value, split.parameters[name], err_msg=name)
    still = NumpyBook(IDS, V, parameters=parameters, learning_rate=0.0)
    first = still.advance(1)
    assert still.advance(1) != first
    still.advance(3)
    assert still.advance(1) == first  # the sixth window is the first again
