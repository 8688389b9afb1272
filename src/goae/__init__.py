"""GOAE (Yuan et al., ICCV 2023, arXiv 2303.12326): a photograph to the head of an EG3D generator."""
