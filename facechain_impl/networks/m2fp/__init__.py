"""M2FP, human parsing: backbone, pixel decoder, predictor."""
