"""predict: `python infer.py -c configs/infer/age.yaml --photos PATH --target_ages '[20,40]' --output DIR`."""

import sys

from faceforward.infer import main

if __name__ == "__main__":
    sys.exit(main())
