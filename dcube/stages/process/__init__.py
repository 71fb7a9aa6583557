"""The process of a stage: how it starts, gets its parameters, reports errors and ends. The stages are one folder up."""
