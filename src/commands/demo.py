"""`make demo`: one public-domain photograph aged to several ages, offline."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from faceforward import infer

TARGETS = (45, 50, 55, 60, 65, 70)  # within the range that the embedded model was measured in


def main(argv: list[str] | None = None) -> int:
    """Age scikit-image's photograph of the astronaut Eileen Collins (NASA, public domain).

    Returns:
        The exit status of `infer`; 2 when scikit-image is not installed.
    """
    parser = argparse.ArgumentParser(prog="faceforward demo", description="Age one public-domain photograph.")
    parser.add_argument(
        "--output", default="demo-output", help="folder for the result (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    try:
        import skimage.data
        from skimage.io import imsave
    except ImportError:
        sys.stderr.write("the demo's photograph comes with scikit-image: pip install scikit-image\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        photograph = Path(folder) / "astronaut.png"
        imsave(photograph, skimage.data.astronaut())
        status = infer.main(
            [
                "age",
                f"--photos={photograph}",
                "--age=36",  # born in 1956, and photographed about 1992
                "--gender=female",
                f"--target_ages=[{','.join(map(str, TARGETS))}]",
                f"--output={arguments.output}",
            ]
        )
    if status == 0:
        sys.stdout.write(f"\nOpen {Path(arguments.output) / 'report.html'}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
