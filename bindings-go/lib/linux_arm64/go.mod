module github.com/pgentra/pgentra/bindings-go/lib/linux_arm64

go 1.24
