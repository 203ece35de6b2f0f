"""First contact with the published files: probes, open questions, one report."""
