"""D-Cube: diffusion features for medical image classification, as a traceable system."""
