module switchyard/bench/provider

go 1.24
