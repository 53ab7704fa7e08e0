"""Readers of full simulation: each makes `flashdet.lut.sample.SampleChunk` of the files of one format."""
