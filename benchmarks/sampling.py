"""Images a second: 20 DPM-Solver++ steps in bfloat16 against 999 ancestral float32 steps of two passes each."""

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from benchmarks.measure import Result, Setting, interleaved, speed
from benchmarks.networks import BFLOAT16, CLASSES, CPU, as_pair, diffusion_of, name_of, uvit_of
from dcube.artifacts.layout import CONFIG
from dcube.config.schema import Diffusion, Fid
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.noise_schedule import NoiseSchedule
from dcube.diffusion.ranges import from_model_range
from dcube.diffusion.sampler import sample
from dcube.diffusion.uvit import UViT
from dcube.diffusion.weights import load_diffusion, load_diffusion_config
from dcube.engine.device import autocast
from dcube.engine.progress import progress
from dcube.engine.rng import torch_generator
from dcube.generative_metrics.frechet import FrechetTracker

OUR_STEPS = 50  # the paper's presets
PLAIN_STEPS = 999
TIMED_PLAIN_STEPS = 4
BATCH = 64


def benchmark(setting: Setting) -> list[Result]:
    return [*(_speed(size, setting) for size in setting.sizes), *_distances(setting)]


def _speed(size: int, setting: Setting) -> Result:
    """A few of the plain steps are timed: all cost the same."""
    n = 4 if size >= 128 else BATCH
    model, diffusion = uvit_of(size).eval(), diffusion_of(size)
    labels, shape = torch.arange(n) % CLASSES, (1, size, size)
    timing = interleaved(
        lambda: ancestral(model, diffusion, labels, shape, stop_after=TIMED_PLAIN_STEPS),
        lambda: fast(model, NoiseSchedule(diffusion), labels, shape),
        setting.repeats,
    )
    amount = n * TIMED_PLAIN_STEPS / PLAIN_STEPS, n
    return speed("sampling", name_of(size), "images", amount, timing, 140)


def _distances(setting: Setting) -> list[Result]:
    """Fréchet distance of both samplers' images on the same trained weights, labels and number of images."""
    if not (setting.weights / CONFIG).exists():
        print(f"no trained model in {setting.weights}: the Fréchet distances are left out (run `make demo` first)")
        return []
    model, schedule = load_diffusion(setting.weights, CPU)
    diffusion, dataset = load_diffusion_config(setting.weights).diffusion, PreparedDataset.load(setting.prepared)
    fid = Fid(extractor="efficientnet_lite0", resize=64, samples=setting.samples)
    tracker = FrechetTracker(fid, dataset, CPU)
    size = dataset.diffusion_image_size
    shape = (dataset.channels, size, size)
    images = {
        "plain": _all_ancestral(model, diffusion, tracker.labels, shape),
        "ours": fast(model, schedule, tracker.labels, shape),
    }
    plain, ours = (tracker.measure(images[who], tracker.labels).fid for who in ("plain", "ours"))
    lever = "Fréchet distance of the samples (lower is better)"
    remark = f"{setting.samples} images, {dataset.name}, {tracker.extractor.name}"
    return [Result(lever, f"{size} px", plain, ours, "", plain / ours, target=1.0, remark=remark)]


def _all_ancestral(model: UViT, diffusion: Diffusion, labels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    batches = []
    with progress("Ancestral sampling", total=len(labels), unit="images") as advance:
        for part in torch.arange(len(labels)).split(BATCH):
            # The position makes the noise of two batches of the same labels differ.
            batches.append(ancestral(model, diffusion, labels[part], shape, passes=1, first=int(part[0])))
            advance(len(part))
    return torch.cat(batches)


@torch.inference_mode()
def fast(model: UViT, schedule: NoiseSchedule, labels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    with autocast(CPU, BFLOAT16):
        return sample(model, schedule, labels, list(range(len(labels))), OUR_STEPS, BATCH, shape)


@torch.inference_mode()
def ancestral(
    model: UViT,
    diffusion: Diffusion,
    labels: Tensor,
    shape: tuple[int, int, int],
    passes: int = 2,
    first: int = 0,
    stop_after: int = PLAIN_STEPS,
) -> Tensor:
    """The sampler as published: t = 999 … 1, each step a pass of a "pair" of the same images twice, in float32.

    One of the two `passes` gives the same images in half the time, for where speed is not the question.
    """
    scheduler = DDPMScheduler(
        num_train_timesteps=diffusion.timesteps,
        beta_start=diffusion.beta_start,
        beta_end=diffusion.beta_end,
        beta_schedule="linear",
        prediction_type=diffusion.prediction,
        clip_sample=False,
    )
    generator = torch_generator(CPU, 0, "ancestral sampling", first)
    x = torch.randn((len(labels), *shape), generator=generator)
    condition = model.embed_labels(labels)
    for t in scheduler.timesteps[:stop_after]:
        levels = t.expand(len(x))
        output = model(x, levels, condition) if passes == 1 else as_pair(model, x, levels, condition)[0]
        x = scheduler.step(output, int(t), x, generator=generator).prev_sample
    return from_model_range(x)
