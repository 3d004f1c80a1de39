module github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64

go 1.24
