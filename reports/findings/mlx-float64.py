"""MLX computes much of what it labels float64 in float32.

Seen with mlx 0.32.4 on Linux, numpy 2.4.6, scipy 1.17.1, torch 2.13.0. `llmasos certify --adapter mlx:float64` is not
conformant. Cause: the processor's exp, erf and their like compute in vectors of float whatever the type of the array
(mlx/backend/cpu/simd/math.h in ml-explore/mlx: `Simd<float, N> x_init = in`), and so do sigmoid, softmax and logsumexp,
which use them; the norms of mlx.core.fast agree with float64 no better. Products, sums, roots and tanh are float64.
Second witness: torch in float64 agrees with NumPy to 1e-15. MLX is wrong, or its label is.

python mlx-float64.py      needs mlx[cpu], numpy, scipy, torch
"""

import mlx.core as mx
import numpy as np
import torch
from scipy.special import erf

mx.set_default_device(mx.cpu)
x, w = np.random.default_rng(0).normal(size=(3, 16)), np.random.default_rng(1).normal(size=(16, 16))
a, b, t, u = mx.array(x, dtype=mx.float64), mx.array(w, dtype=mx.float64), torch.from_numpy(x), torch.from_numpy(w)
soft = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
root = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
ROWS = {
    "product": (a @ b, t @ u, x @ w),
    "square root": (mx.sqrt(a * a), torch.sqrt(t * t), np.abs(x)),
    "tanh": (mx.tanh(a), torch.tanh(t), np.tanh(x)),
    "exp": (mx.exp(a), torch.exp(t), np.exp(x)),
    "erf": (mx.erf(a), torch.erf(t), erf(x)),
    "cos": (mx.cos(a), torch.cos(t), np.cos(x)),
    "sigmoid": (mx.sigmoid(a), torch.sigmoid(t), 1 / (1 + np.exp(-x))),
    "softmax": (mx.softmax(a, axis=-1, precise=True), torch.softmax(t, -1), soft),
    "logsumexp": (mx.logsumexp(a, axis=-1), torch.logsumexp(t, -1), np.log(np.exp(x).sum(-1))),
    "rms norm": (
        mx.fast.rms_norm(a, mx.ones(16, dtype=mx.float64), 1e-6), torch.nn.functional.rms_norm(t, (16,), eps=1e-6), root
    ),
}  # fmt: skip
print(f"mlx {mx.__version__:28} {'label':18} mlx       torch {torch.__version__}: largest error")
for name, (got, witness, due) in ROWS.items():
    errors = (np.abs(np.array(got) - due).max(), np.abs(witness.numpy() - due).max())
    print(f"{name:32} {got.dtype!s:18} {errors[0]:.1e}   {errors[1]:.1e}")
