"""Architectures only, one file per published network, with the published key names."""
