"""The engine `resident` of a TPU: two Pallas kernels whose grid walks time, with W_h and the carry on the chip.

One kernel does all steps: W_h, b_h, the carry and the gradient sums stay in the chip's own memory (VMEM), and only what
belongs to a step comes and goes. The kernels trace `cell.update` and its `jax.vjp`, so no cell is written twice. Sizes
need not be multiples of a tile: Mosaic, which compiles the kernels, pads them on the chip. Reverse mode only.

Kept for the backward pass, each written once: the carries, and the sum a = p + r where a cell only adds its products,
in the place of p; else r beside p. To make r again from the carries outside, as `recompute` does, would move more: with
a sum, h and p are read and a is written (9 H numbers a row of an LSTM), where now a is written (4 H); without one the
bytes are the same, and there is one more product. dW_h is one product over all steps afterwards.

Products are made as `jax.default_matmul_precision` says: by default in one bfloat16 pass, else in float32, which takes
five to six. Compiled, not measured.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.step import output_is_h, pointwise_of, with_own_gradient
from jaxrnn.engines.window import Window, input_product, input_weights

# Of the 128 MiB of VMEM that a core of a v5e or v6e has.
VMEM_LIMIT = 100 << 20
ONE_PASS = (None, "default", "fastest", "bfloat16", "BF16_BF16_F32")


def unroll_resident_tpu(
    cell: Cell,
    window: Window,
    carry: Carry,
    fresh: Carry | None = None,
    clip_backward: jax.Array | None = None,
    *,
    interpret: Any = False,
) -> tuple[Carry, jax.Array]:
    """Unrolls by one kernel, with a second for the gradient; input products are made before.

    Args:
      interpret: of `pallas_call`, for tests: true where the kernels run as plain operations, on any platform.

    Raises:
      ValueError: if the weights and the states of a batch do not fit on the chip.
    """
    if not fits(cell, len(carry.h)):
        raise ValueError(f"the engine 'resident' {_too_large(cell, len(carry.h))}; use another engine, or 'auto'")
    ps = input_product(input_weights(cell, window), window.features, window.ids, window.input_scale)
    b_h = None if cell.b_h is None else cell.b_h[...]
    arrays = (ps, cell.W_h[...], b_h, pointwise_of(cell), carry, fresh, window.recurrent_mask)
    fixed = (None if window.times.ndim == 1 else window.times, window.resets, window.valid)
    engine = _Resident(cell, interpret)
    return with_own_gradient(engine._forward, engine._backward)(arrays, fixed, clip_backward)


def why_not_resident_tpu(cell: Cell) -> str | None:
    """Why the kernels cannot run this cell, or None."""
    if cell.inner_products:
        return f"the update of {type(cell).__name__} makes products of its own, whose weights the kernels do not hold"
    return None if fits(cell, 1) else _too_large(cell, 1)


def fits(cell: Cell, batch_size: int) -> bool:
    """Whether the kernels' on-chip memory holds a cell's weights and the states of a batch."""
    return vmem_bytes(cell, batch_size) <= VMEM_LIMIT


def _too_large(cell: Cell, batch_size: int) -> str:
    needed = vmem_bytes(cell, batch_size) / 2**20
    return f"needs {needed:.0f} MiB on the chip for {type(cell).__name__}, and {VMEM_LIMIT >> 20} MiB are there"


def vmem_bytes(cell: Cell, batch_size: int) -> int:
    """What the backward kernel, the larger one, holds on the chip at most; the compiler took W_h and half of it."""

    def lanes(width: int) -> int:
        return -(-width // 128) * 128

    (H, R), G = cell.W_h.shape, cell.W_x.shape[1]
    products = lanes(G) if cell.sums_products else lanes(G) + lanes(R)
    state = sum(lanes(leaf.shape[-1]) for leaf in jax.tree.leaves(jax.eval_shape(lambda: cell.initial_carry(1))))
    # What comes and goes is there twice: products and their gradients, kept carries, d_y and a mask. Then the first,
    # last and fresh carry and their gradients, and what a step computes.
    row = 6 * products + 9 * state + 4 * lanes(H)
    own = sum(4 * 8 * lanes(leaf.size) for leaf in jax.tree.leaves(cell.pointwise()))
    return cell.W_h[...].dtype.itemsize * (-(-H // 8) * 8 * lanes(R) + -(-batch_size // 8) * 8 * row + own)


class _Resident(NamedTuple):
    cell: Cell
    interpret: Any

    def _step(self, now: Any, t: Any, p: Any, r: Any, before: Carry, pointwise: Any) -> tuple[Carry, Any]:
        t = t if now["time"] is None else now["time"][0]
        new, y = self.cell.update(p, jnp.zeros_like(p) if r is None else r, before, pointwise, t)
        valid = now["valid"]
        return (new, y) if valid is None else (_where(valid, new, before), _where(valid, y, jnp.zeros_like(y)))

    def _forward(self, arrays: Any, fixed: Any, clip: Any, keep: bool) -> tuple[Any, Any]:
        ps, W_h, b_h, pointwise, first, fresh, mask = arrays
        times, resets, valid = fixed
        sums, T = self.cell.sums_products, len(ps)
        r_row = jax.ShapeDtypeStruct((len(first.h), W_h.shape[1]), ps.dtype)
        t = jnp.zeros((), jnp.int32) if times is None else times[0]
        y_is_h = output_is_h(self.cell, ps[0], r_row, first, pointwise, t)

        def kernel(t: Any, now: Any, _: Any, held: Any, out: Any, last: Any) -> None:
            pl.when(t == 0)(lambda: _store(last, _read(held["first"])))
            before = _read(last)
            if resets is not None:
                before = _where(now["reset"], _read(held["fresh"]), before)
            p, r = now["p"], _dot(before.h if mask is None else before.h * now["mask"], held["W_h"])
            r = r if b_h is None else r + held["b_h"][...]
            p, r = (p + r, None) if sums else (p, r)
            new, y = self._step(now, t, p, r, before, _shaped(held["pointwise"], pointwise))
            _store(last, new)
            here = {"a": p if sums else r, "carry": new, "y": new.h if y_is_h else y}
            _store(out, {name: jax.tree.map(lambda a: a[None], here[name]) for name in out})

        rows = {"carry": first, "a": r_row, "y": first.h}
        written = ("carry", "a", *(() if y_is_h else ("y",))) if keep else ("y",)
        out = {name: _shapes(rows[name], T) for name in written}
        now, held = _given(W_h, b_h, arrays, fixed)
        in_place = {"p": "a"} if keep and sums else {}
        out, last = self._call(kernel, range(T), (now | {"p": ps}, (), held), (out, _shapes(first)), in_place)
        ys = out["y"] if "y" in out else out["carry"].h
        if y_is_h and valid is not None:
            ys = jnp.where(valid[:, :, None], ys, 0)
        return (last, ys), (arrays[1:], fixed, clip, None if sums else ps, out.get("a"), out.get("carry"))

    def _backward(self, saved: Any, cotangents: Any) -> tuple[Any, None, None]:
        (W_h, b_h, pointwise, first, fresh, mask), fixed, clip, ps, kept_sums, kept = saved
        resets, (d_last, d_ys) = fixed[1], cotangents
        sums, T = self.cell.sums_products, len(d_ys)

        def kernel(t: Any, now: Any, previous: Any, held: Any, out: Any, state: Any) -> None:
            @pl.when(t == T - 1)
            def _() -> None:
                others = jax.tree.map(lambda ref: jnp.zeros_like(ref[...]), state["others"])
                _store(state, {"carry": _read(held["last"]), "others": others})

            before = jax.tree.map(lambda kept, f: jnp.where(t == 0, f[...], kept), previous, held["first"])
            if resets is not None:
                before = _where(now["reset"], _read(held["fresh"]), before)
            given = (now["p"], now.get("r"), before, _shaped(held["pointwise"], pointwise))
            pullback: Any = jax.vjp(lambda p, r, c, w: self._step(now, t, p, r, c, w), *given)[1]
            d_p, d_r, d_before, d_pointwise = pullback((_read(state["carry"]), now["d_y"]))
            if clip is not None:
                limit = held["clip"][0, 0]
                d_p, d_r = jax.tree.map(lambda d: jnp.clip(d, -limit, limit), (d_p, d_r))
            _store(out, jax.tree.map(lambda d: d[None], {"p": d_p} if sums else {"p": d_p, "r": d_r}))
            d_h = _dot(d_p if sums else d_r, held["W_h"])
            d_before = d_before._replace(h=d_before.h + (d_h if mask is None else d_h * now["mask"]))
            more = {"pointwise": jax.tree.map(_flat, d_pointwise), "fresh": None}
            if resets is not None:
                zeros = jax.tree.map(jnp.zeros_like, d_before)
                more["fresh"] = _where(now["reset"], d_before, zeros)
                d_before = _where(now["reset"], zeros, d_before)
            others = jax.tree.map(lambda ref, d: ref[...] + d, state["others"], more)
            _store(state, {"carry": d_before, "others": others})

        now, held = _given(W_h.T, None, (ps, *saved[0]), fixed)
        now |= {"p": kept_sums} if sums else {"p": ps, "r": kept_sums}
        held |= {"last": d_last, "clip": None if clip is None else jnp.reshape(clip, (1, 1))}
        out: dict[str, Any] = {name: _shapes(now[name]) for name in ("p", "r") if name in now}
        state = _shapes({"carry": first, "others": {name: held[name] for name in ("pointwise", "fresh")}})
        in_place = {name: name for name in out}
        now["d_y"] = d_ys
        out, state = self._call(kernel, range(T)[::-1], (now, kept, held), (out, state), in_place)
        d_sums = out["p" if sums else "r"]
        h = jnp.concatenate([first.h[None], kept.h[:-1]])
        if resets is not None:
            h = jnp.where(resets[:, :, None], held["fresh"].h[None], h)
        d_W_h = jnp.einsum("tbh,tbg->hg", h if mask is None else h * mask, d_sums)
        d_b_h = None if b_h is None else d_sums.sum((0, 1))
        d_pointwise = jax.tree.map(lambda d, w: d.reshape(w.shape), state["others"]["pointwise"], pointwise)
        d_fresh = None
        if fresh is not None:
            d_fresh = jax.tree.map(jnp.zeros_like, fresh) if resets is None else state["others"]["fresh"]
        d_mask = None
        if mask is not None:
            d_mask = h * jnp.einsum("tbg,hg->tbh", d_sums, W_h)
            d_mask = d_mask.sum(0)[None] if mask.shape[0] == 1 else d_mask
        return (out["p"], d_W_h, d_b_h, d_pointwise, state["carry"], d_fresh, d_mask), None, None

    def _call(self, kernel: Any, steps: range, given: Any, outs: Any, places: dict[str, str]) -> Any:
        """Runs `kernel(t, now, previous, held, out, state)`: a step's blocks as values, then references to the rest.

        Args:
          steps: all t in their order.
          given: now, previous, held. `previous` are blocks of the step before, or of step 0.
          outs: out, state, of which `out` has a block a step.
          places: for names of `now` the name in `out` whose array takes its place in memory.
        """
        (now, previous, held), (out, state) = given, outs
        leaves, tree = jax.tree.flatten(given)
        out_leaves, out_tree = jax.tree.flatten(outs)
        numbers = jax.tree.unflatten(tree, range(len(leaves)))[0]
        out_numbers = jax.tree.unflatten(out_tree, range(len(out_leaves)))[0]

        def order(i: Any) -> Any:
            return steps.start + steps.step * i

        def body(*refs: Any) -> None:
            now, previous, held = jax.tree.unflatten(tree, refs[: len(leaves)])
            here = jax.tree.map(lambda ref: ref[0], (now, previous))
            kernel(order(pl.program_id(0)), *here, held, *jax.tree.unflatten(out_tree, refs[len(leaves) :]))

        def block(array: Any, order: Any) -> pl.BlockSpec:
            rest = array.shape[1:]  # a mask of the whole window has one block
            return pl.BlockSpec((1, *rest), lambda i: (order(i) if array.shape[0] > 1 else 0, *(0 for _ in rest)))

        def whole(array: Any, **options: Any) -> pl.BlockSpec:
            return pl.BlockSpec(array.shape, lambda i: (0,) * len(array.shape), **options)

        specs = (
            jax.tree.map(lambda a: block(a, order), now),
            jax.tree.map(lambda a: block(a, lambda i: jnp.maximum(order(i) - 1, 0)), previous),
            jax.tree.map(lambda a: whole(a, pipeline_mode=pl.Buffered(1)), held),
        )
        if held.get("clip") is not None:
            specs[2]["clip"] = whole(held["clip"], memory_space=pltpu.SMEM)
        call = pl.pallas_call(
            body,
            grid=(len(steps),),
            in_specs=jax.tree.leaves(specs),
            out_specs=jax.tree.leaves((jax.tree.map(lambda a: block(a, order), out), jax.tree.map(whole, state))),
            out_shape=out_leaves,
            input_output_aliases={numbers[mine]: out_numbers[theirs] for mine, theirs in places.items()},
            compiler_params=pltpu.CompilerParams(vmem_limit_bytes=VMEM_LIMIT),
            interpret=self.interpret,
        )
        return jax.tree.unflatten(out_tree, call(*leaves))


def _given(W: jax.Array, b_h: Any, arrays: Any, fixed: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What belongs to each step, and what is held over all; None where nothing is."""
    pointwise, first, fresh, mask = arrays[3:]
    times, resets, valid = fixed
    if resets is None:
        fresh = None
    elif fresh is None:
        fresh = jax.tree.map(jnp.zeros_like, first)
    # Flags are columns of integers, (T, B, 1): a mask cannot be spread over lanes, a number can.
    flags = [None if flag is None else flag.astype(jnp.int32)[:, :, None] for flag in (resets, valid)]
    now = {"time": None if times is None else times[:, None], "reset": flags[0], "valid": flags[1], "mask": mask}
    held = {"W_h": W, "b_h": None if b_h is None else b_h[None], "pointwise": jax.tree.map(_flat, pointwise)}
    return now, held | {"first": first, "fresh": fresh}


