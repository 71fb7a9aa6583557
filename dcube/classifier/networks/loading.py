"""Loading of published weights, except the last layer, for networks that are not in timm."""

import math
from collections.abc import Callable, Mapping

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from dcube.config.schema import Pretrained
from dcube.engine.pretrained import download_weights, state_from_file
from dcube.errors import DcubeError

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
COUNTERS = "num_batches_tracked"  # some files lack them, and they are not needed
Fetch = Callable[[], Mapping[str, Tensor]]
Rename = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
Prefix = str | tuple[()]


def load_published(
    network: nn.Module,
    title: str,
    pretrained: Pretrained,
    fetch: Fetch,
    fresh: Prefix = (),
    positions: str | None = None,
    renamed: Rename = dict,
) -> None:
    """Load weights into a network as `pretrained` says, except for layers whose names begin with `fresh`.

    Args:
        network: network with the names of the published tensors, after `renamed`.
        fetch: downloads the published tensors; any error means that the download failed.
        positions: suffix of the names of position embeddings, which are resampled to the network's image size.
        renamed: maps the published tensors to tensors with the network's names.

    Raises:
        DcubeError: if the weights are missing, altered, of another network, or cannot be downloaded.
    """
    if pretrained.weights == "none":
        return
    if pretrained.weights == "package":
        raise DcubeError(f"no package contains weights of {title}: choose weights: download, file or none")
    if pretrained.weights == "file":
        origin = str(pretrained.weights_file)
        tensors: Mapping[str, Tensor] = state_from_file(pretrained)
    else:
        origin, tensors = "what was fetched", download_weights(title, fetch)
    _fill(network, title, renamed(tensors), origin, fresh, positions)


def only_pickled(title: str, place: str) -> Fetch:
    """Return a `fetch` that refuses weights published only as a pickle, which this program does not read."""

    def fetch() -> Mapping[str, Tensor]:
        raise DcubeError(
            f"the weights of {title} are published as a pickle only ({place}): convert them once as "
            "docs/how-to/add-a-method.md says and give weights: file, or weights: none"
        )

    return fetch


def _fill(
    network: nn.Module, title: str, tensors: Mapping[str, Tensor], origin: str, fresh: Prefix, positions: str | None
) -> None:
    own = network.state_dict()
    needed = [name for name in own if not name.startswith(fresh) and not name.endswith(COUNTERS)]
    if missing := [name for name in needed if name not in tensors]:
        raise DcubeError(
            f"{origin} contains no weights of {title}: {missing[0]} and {len(missing) - 1} more are missing"
        )
    state = {name: tensors[name] for name in needed}
    if positions:
        state |= {name: _resampled(t, own[name]) for name, t in state.items() if name.endswith(positions)}
    if other := [name for name, tensor in state.items() if tensor.shape != own[name].shape]:
        shapes = tuple(state[other[0]].shape), tuple(own[other[0]].shape)
        raise DcubeError(f"{origin} contains no weights of {title}: {other[0]} has shape {shapes[0]}, not {shapes[1]}")
    network.load_state_dict(state, strict=False)


def _resampled(positions: Tensor, own: Tensor) -> Tensor:
    """Resample position embeddings (1, N, C) of a square grid, with or without a class token, to the size of `own`."""
    if positions.shape == own.shape or positions.ndim != 3:
        return positions
    side = math.isqrt(own.shape[1])
    return resample_abs_pos_embed(positions, [side, side], num_prefix_tokens=own.shape[1] - side**2)
