module switchyard/bench/load

go 1.21
