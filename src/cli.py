"""The one command line behind train.py and infer.py: LightningCLI with the project's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonargparse import set_parsing_settings
from lightning.pytorch.cli import LightningCLI

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningArgumentParser

# References between YAML files are resolved after all of them are read: see shared facts on `omegaconf+`.
set_parsing_settings(omegaconf_absolute_to_relative_paths=True)


class FaceforwardCLI(LightningCLI):
    """LightningCLI in subclass mode: a YAML names the module and the data it is about."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"parser_mode": "omegaconf+"},
            **kwargs,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse `args` alone; Lightning would warn when the shell's own arguments are others."""
        self.config = parser.parse_args(args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Nothing beyond Lightning's own; doors that have short flags add them."""
