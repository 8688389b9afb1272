"""EG3D (Chan et al., CVPR 2022, arXiv 2112.07945): a tri-plane 3D generator as plain PyTorch modules."""
