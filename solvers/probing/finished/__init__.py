"""The finished layers of a long fit, kept in a folder until the fit is whole."""
