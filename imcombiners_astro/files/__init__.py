# Licensed under a 3-clause BSD style license - see LICENSE
"""Images in files: reading them strip by strip, and writing the result."""
