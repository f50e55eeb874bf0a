"""Vision transformer: an encoder over square patches of an image, small by default.

Source: Dosovitskiy et al., ICLR 2021, https://arxiv.org/abs/2010.11929, eq. (1) to (4): the
normalisation stands before each attention and each MLP, a learned class token is read at the end.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

EPSILON = 1e-6


class EncoderBlock(nnx.Module):
    """`y = x + attention(attention_ln(x))`, then `y + contract(gelu(expand(mlp_ln(y))))`."""

    def __init__(self, width: int, heads: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        """Draw the weights.

        Args:
          width: Channels of each token, a multiple of `heads`.
          heads: Number of attention heads, >= 1.
          hidden: Channels between the two layers of the MLP, >= 1.
          rngs: Source of the initial weights (stream `params`).
        """
        self.attention_ln = nnx.LayerNorm(width, epsilon=EPSILON, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.mlp_ln = nnx.LayerNorm(width, epsilon=EPSILON, rngs=rngs)
        self.expand = nnx.Linear(width, hidden, rngs=rngs)
        self.contract = nnx.Linear(hidden, width, rngs=rngs)

    def __call__(self, x: Float[Array, "batch tokens width"]) -> Float[Array, "batch tokens width"]:
        """Tokens of the same size, of any sign."""
        x = x + self.attention(self.attention_ln(x))
        hidden = jax.nn.gelu(self.expand(self.mlp_ln(x)), approximate=False)
        return x + self.contract(hidden)


class VisionTransformer(nnx.Module):
    """Patches `embed`, a class token, positions, blocks `block1`, ..., a normalisation, a head `dense`.

    With `ViT-B/16`'s sizes (224x224 images, patches of 16, width 768, 12 blocks and heads) it has
    86,567,656 parameters and 17.564 GMACs.
    """

    def __init__(
        self,
        classes: int = 10,
        image: tuple[int, int, int] = (32, 32, 3),
        patch: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the weights.

        Args:
          classes: Number of logits, >= 1.
          image: Height, width and channels of the images; both sides are multiples of `patch`.
          patch: Side of a patch in pixels, >= 1.
          width: Channels of each token, a multiple of `heads`; the MLP's hidden layer has 4 times as many.
          depth: Number of blocks, >= 1.
          heads: Number of attention heads, >= 1.
          rngs: Source of the initial weights (stream `params`).

        Raises:
          ValueError: the patches do not tile the image.
        """
        rows, columns, channels = image
        if rows % patch or columns % patch:
            raise ValueError(
                f"VisionTransformer cannot cut an image of {rows} x {columns} into patches of {patch}. "
                "Choose a patch that divides both sides."
            )
        tokens = (rows // patch) * (columns // patch)
        normal = nnx.initializers.normal(0.02)
        self.depth = depth
        self.embed = nnx.Conv(channels, width, (patch, patch), strides=patch, rngs=rngs)
        self.token = nnx.Param(jnp.zeros((1, 1, width)))
        self.positions = nnx.Param(normal(rngs.params(), (1, tokens + 1, width)))
        for number in range(1, depth + 1):
            setattr(self, f"block{number}", EncoderBlock(width, heads, 4 * width, rngs=rngs))
        self.final_ln = nnx.LayerNorm(width, epsilon=EPSILON, rngs=rngs)
        self.dense = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x: Float[Array, "batch rows columns channels"]) -> Float[Array, "batch classes"]:
        """Logits of images of the size that the positions were made for."""
        x = self.embed(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        token = jnp.broadcast_to(self.token[...], (x.shape[0], 1, x.shape[-1]))
        x = jnp.concatenate([token, x], axis=1) + self.positions[...]
        for number in range(1, self.depth + 1):
            x = getattr(self, f"block{number}")(x)
        return self.dense(self.final_ln(x)[:, 0])
