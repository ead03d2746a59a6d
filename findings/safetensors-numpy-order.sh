#!/bin/sh
# safetensors.numpy.save and save_file of version 0.8.0 write the memory of an array as it is, whatever its order: an
# array in Fortran order, as the components of scikit-learn's PCA are, or a strided view is read back with other numbers,
# without a warning. Version 0.7.0 wrote the numbers that the array has. (safetensors issue 825, open in August 2026.)
#
# Prints what is read back by both versions, and fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/call.py" <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save
from sklearn.decomposition import PCA

numbers = np.random.default_rng(0).normal(size=(50, 4))
arrays = {
    "C order": np.arange(6.0).reshape(2, 3),
    "Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "every second column": np.arange(12.0).reshape(2, 6)[:, ::2],
    "components of PCA": PCA(3).fit(numbers).components_,
}
equal = {name: np.array_equal(load(save({"x": array}))["x"], array) for name, array in arrays.items()}
for name, same in equal.items():
    print(f"safetensors {safetensors.__version__}, {name:19}: {'the same numbers' if same else 'OTHER NUMBERS'}")
assert equal["C order"]
others = [same for name, same in equal.items() if name != "C order"]
sys.exit(any(others) if safetensors.__version__ == "0.8.0" else not all(others))
PYTHON
for version in 0.7.0 0.8.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check \
    safetensors==$version numpy==2.4.6 scikit-learn==1.8.0
  "$folder/$version/bin/python" "$folder/call.py"
done
echo "safetensors 0.8.0 writes other numbers for arrays that are not in C order; 0.7.0 did not"
