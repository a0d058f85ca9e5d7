module nodeset.dev/feature-gates

go 1.26.0
