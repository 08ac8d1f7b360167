"""Certified probes as scikit-learn estimators, one file each. Whoever imports one loads scikit-learn."""
