module docs

go 1.24
