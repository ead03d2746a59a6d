"""Work across runs: seeds, hyper-parameter search, bundles, the leaderboard."""
