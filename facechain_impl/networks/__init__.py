"""Architectures only, one file per published network, by the published key names."""
