"""The forward process of Eq. (1) and the meaning of the network's output (noise or velocity)."""

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from dcube.config.schema import Diffusion


class NoiseSchedule:
    """Noise schedule with β linear from `beta_start` to `beta_end` over `timesteps` steps, based on diffusers.

    ᾱ_t is the cumulative product of 1 - β, α = √ᾱ_t, σ = √(1 - ᾱ_t), and x_t = α x_0 + σ ε.
    """

    def __init__(self, diffusion: Diffusion) -> None:
        self.timesteps = diffusion.timesteps
        self.prediction = diffusion.prediction
        self._scheduler = DDPMScheduler(
            num_train_timesteps=diffusion.timesteps,
            beta_start=diffusion.beta_start,
            beta_end=diffusion.beta_end,
            beta_schedule="linear",
            prediction_type=diffusion.prediction,
        )

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t of q(x_t | x_0), (B, C, S, S), for images and noise (B, C, S, S) and timesteps t (B,)."""
        return self._scheduler.add_noise(clean, noise, t)

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the training target: the noise, or v = α ε - σ x_0 (Salimans & Ho 2022, §4)."""
        if self.prediction == "epsilon":
            return noise
        return self._scheduler.get_velocity(clean, noise, t)

    def to_epsilon(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Convert the network's output to noise: ε = σ x_t + α v for a velocity."""
        if self.prediction == "epsilon":
            return output
        products = self._scheduler.alphas_cumprod.to(noisy.device)[t].view(-1, 1, 1, 1)
        return (1 - products).sqrt() * noisy + products.sqrt() * output

    def solver(self, steps: int, device: torch.device) -> DPMSolverMultistepScheduler:
        """Return DPM-Solver++ (Lu et al. 2022, second order) for this schedule: deterministic for given first noise."""
        solver = DPMSolverMultistepScheduler.from_config(self._scheduler.config, algorithm_type="dpmsolver++")
        solver.set_timesteps(steps, device=device)
        return solver
