from __future__ import annotations

import subprocess
import sys


def test_importing_the_package_loads_no_image_library():
    heavy = ["SimpleITK", "nibabel", "tifffile", "imagecodecs", "isal", "torch"]
    code = f"import sys, nnunet_ext.imageio; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
