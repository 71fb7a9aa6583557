"""D-Cube: diffusion features for medical image classification, as a traceable system."""

__version__ = "0.1.0"  # as in pyproject.toml; a served model brings the package, not the installation
