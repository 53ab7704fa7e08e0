"""One room per detector or reconstruction step, all furnished alike: config, physics, kernel, stage."""
