"""fit / validate / test: `python train.py fit -c configs/experiment/NAME.yaml`."""

import sys

from faceforward.train import main

if __name__ == "__main__":
    sys.exit(main())
