"""Report: one static page about a run or a registered model, with metrics, data, images, curves and lineage."""
