module github.com/pgentra/pgentra/bindings-go/lib/linux_amd64

go 1.24
