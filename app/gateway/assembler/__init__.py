"""When a study is complete, and which instances its revision has."""