def _flat(weights: Any) -> Any:
    # A kernel's arrays have two axes at least.
    return weights.reshape(1, -1) if weights.ndim < 2 else weights


def _shaped(refs: Any, pointwise: Any) -> Any:
    return jax.tree.map(lambda ref, w: ref[...].reshape(w.shape), refs, pointwise)


def _shapes(tree: Any, *steps: int) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*steps, *leaf.shape), leaf.dtype), tree)


def _read(refs: Any) -> Any:
    return jax.tree.map(lambda ref: ref[...], refs)


def _store(refs: Any, values: Any) -> None:
    jax.tree.map(lambda ref, value: ref.__setitem__(..., value), refs, values)


def _where(flag: Any, chosen: Any, other: Any) -> Any:
    return jax.tree.map(lambda c, o: jnp.where(jnp.broadcast_to(flag, o.shape) != 0, c, o), chosen, other)


def _dot(rows: Any, W: Any) -> Any:
    one_pass = jax.config.jax_default_matmul_precision in ONE_PASS  # type: ignore[attr-defined]
    precision = jax.lax.Precision.DEFAULT if one_pass else jax.lax.Precision.HIGHEST
    return jnp.dot(rows, W[...], precision=precision, preferred_element_type=jnp.float32).astype(rows.dtype)
