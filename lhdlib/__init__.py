"""Reference companion to Hou et al. (2023), doi:10.1007/s40747-023-00981-0. A research tool, not for clinical use."""

__version__ = "0.1.0"
